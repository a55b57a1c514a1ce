"""Any measurement of one number per lane against the step; a pure function, see `layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import annotate, curve_ends
from olora_viz.figures.layout import (
    Figure,
    axis,
    layout,
    line,
    linear_range,
    log_axis,
    robust_log_range,
    steps_axis,
    unlabelled_until,
)
from olora_viz.figures.off_range import OFF_RANGE, off_range
from olora_viz.figures.seed_bands import group_bands, groups_of, seed_means, seeds_left
from olora_viz.figures.theme import LaneStyle
from olora_viz.measures.measure import Measure
from olora_viz.races.step import Step

MAX_POINTS = 60_000
"""Maximum points of one kind in a figure; larger races show every second step, and so on."""

HEIGHT = 150
"""Nominal height of the plot area in pixels, by which labels are kept apart."""

LEFT = 70
"""Left margin in pixels, with room for numbers of any size."""


def measure_figure(
    measure: Measure,
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
    named: bool = True,
) -> Figure:
    """Draw a measurement of one number per lane; spikes do not stretch a log axis.

    Parameters
    ----------
    measure : an entry of `MEASURES` of shape (K,).
    styles : one per curve.
    steps : of the race so far; those in which it was measured are drawn.
    total : steps of the whole race, the end of the horizontal axis.
    run : changes with the race; zoom and hidden lanes are kept while it stays the same.
    seeds : the lanes of each curve, which differ only in their seed: their mean is drawn, with a
        band from the lowest to the highest. None for one curve per lane.
    named : whether the curves have names at their ends.
    """
    groups, K = groups_of(styles, seeds)
    found = [step for step in steps if measure.key in step.measures]
    values = column(found, measure.key, K)
    numbers = [step.step for step in found]
    every = stride(K, numbers, total)
    place = places(numbers[::every])
    data = group_bands(styles, values[::every], groups, **place) + [
        line(style, curve, 1.6, name=style.label, legendgroup=style.label) | place
        for style, curve in zip(styles, seed_means(values[::every], groups).T, strict=True)
    ]
    means = seed_means(values, groups)
    log = measure.scale == "log"
    bounds, y = value_axis(measure, [values])
    beyond = off_range(styles, numbers, means, bounds) if log else []
    made = layout(
        measure.title,
        measure.unit + (OFF_RANGE if beyond else ""),
        x=steps_axis(total),
        y=unlabelled_until(bool(found), y),
        height=HEIGHT,
        badge="log" if log else "",
        how=(
            "Each curve is one lane, or the mean of its seeds with a band from the lowest to the "
            "highest. Point at it for the values of a step."
        ),
        revision=run or "race",
    )
    if not named:
        return {"data": data + beyond, "layout": made}
    labels, crosses = curve_ends(
        styles, numbers, means, bounds=bounds, height=HEIGHT, total=total, log=log,
        left=seeds_left(steps, groups),
    )  # fmt: skip
    annotate(made, labels)
    made["margin"]["l"] = LEFT
    return {"data": data + beyond + crosses, "layout": made}


def value_axis(
    measure: Measure, values: Sequence[np.ndarray]
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Return the range of a measurement's values and Plotly's axis for it, on its scale."""
    name = measure.symbol or measure.unit
    if measure.scale == "log":
        bounds = robust_log_range(values)
        return bounds, log_axis(name, *bounds)
    bounds = linear_range(values)
    return bounds, axis(name, range=list(bounds))


def column(steps: Sequence[Step], key: str, lanes: int) -> np.ndarray:
    """Stack a measurement of some steps that all have it: (N, K), NaN where it is not finite."""
    if not steps:
        return np.empty((0, lanes))
    values = np.array([step.measures[key] for step in steps], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def stride(lanes: int, numbers: Sequence[int], total: int | None = None) -> int:
    """Return the number of measurements per point of a curve, which limits the number of points.

    It is that of the whole race from the start, so that points are only appended during a race.

    Parameters
    ----------
    numbers : the steps measured so far.
    total : steps of the whole race; None if it has ended.

    >>> stride(64, range(1, 11), 2000), stride(64, range(1, 2001)), stride(64, [100, 200], 2000)
    (3, 3, 1)
    """
    apart = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return max(1, math.ceil(lanes * max(len(numbers), (total or 0) / apart) / MAX_POINTS))


def spread_out(count: int, apart: int) -> list[int]:
    """Return the places of every n-th of some measurements, of the first and of the last one.

    >>> spread_out(6, 2), spread_out(3, 1)
    ([0, 1, 3, 5], [0, 1, 2])
    """
    return sorted({0, *range(count - 1, -1, -apart)} if count else [])


def places(numbers: Sequence[int]) -> dict[str, Any]:
    """Return Plotly's x values of some steps, by two numbers if they are evenly spaced."""
    apart = set(np.diff(numbers).tolist())
    if len(apart) > 1:
        return {"x": list(numbers)}
    return {"x0": numbers[0] if numbers else 1, "dx": apart.pop() if apart else 1}
