"""Gradients, parameters and updates of a run as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import annotate, curve_ends
from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.layout import Figure, axis, layout, line, log_axis, log_range
from olora_viz.figures.measure import spread_out
from olora_viz.figures.theme import LaneStyle
from olora_viz.measures.gradients import GRADIENTS, Gradients
from olora_viz.measures.measure import Part

HEIGHT = 200
"""Height of the plot areas of curves in pixels."""

MOST_POINTS = 4000
"""Maximum number of points behind the curves that a browser can draw during a race."""

MOST_LOOKS, MOST_VALUES = 100, 600
"""Points of a curve over the run, and of all curves; a longer run shows every second measurement,
the first and the last one, and so on."""


def layer_figure(
    steps: Sequence[int],
    found: Sequence[Gradients],
    styles: Sequence[LaneStyle],
    layer: str,
    measure: str,
    *,
    total: int | None = None,
    run: str = "",
    left: Sequence[int] = (),
) -> Figure:
    """Draw one measure of one layer against the step, one curve per lane.

    Parameters
    ----------
    steps : the step number of each measurement.
    found : the measurements, at least one.
    styles : one per lane.
    layer : its name.
    measure : a key of ``GRADIENTS.parts``.
    total : steps of the whole race, the end of the horizontal axis.
    left : the step at which each lane diverged, 0 for one that has not; by default none.
    """
    its, i = GRADIENTS.parts[measure], found[0].layers.index(layer)
    thin = math.ceil(len(steps) / min(MOST_LOOKS - 1, max(10, MOST_VALUES // len(styles))))
    shown = spread_out(len(steps), thin)
    curves = _positive(np.array([its.of(found[n])[:, i] for n in shown]))
    numbers = [steps[n] for n in shown]
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    ends |= {"dtick": 1} if max(total or 0, *numbers) <= 12 else {}
    where = " · ".join(part for part in block_and_module(layer) if part)
    made = _curves_layout(
        f"{its.title}{' of' if measure == 'input' else ' in'} {where}",
        f"{its.symbol}, {its.unit}",
        axis("step", rangemode="tozero", **ends),
        its,
        curves,
        run,
    )
    data = [
        line(style, curves[:, k], 1.8, name=style.label, legendgroup=style.label, x=numbers)
        for k, style in enumerate(styles)
    ]
    crosses = _name(made, styles, numbers, curves, total, left)
    return {"data": data + crosses, "layout": made}


def depth_figure(
    step: int,
    found: Gradients,
    styles: Sequence[LaneStyle],
    measure: str,
    module: str = "",
    *,
    run: str = "",
) -> Figure:
    """Draw one measure at one step against depth, one curve per lane.

    Layers of different kinds differ in size, so the curve goes through one kind, block after block;
    the others are points behind it.

    Parameters
    ----------
    step : the step number of the measurement.
    found : the measurement.
    styles : one per lane.
    measure : a key of ``GRADIENTS.parts``.
    module : the last part of the names of the layers that a curve joins; "" joins all.
    """
    its, layers = GRADIENTS.parts[measure], found.layers
    parts = [block_and_module(layer) for layer in layers]
    joined = [i for i, (_, name) in enumerate(parts) if not module or name == module]
    first = [i for i, (block, _) in enumerate(parts) if i == 0 or block != parts[i - 1][0]]
    every = max(1, -(-len(first) // 10))
    values = _positive(its.of(found))
    has_points = bool(module) and values.size <= MOST_POINTS
    words = f"curves: {module or 'all layers'}" + (", points: the others" if has_points else "")
    made = _curves_layout(
        f"{its.title} against depth, step {step}",
        f"{its.symbol}, {its.unit}; {words}",
        axis(
            "block, from the input to the output", range=[-0.5, len(layers) - 0.5],
            tickvals=first[::every], ticktext=[parts[i][0] for i in first[::every]],
        ),
        its,
        values.T,
        run,
    )  # fmt: skip
    made["meta"]["message"] = "" if np.isfinite(values).any() else "Nothing to draw in this step."
    data: list[dict[str, Any]] = []
    if has_points:
        data += [
            line(style, values[k], 0, name=style.label, legendgroup=style.label, x0=0, dx=1)
            | {
                "mode": "markers",
                "marker": {"color": style.color, "size": 3.5},
                "opacity": 0.35,
                "hoverinfo": "skip",
            }
            for k, style in enumerate(styles)
        ]
    data += [
        line(style, values[k, joined], 2.0, name=style.label, legendgroup=style.label, x=joined)
        | {"mode": "lines+markers", "marker": {"color": style.color, "size": 4.5}}
        for k, style in enumerate(styles)
    ]
    _name(made, styles, joined, values.T[joined], None)
    for label in made["annotations"]:
        label["x"] = len(layers) - 0.5  # behind the points
    return {"data": data, "layout": made}


def _curves_layout(
    title: str, unit: str, x: dict[str, Any], its: Part, curves: np.ndarray, run: str
) -> dict[str, Any]:
    """Lay out curves on a log axis, with room for all of them."""
    shown = np.isfinite(curves).any()
    y = log_axis(its.symbol, *log_range([curves]))
    return layout(
        title,
        unit,
        x=x,
        y=y if shown else {**y, "showticklabels": False},
        height=HEIGHT,
        badge="log",
        message="" if shown else "Nothing to draw yet.",
        how=(
            "Each curve is one lane. Norms that shrink or grow with depth by large factors are "
            "what vanishing or exploding gradients would look like."
        ),
        revision=run or "gradients",
    )


def _name(
    made: dict[str, Any],
    styles: Sequence[LaneStyle],
    numbers: Sequence[int],
    curves: np.ndarray,
    total: int | None,
    left: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Write the lanes' names at the ends of their curves; return the crosses of diverged lanes."""
    low, high = made["yaxis"]["range"]
    labels, crosses = curve_ends(
        styles, numbers, curves, bounds=(low, high), height=HEIGHT, total=total,
        left=[(step,) for step in left],
    )  # fmt: skip
    annotate(made, labels)
    return crosses


def _positive(values: np.ndarray) -> np.ndarray:
    """Replace values that a log axis cannot show by NaN."""
    return np.where(np.isfinite(values) & (values > 0), values, math.nan)
