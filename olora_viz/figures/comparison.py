"""Several runs overlaid: one measurement of all their lanes on one chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_viz.figures.labels import annotate, curve_ends
from olora_viz.figures.layout import (
    Figure,
    layout,
    line,
    steps_axis,
)
from olora_viz.figures.measure import LEFT, column, stride, value_axis
from olora_viz.figures.off_range import off_range
from olora_viz.figures.seed_bands import one_each, seeds_left
from olora_viz.figures.theme import DASHES, SHAPES, LaneStyle
from olora_viz.measures.catalogue import MEASURES
from olora_viz.races.step import Step

HEIGHT = 230
"""Nominal height of the plot area in pixels."""


@dataclass(frozen=True)
class Run:
    """A run with the name that the user gave it."""

    name: str
    styles: tuple[LaneStyle, ...]
    steps: Sequence[Step]
    total: int | None = None
    """Steps of the whole race; None if unknown."""


def overlay_figure(
    runs: Sequence[Run], key: str = "eval_loss", *, revision: str = "overlay"
) -> Figure:
    """Draw a measurement of all lanes of some runs; runs differ by dash, initializations by colour.

    Parameters
    ----------
    runs : at least one.
    key : of a measurement of one number per lane, in `MEASURES`.
    revision : changes with the runs; zoom and hidden lanes are kept while it stays the same.
    """
    measure, drawn = MEASURES[key], [_measured(run, key) for run in runs]
    log = measure.scale == "log"
    bounds, y = value_axis(measure, [values for _, values in drawn])
    total = max((run.total or _last(run) for run in runs), default=1)
    data: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for i, (run, (at, values)) in enumerate(zip(runs, drawn, strict=True)):
        if not at:
            continue
        dash, shape = DASHES[i % len(DASHES)], SHAPES[i % len(SHAPES)]
        own = [
            replace(style, label=f"{run.name}: {style.label}", dash=dash, symbol=shape)
            for style in run.styles
        ]
        every = stride(values.shape[1], at, run.total)
        # Markers show the measured steps, unless every step is measured.
        sparse = len(at) < len(run.steps)
        for k, style in enumerate(own):
            more = {
                "x": at[::every],
                "name": style.label,
                "legendgroup": style.label,
                "mode": "lines+markers" if sparse else "lines",
            }
            mark = {"marker": {"color": style.color, "size": 5, "symbol": style.symbol}}
            data.append(line(style, values[::every, k], 1.8, **more) | (mark if sparse else {}))
        ends, crosses = curve_ends(
            own, at, values, bounds=bounds, height=HEIGHT, total=total, log=log,
            left=seeds_left(run.steps, one_each(len(own))),
        )  # fmt: skip
        # One name per run, at its lowest curve: colour and dash identify the others.
        lowest = own[_lowest(values[-1])].label
        labels += [label for label in ends if label["name"] in (f"end {lowest}", f"out {lowest}")]
        data += crosses + (off_range(own, at, values, bounds) if log else [])
    title = measure.title
    made = layout(
        f"{title}, runs overlaid",
        f"{measure.unit}; dash: run, colour: initialization",
        x=steps_axis(total),
        y=y,
        height=HEIGHT,
        how=(
            "Each run keeps one dash, each initialization its colour. Compare curves of one "
            "colour to see what the changed setting did."
        ),
        badge="log" if log else "",
        message="" if data else f"These runs have no measurement of the {title.lower()} yet.",
        revision=revision,
    )
    annotate(made, labels)
    made["margin"]["l"] = LEFT
    return {"data": data, "layout": made}


def _measured(run: Run, key: str) -> tuple[list[int], np.ndarray]:
    """Return the steps at which a run was measured, (N,), and the values, (N, K)."""
    found = [step for step in run.steps if key in step.measures]
    return [step.step for step in found], column(found, key, len(run.styles))


def _last(run: Run) -> int:
    return run.steps[-1].step if run.steps else 1


def _lowest(values: np.ndarray) -> int:
    """Return the lane with the lowest value; 0 if none is finite."""
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
