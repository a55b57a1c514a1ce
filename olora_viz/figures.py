"""A race as figures: loss, gradient norm and accuracy; pure functions, see `figure_parts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.curve_labels import curve_ends, room_for
from olora_viz.figure_parts import Figure, axis, layout, line
from olora_viz.off_range import OFF_RANGE, off_range
from olora_viz.scales import log_axis, log_range, plain, robust_log_range, smoothed
from olora_viz.step import Step
from olora_viz.theme import Look

MAX_POINTS = 60_000
"""Most points of one kind in a figure; longer or wider races show every second step, and so on."""

HIGHEST = 10.0
"""The loss axis ends at this multiple of the first loss: a diverging lane may not flatten all."""

PLOT_HEIGHT = {"loss": 262, "gradient": 150, "accuracy": 150}
"""Nominal heights of the plots' areas in pixels, by which labels are kept apart."""


def loss_figure(
    looks: Sequence[Look],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_loss: float | None = None,
    plain_text: bool = False,
    run: str = "",
    smoothing: float = 0.85,
) -> Figure:
    """Draw training loss (raw behind, smoothed in front) and held-out loss, on a log axis.

    Parameters
    ----------
    looks : one per lane.
    steps : what was measured so far.
    total : steps of the whole race, the end of the horizontal axis.
    start_loss : held-out loss before the first step, the same for every lane; nats.
    plain_text : every token is judged, not an answer alone.
    run : changes with the race; zoom and hidden lanes are kept while it stays the same.
    smoothing : weight of the past in the exponential average, in [0, 1).
    """
    loss = _column(steps, "loss", len(looks))
    every = _stride(loss)
    smooth = smoothed(loss, smoothing)
    at, held = _evaluations(steps, "eval_loss", len(looks), start_loss)
    first = steps[0].step if steps else 1
    data: list[dict[str, Any]] = []
    for k, look in enumerate(looks):
        common = {"legendgroup": look.label, "name": look.label, "x0": first, "dx": every}
        data.append(
            line(
                look,
                loss[::every, k],
                1.0,
                **common,
                meta="raw",
                opacity=0.16,
                hoverinfo="skip",
                hovertemplate=None,
            )
            | {"line": {"color": look.color, "width": 1}}
        )
    for k, look in enumerate(looks):
        common = {"legendgroup": look.label, "name": look.label, "x0": first, "dx": every}
        data.append(line(look, smooth[::every, k], 2.4, **common, meta="smooth"))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": at,
                "y": plain(held[:, k]),
                "name": f"{look.label}, held out",
                "legendgroup": look.label,
                "marker": {"color": look.color, "size": 5.5, "symbol": look.symbol},
                "hoverinfo": "skip",
            }
        )
    ceiling = HIGHEST * np.nanmax(loss[:1], initial=0.0)
    low, high = log_range([np.minimum(v, ceiling) for v in (loss, smooth, held)])
    numbers = [step.step for step in steps]
    beyond = off_range(looks, numbers, loss, (low, high))
    labels, crosses = curve_ends(
        looks, numbers, smooth, bounds=(low, high), height=PLOT_HEIGHT["loss"], total=total
    )
    token = "token" if plain_text else "answer token"
    unit = f"nats per {token}: training (smoothed, raw behind), ● held out"
    unit += OFF_RANGE if beyond else ""
    if every > 1:
        unit += f"; every {every} steps"
    made = layout(
        "Loss",
        unit,
        x=_steps_axis(total),
        y=_values_axis(log_axis("loss, nats", low, high), steps),
        height=PLOT_HEIGHT["loss"],
        badge="log",
        message="" if steps else "Press Race: curves appear here as the lanes train.",
        revision=run or "race",
    )
    made["annotations"] = labels
    made["meta"]["smoothing"] = smoothing
    made["margin"]["r"] = room_for(
        [label["text"] for label in labels if label["name"].startswith("end ")]
    )
    return {"data": data + beyond + crosses, "layout": made}


def gradient_figure(
    looks: Sequence[Look], steps: Sequence[Step], *, total: int | None = None, run: str = ""
) -> Figure:
    """Draw the norm of each lane's gradient before clipping, on a log axis without the spikes."""
    norms = _column(steps, "grad_norm", len(looks))
    every = _stride(norms)
    first = steps[0].step if steps else 1
    data = [
        line(look, norms[::every, k], 1.6, name=look.label, legendgroup=look.label)
        | {"x0": first, "dx": every}
        for k, look in enumerate(looks)
    ]
    low, high = robust_log_range([norms])
    beyond = off_range(looks, [step.step for step in steps], norms, (low, high))
    made = layout(
        "Gradient norm",
        "‖∇‖ before clipping" + (OFF_RANGE if beyond else ""),
        x=_steps_axis(total),
        y=_values_axis(log_axis("‖∇‖", low, high), steps),
        height=PLOT_HEIGHT["gradient"],
        badge="log",
        revision=run or "race",
    )
    return {"data": data + beyond, "layout": made}


def accuracy_figure(
    looks: Sequence[Look],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_accuracy: float | None = None,
    plain_text: bool = False,
    run: str = "",
) -> Figure:
    """Draw the share of held-out answers (of tokens, in a plain text) that are right."""
    what = "right tokens" if plain_text else "right answers"
    at, share = _evaluations(steps, "eval_accuracy", len(looks), start_accuracy)
    data = [
        line(look, share[:, k], 1.8, name=look.label, legendgroup=look.label)
        | {"x": at, "mode": "lines+markers", "marker": _mark(look, 4.5)}
        for k, look in enumerate(looks)
    ]
    for trace in data:
        trace["hovertemplate"] = "%{y:.0%}"
    shares = axis(what, range=[-0.02, 1.03], tickformat=".0%", nticks=6)
    made = layout(
        "Held-out accuracy",
        f"share of {what}",
        x=_steps_axis(total),
        y=_values_axis(shares, steps),
        height=PLOT_HEIGHT["accuracy"],
        revision=run or "race",
    )
    return {"data": data, "layout": made}


def _column(steps: Sequence[Step], name: str, lanes: int) -> np.ndarray:
    """Stack one measurement of all steps: (N, K)."""
    if not steps:
        return np.empty((0, lanes))
    values = np.array([getattr(step, name) for step in steps], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _evaluations(
    steps: Sequence[Step], name: str, lanes: int, start: float | None
) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the lanes were evaluated and what was found: (E,) and (E, K)."""
    found = [step for step in steps if getattr(step, name) is not None]
    at, values = [step.step for step in found], _column(found, name, lanes)
    if start is None or not steps or steps[0].step != 1:
        return at, values
    return [0, *at], np.vstack([np.full((1, lanes), start), values])


def _stride(values: np.ndarray) -> int:
    return max(1, math.ceil(values.size / MAX_POINTS))


def _mark(look: Look, size: float) -> dict[str, Any]:
    return {"color": look.color, "size": size, "symbol": look.symbol}


def _steps_axis(total: int | None) -> dict[str, Any]:
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    return axis("step", rangemode="tozero", **ends)


def _values_axis(shown: dict[str, Any], steps: Sequence[Step]) -> dict[str, Any]:
    """Leave the numbers off where there are no steps to measure."""
    return shown if steps else {**shown, "showticklabels": False}
