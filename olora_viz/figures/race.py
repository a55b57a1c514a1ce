"""A race as figures: loss, gradient norm and accuracy; pure functions, see `figure_parts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import curve_ends, room_for
from olora_viz.figures.layout import Figure, axis, layout, line
from olora_viz.figures.off_range import OFF_RANGE, off_range
from olora_viz.figures.seed_bands import one_each, seed_band, seed_means
from olora_viz.figures.theme import Look
from olora_viz.machine.numbers import log_axis, log_range, plain, robust_log_range, smoothed
from olora_viz.races.step import Step

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
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw training loss (raw behind, smoothed in front) and held-out loss, on a log axis.

    Parameters
    ----------
    looks : one per curve.
    steps : what was measured so far.
    total : steps of the whole race, the end of the horizontal axis.
    start_loss : held-out loss before the first step, the same for every lane; nats.
    plain_text : every token is judged, not an answer alone.
    run : changes with the race; zoom and hidden lanes are kept while it stays the same.
    smoothing : weight of the past in the exponential average, in [0, 1).
    seeds : the lanes of each curve, which differ in their seed alone: their mean is drawn, and a
        band from the lowest to the highest. ``None``: a curve for each lane.
    """
    groups, K = _groups(looks, seeds)
    loss = _column(steps, "loss", K)
    every = _stride(loss)
    of_lanes = smoothed(loss, smoothing)
    smooth = seed_means(of_lanes, groups)
    at, held = _evaluations(steps, "eval_loss", K, start_loss)
    held = seed_means(held, groups)
    first = steps[0].step if steps else 1
    data: list[dict[str, Any]] = []
    for k, look in enumerate(looks):
        common = {"legendgroup": look.label, "name": look.label, "x0": first, "dx": every}
        if len(groups[k]) > 1:
            data += seed_band(look, of_lanes[::every, list(groups[k])], **common)
            continue
        data.append(
            line(
                look,
                loss[::every, groups[k][0]],
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
    drawn = loss if len(looks) == K else of_lanes
    low, high = log_range([np.minimum(v, ceiling) for v in (drawn, smooth, held)])
    numbers = [step.step for step in steps]
    beyond = off_range(looks, numbers, seed_means(loss, groups), (low, high))
    labels, crosses = curve_ends(
        looks, numbers, smooth, bounds=(low, high), height=PLOT_HEIGHT["loss"], total=total
    )
    several = {f"out {look.label}" for k, look in enumerate(looks) if len(groups[k]) > 1}
    for label in labels:
        if label["name"] in several:
            label["text"] = label["text"].replace(": DNF", ": a seed DNF")
    token = "token" if plain_text else "answer token"
    behind = "raw behind" if len(looks) == K else "band: lowest to highest seed"
    unit = f"nats per {token}: training (smoothed, {behind}), ● held out"
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
    looks: Sequence[Look],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw the norm of each lane's gradient before clipping, on a log axis without the spikes.

    See `loss_figure` for the parameters.
    """
    groups, K = _groups(looks, seeds)
    norms = _column(steps, "grad_norm", K)
    every = _stride(norms)
    place = {"x0": steps[0].step if steps else 1, "dx": every}
    data = _bands(looks, norms[::every], groups, **place) + [
        line(look, norms, 1.6, name=look.label, legendgroup=look.label) | place
        for look, norms in zip(looks, seed_means(norms[::every], groups).T, strict=True)
    ]
    low, high = robust_log_range([norms])
    beyond = off_range(looks, [step.step for step in steps], seed_means(norms, groups), (low, high))
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
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw the share of held-out answers (tokens, in a plain text) that are right."""
    groups, K = _groups(looks, seeds)
    what = "right tokens" if plain_text else "right answers"
    at, of_lanes = _evaluations(steps, "eval_accuracy", K, start_accuracy)
    share = seed_means(of_lanes, groups)
    data = _bands(looks, of_lanes, groups, x=at) + [
        line(look, share[:, k], 1.8, name=look.label, legendgroup=look.label)
        | {"x": at, "mode": "lines+markers", "marker": _mark(look, 4.5)}
        for k, look in enumerate(looks)
    ]
    for trace in data[-len(looks) :]:
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


def _groups(
    looks: Sequence[Look], seeds: Sequence[Sequence[int]] | None
) -> tuple[Sequence[Sequence[int]], int]:
    """Return the lanes of every curve, and how many lanes there are."""
    groups = one_each(len(looks)) if seeds is None else seeds
    return groups, sum(map(len, groups))


def _bands(
    looks: Sequence[Look], values: np.ndarray, groups: Sequence[Sequence[int]], **place: Any
) -> list[dict[str, Any]]:
    """Return the bands of the groups that have several lanes."""
    return [
        trace
        for look, group in zip(looks, groups, strict=True)
        if len(group) > 1
        for trace in seed_band(
            look, values[:, list(group)], name=look.label, legendgroup=look.label, **place
        )
    ]


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
