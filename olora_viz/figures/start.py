"""Figures of a start: conditioning, curvature, and slices of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    axis,
    color_bar,
    layout,
    line,
    log_axis,
    log_ends,
    log_range,
    nothing_yet,
    points,
    rows_axis,
    steps_axis,
    unlabelled_until,
    upright,
)
from olora_viz.figures.race import RaceCurves
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.tables import plain
from olora_viz.machine.wording import compact, factor, rounded
from olora_viz.measures.conditioning import Conditioning, LossSlice
from olora_viz.measures.curvature import CURVATURE
from olora_viz.measures.training import loss_unit
from olora_viz.races.step import Step

SLICE_HEIGHT, CURVATURE_HEIGHT, KERNEL_HEIGHT = 250, 190, 220
"""Heights of the plot areas in pixels."""

LEVELS = 16
"""Approximate number of contours over the scale of a slice."""


def slice_figures(
    styles: Sequence[LaneStyle], slices: Sequence[LossSlice], *, plain_text: bool = False, run: str = ""
) -> list[Figure]:
    """Draw the loss on a plane through each lane's start, all on one colour scale.

    Args:
        styles: of all lanes; a slice has the index of its lane.
        slices: measured with the same reach.
    """
    losses = np.concatenate([each.loss.ravel() for each in slices])
    losses = losses[np.isfinite(losses)]
    low, high = (float(losses.min()), float(losses.max())) if losses.size else (0.0, 1.0)
    size = _round_step((high - low) / LEVELS)
    first = math.ceil(low / size) * size
    figures = []
    for each in slices:
        style = styles[each.lane]
        reach = float(each.across[-1])
        heat: dict[str, Any] = {
            "type": "contour", "z": [plain(row) for row in each.loss],
            "x": plain(each.across), "y": plain(each.along), "zmin": round(low, 4), "zmax": round(high, 4),
            "colorscale": [[0, "@soft"], [1, "@accent"]],
            "contours": {"start": round(first, 6), "end": round(high, 6), "size": size, "coloring": "heatmap"},
            "line": {"color": "@mute", "width": 0.8, "smoothing": 0.6}, "colorbar": color_bar(".3~g", 8),
            "hovertemplate": "loss %{z:.3f}<extra></extra>",
        }  # fmt: skip
        edge = {"color": "@card", "width": 2}
        words = f"{style.label} starts here<extra></extra>"
        here = points([0.0], [0.0], style.color, 10, symbol="circle", edge=edge, name="the start", hovertemplate=words)
        drawn = layout(
            f"{style.label}: the loss around its start",
            f"{loss_unit(plain_text)}, a contour every {size:g}; one scale for both",
            x=axis("along the top eigenvector, ‖Δθ‖", range=[-reach, reach], nticks=5),
            y=axis("along the gradient, ‖Δθ‖", range=[-reach, reach], nticks=5),
            height=SLICE_HEIGHT,
            how=(
                "The start is in the middle. Closely spaced contours mean a steep loss; a narrow valley means a badly "
                "conditioned one."
            ),
            revision=f"{run} {each.lane}" if run else "slice",
            closest=True,
            margin={"r": 58},
        )
        figures.append({"data": [heat, here], "layout": drawn})
    return figures


def empty_slice() -> Figure:
    """Return the empty chart of a slice that is not computed yet."""
    return nothing_yet(
        "The loss around a start",
        "along the top eigenvector and the gradient",
        ("along the top eigenvector, ‖Δθ‖", "along the gradient, ‖Δθ‖"),
        "Measure the start, choose two lanes, press “Slice the loss”.",
        SLICE_HEIGHT,
    )


def _round_step(size: float) -> float:
    """Return the next round number above a positive size.

    >>> _round_step(0.36), _round_step(0.021)
    (0.5, 0.05)
    """
    if size <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(size))
    return rounded(next(m for m in (1, 2, 5, 10) if m * scale >= size * 0.999) * scale, 6)


def sharpness_figure(curves: RaceCurves) -> Figure:
    """Draw the largest eigenvalue of every lane's Hessian, on a log axis."""
    styles, steps = curves.styles, curves.steps
    at, sharpness = curvatures(steps, curves.lanes)
    of_lanes = np.where(sharpness > 0, sharpness, np.nan)
    values = curves.means(of_lanes)
    data = curves.bands(of_lanes, x=at)
    data += [line(style, values[:, k], 1.8, marks=4.5, x=at) for k, style in enumerate(styles)]
    drawn = layout(
        CURVATURE.title,
        CURVATURE.unit + curves.band_words,
        x=steps_axis(curves.total),
        y=unlabelled_until(at, log_axis(CURVATURE.symbol, *log_range([of_lanes]))),
        height=CURVATURE_HEIGHT,
        how="How curved the loss is in its most curved direction; a falling curve flattens.",
        message="" if at else "Choose how often to measure, then press Race.",
        revision=curves.run or "race",
        ends=log_ends(styles, at, values, curves.left),
    )
    return {"data": data, "layout": drawn}


def stability_figure(curves: RaceCurves) -> Figure:
    """Draw 2/λₘₐₓ, gradient descent's largest stable rate, with each lane's rate."""
    styles, steps = curves.styles, curves.steps
    at, sharpness = curvatures(steps, curves.lanes)
    of_lanes = np.where(sharpness > 0, 2 / np.where(sharpness > 0, sharpness, 1.0), np.nan)
    limit = curves.means(of_lanes)
    rates = np.array([step.lr for step in steps if step.curvature is not None], dtype=float)
    rates = curves.means(rates.reshape(len(at), curves.lanes))
    data = curves.bands(of_lanes, x=at)
    for k, style in enumerate(styles):
        dotted = {"color": style.color, "width": 1.4, "dash": "dot"}
        data.append(line(style, limit[:, k], 1.8, marks=4.5, name=f"{style.label}: 2/λ", x=at))
        data.append(line(style, rates[:, k], 1.4, name=f"{style.label}: rate", x=at, line=dotted))
    ends = log_ends(styles, at, limit, curves.left)
    last = {f"rate {compact(rate)}": math.log10(rate) for rate in rates[-1].tolist()} if at else {}
    ends += [CurveEnd(name, "", "@mute", at[-1], y) for name, y in last.items()]
    drawn = layout(
        "Stability: 2/λₘₐₓ and the learning rate",
        "curves: 2/λ, the limit of gradient descent (Adam's differs); flat: learning rate" + curves.band_words,
        x=steps_axis(curves.total),
        y=unlabelled_until(at, log_axis("learning rate", *log_range([of_lanes, rates]))),
        height=CURVATURE_HEIGHT,
        how=(
            "Gradient descent is stable while its learning rate is below 2/λ. Adam rescales its steps, so for it the "
            "crossing is a hint, not a limit."
        ),
        message="" if at else "2/λ and the learning rates appear here.",
        revision=curves.run or "race",
        ends=ends,
    )
    return {"data": data, "layout": drawn}


def curvatures(steps: Sequence[Step], lanes: int) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the curvature was measured, and λₘₐₓ (N, K) there."""
    seen = [(step.step, step.curvature) for step in steps if step.curvature is not None]
    values = np.array([curved.lambda_max for _, curved in seen], dtype=float)
    return [number for number, _ in seen], values.reshape(len(seen), lanes)


MOST_LABELLED = 8
"""Up to this many lanes, every marker of the comparison is labelled with its lane's name."""


def quantities(measured: Conditioning) -> dict[str, np.ndarray]:
    """Return the quantities of the comparison by name, (K,) each.

    The condition is a geometric mean over the batches, so that the ratio of two lanes is the mean ratio on the same
    batches, which the sentences give.
    """
    values = {
        "gradient ‖∇L‖": measured.grad_norm,
        "curvature λₘₐₓ": measured.hessian.lambda_max,
        "|λₘᵢₙ|": np.abs(measured.hessian.lambda_min),
    }
    if measured.gauss_newton:
        values["trace of Gauss-Newton"] = measured.gauss_newton.trace
    if measured.kernel:
        values["NTK: largest λ"] = measured.kernel.eigenvalues[:, 0]
        values["NTK: condition"] = np.exp(np.log(measured.conditions).mean(axis=1))
    return values


def reference(styles: Sequence[LaneStyle]) -> int:
    """Return the reference lane: the first plain LoRA, or else the first lane."""
    return next((k for k, style in enumerate(styles) if style.init == "lora"), 0)


def comparison_figure(styles: Sequence[LaneStyle], measured: Conditioning | None, *, run: str = "") -> Figure:
    """Draw every quantity of every lane relative to one lane, on a log axis; None before a measurement."""
    if measured is None:
        return nothing_yet(
            "Initializations compared",
            "gradient and curvature at the start, plain LoRA = 1",
            ("multiple of plain LoRA", ""),
            "Press “Measure the start”: every row gets one mark per lane.",
        )
    base, values_by_name = reference(styles), quantities(measured)
    rows, K = len(values_by_name), len(styles)
    apart = min(0.8 / K, 0.26)
    places = {name: rows - 1 - i for i, name in enumerate(values_by_name)}
    below = [apart * ((K - 1) / 2 - k) for k in range(K)]  # of a lane's marks, from the middle of their rows
    labels: list[dict[str, Any]] = []
    known = np.stack([*values_by_name.values()], axis=1)  # (K, rows)
    known = np.where(np.isfinite(known) & (known > 0), known, math.nan)
    ratios = known / known[base]
    low, high = log_range([ratios, np.ones(1)])
    for i, (name, values) in enumerate(values_by_name.items()):
        for k, style in enumerate(styles):
            is_known = math.isfinite(ratios[k, i])
            words = _ratio_words(values[k], ratios[k, i]) if k != base or not is_known else "1"
            if K <= MOST_LABELLED or not is_known:
                x = math.log10(ratios[k, i]) if is_known else 0.0
                inner = x > low + 0.45 * (high - low)  # then its label is to the left of a marker
                labels.append({
                    "x": round(x, 4), "y": round(places[name] + below[k], 4), "text": f"{style.label}: {words}",
                    "showarrow": False, "xanchor": "right" if inner else "left", "xshift": -8 if inner else 8,
                    "align": "left", "font": {"size": 11.5, "color": style.text},
                })  # fmt: skip
    data = []
    for k, style in enumerate(styles):
        y = [round(place + below[k], 4) for place in places.values()]
        more = {"name": style.label, "legendgroup": style.label, "hovertemplate": "%{x:.3g} ×"}
        data.append(points(plain(ratios[k]), y, style.color, 8, symbol=style.symbol, **more))
    name = styles[base].label
    drawn = layout(
        "Initializations compared",
        f"gradient and curvature at the start, {'plain LoRA' if styles[base].init == 'lora' else name} = 1",
        x=log_axis(f"multiple of {name}", low, high),
        y=rows_axis([-0.5, rows - 0.5], list(places.values()), list(places)),
        height=rows * max(30, min(15 * K + 8, 110)),
        how=(
            "Each row is one quantity, as a multiple of the reference's. Points to the right of 1 are larger: a "
            "larger gradient is a steeper loss, a larger eigenvalue a more curved one."
        ),
        revision=run or "comparison",
        closest=True,
        shapes=[upright(1, dash="dash")],
        labels=labels,
        margin={"l": 152, "r": 24},
    )
    return {"data": data, "layout": drawn}


def ntk_figure(styles: Sequence[LaneStyle], measured: Conditioning | None, *, run: str = "") -> Figure:
    """Draw the eigenvalues of every lane's tangent kernel, the largest first, on a log axis."""
    if measured is None or measured.kernel is None:
        return nothing_yet(
            "Spectrum of the tangent kernel",
            "how fast the predictions of one batch are learned: a flat curve is well conditioned",
            ("index i", "λᵢ(J Jᵀ)"),
            "Press “Measure the start”.",
        )
    eigenvalues = measured.kernel.eigenvalues
    values = np.where(eigenvalues > 0, eigenvalues, np.nan)
    n = values.shape[1]
    drawn = layout(
        "Spectrum of the tangent kernel",
        f"{n} predictions of the first batch: a flat curve is well conditioned",
        x=axis("index i", range=[0.5, n + 0.5], dtick=1 if n <= 12 else 5, tick0=0),
        y=log_axis("λᵢ(J Jᵀ)", *log_range([values])),
        height=KERNEL_HEIGHT,
        how=(
            "The eigenvalues say how fast each direction of the predictions is learned. The ratio of the first to the "
            "last one is the condition number: with a flat curve, all directions are learned at the same pace."
        ),
        revision=run or "ntk",
        ends=log_ends(styles, range(1, n + 1), values.T),
    )
    data = [line(style, values[k], 1.8, marks=4.5, x0=1, dx=1) for k, style in enumerate(styles)]
    return {"data": data, "layout": drawn}


def _ratio_words(value: float, ratio: float) -> str:
    if math.isfinite(ratio):
        return f"{factor(ratio)} ×"
    if math.isnan(value):
        return "not finite"
    return "∞" if math.isinf(value) else f"{value:.2g}, no ratio"
