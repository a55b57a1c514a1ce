"""Gradient and curvature at the start as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import name_log_ends
from olora_viz.figures.layout import (
    Figure,
    axis,
    layout,
    line,
    log_axis,
    log_range,
    nothing_yet,
)
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import factor, plain
from olora_viz.measures.conditioning import Conditioning

HEIGHT = 220
"""Height of the plot area of the tangent kernel, in pixels."""

NAMED = 8
"""Up to this many lanes, every marker of the comparison is labelled with its lane's name."""


def quantities(found: Conditioning) -> dict[str, np.ndarray]:
    """Return the quantities of the comparison by name, (K,) each.

    The condition is a geometric mean over the batches, so that the ratio of two lanes is the mean
    ratio on the same batches, which the sentences give.
    """
    shown = {
        "gradient ‖∇L‖": found.grad_norm,
        "curvature λₘₐₓ": found.hessian.lambda_max,
        "|λₘᵢₙ|": np.abs(found.hessian.lambda_min),
    }
    if found.gauss_newton:
        shown["trace of Gauss-Newton"] = found.gauss_newton.trace
    if found.kernel:
        shown["NTK: largest λ"] = found.kernel.eigenvalues[:, 0]
        shown["NTK: condition"] = np.exp(np.log(found.conditions).mean(axis=1))
    return shown


def reference(styles: Sequence[LaneStyle]) -> int:
    """Return the reference lane: the first plain LoRA, or else the first lane.

    Parameters
    ----------
    styles : one per lane, at least one.
    """
    return next((k for k, style in enumerate(styles) if style.init == "lora"), 0)


def comparison_figure(
    styles: Sequence[LaneStyle], found: Conditioning | None, *, run: str = ""
) -> Figure:
    """Draw every quantity of every lane relative to one lane, on a log axis.

    Parameters
    ----------
    styles : one per lane.
    found : measured on these lanes; None before a measurement.
    """
    if found is None:
        return nothing_yet(
            "Initializations compared",
            "gradient and curvature at the start, plain LoRA = 1",
            ("multiple of plain LoRA", ""),
            "Press “Measure the start”: every row gets one mark per lane.",
        )
    base, shown = reference(styles), quantities(found)
    rows, K = len(shown), len(styles)
    apart = min(0.8 / K, 0.26)
    places = {name: rows - 1 - i for i, name in enumerate(shown)}
    data: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    ratios = np.array(
        [
            [v[k] / v[base] if _usable(v[k]) and _usable(v[base]) else math.nan
             for v in shown.values()]
            for k in range(K)
        ]
    )  # fmt: skip
    low, high = log_range([ratios, np.ones(1)])
    for i, (name, values) in enumerate(shown.items()):
        for k, style in enumerate(styles):
            y = places[name] + apart * ((K - 1) / 2 - k)
            known = math.isfinite(ratios[k, i])
            words = _ratio_words(values[k], ratios[k, i]) if k != base or not known else "1"
            if K <= NAMED or not known:
                x = math.log10(ratios[k, i]) if known else 0.0
                inner = x > low + 0.45 * (high - low)
                labels.append(_beside(x, y, f"{style.label}: {words}", style, inner))
    for k, style in enumerate(styles):
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": style.label,
                "legendgroup": style.label, "x": plain(ratios[k]),
                "y": [round(p + apart * ((K - 1) / 2 - k), 4) for p in places.values()],
                "marker": {"color": style.color, "size": 8, "symbol": style.symbol},
                "hovertemplate": "%{x:.3g} ×",
            }
        )  # fmt: skip
    whose = styles[base].label
    title = "plain LoRA" if styles[base].init == "lora" else whose
    made = layout(
        "Initializations compared",
        f"gradient and curvature at the start, {title} = 1",
        x=log_axis(f"multiple of {whose}", low, high),
        y={"title": {"text": ""}, "range": [-0.5, rows - 0.5], "ticks": "",
           "tickvals": list(places.values()), "ticktext": list(places)},
        height=rows * max(30, min(15 * K + 8, 110)),
        how=(
            "Each row is one quantity, as a multiple of the reference's. Points to the right of "
            "1 are larger: a larger gradient is a steeper loss, a larger eigenvalue a more "
            "curved one."
),
        badge="log",
        revision=run or "comparison",
    )  # fmt: skip
    made["hovermode"] = "closest"
    made["shapes"] = [
        {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"color": "@mute", "width": 1.2, "dash": "dash"}}
    ]  # fmt: skip
    made["annotations"] = labels
    made["margin"] |= {"l": 152, "r": 24}
    return {"data": data, "layout": made}


def ntk_figure(styles: Sequence[LaneStyle], found: Conditioning | None, *, run: str = "") -> Figure:
    """Draw the eigenvalues of every lane's tangent kernel, the largest first, on a log axis."""
    if found is None or found.kernel is None:
        return nothing_yet(
            "Spectrum of the tangent kernel",
            "how fast the predictions of one batch are learned: a flat curve is well conditioned",
            ("index i", "λᵢ(J Jᵀ)"),
            "Press “Measure the start”.",
        )
    values = np.where(found.kernel.eigenvalues > 0, found.kernel.eigenvalues, np.nan)
    n = values.shape[1]
    data = [
        line(style, values[k], 1.8, name=style.label, legendgroup=style.label)
        | {"mode": "lines+markers", "marker": _mark(style, 4.5), "x0": 1, "dx": 1}
        for k, style in enumerate(styles)
    ]
    low, high = log_range([values])
    made = layout(
        "Spectrum of the tangent kernel",
        f"{n} predictions of the first batch: a flat curve is well conditioned",
        x=axis("index i", range=[0.5, n + 0.5], dtick=1 if n <= 12 else 5, tick0=0),
        y=log_axis("λᵢ(J Jᵀ)", low, high),
        height=HEIGHT,
        how=(
            "The eigenvalues say how fast each direction of the predictions is learned. The "
            "ratio of the first to the last one is the condition number: with a flat curve, all "
            "directions are learned at the same pace."
        ),
        badge="log",
        revision=run or "ntk",
    )
    name_log_ends(made, styles, range(1, n + 1), values.T, (low, high))
    return {"data": data, "layout": made}


def _usable(value: float) -> bool:
    return bool(math.isfinite(value) and value > 0)


def _ratio_words(value: float, ratio: float) -> str:
    if math.isfinite(ratio):
        return f"{factor(ratio)} ×"
    if math.isnan(value):
        return "not finite"
    return "∞" if math.isinf(value) else f"{value:.2g}, no ratio"


def _beside(x: float, y: float, text: str, style: LaneStyle, inner: bool) -> dict[str, Any]:
    """Return the label to the right of a marker, or to its left (inner); x in powers of ten."""
    return {
        "x": round(x, 4), "y": round(y, 4), "text": text, "showarrow": False,
        "xanchor": "right" if inner else "left",
        "xshift": -8 if inner else 8, "align": "left", "font": {"size": 11.5, "color": style.text},
    }  # fmt: skip


def _mark(style: LaneStyle, size: float) -> dict[str, Any]:
    return {"color": style.color, "size": size, "symbol": style.symbol}
