"""Gradients, parameters and updates of a run as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.figures.labels import curve_ends, room_for
from olora_viz.figures.layout import Figure, axis, layout, line, log_axis, log_range
from olora_viz.figures.maps import step_map
from olora_viz.figures.spectrum import block_and_module
from olora_viz.figures.theme import LaneStyle
from olora_viz.measures.gradients import FACTORS, Gradients

HEIGHT = 200
"""Height of the plot areas of curves in pixels."""

MOST_POINTS = 4000
"""Maximum number of points behind the curves that a browser can draw during a race."""

MOST_LOOKS = 100
"""Points of a curve over the run; a longer run shows every second measurement, and so on."""


class Measure(NamedTuple):
    """The description of a quantity with one number per lane and layer."""

    words: str
    symbol: str
    unit: str
    """What the number means."""

    @property
    def title(self) -> str:
        """The words with a capital."""
        return self.words[0].upper() + self.words[1:]


MEASURES = {
    "input": Measure("gradient at the input", "‖∂L/∂X‖", "backpropagated to the layer's input"),
    **{
        f"{quantity}_{factor}": Measure(words.format(factor), symbol.format(factor), unit)
        for quantity, words, symbol, unit in (
            ("gradient", "gradient of {}", "‖∂L/∂{}‖", "before clipping"),
            ("ratio", "update / parameter of {}", "‖Δ{0}‖ / ‖{0}‖", "relative change in one step"),
            ("update", "update of {}", "‖Δ{}‖", "change in one step"),
            ("parameter", "norm of {}", "‖{}‖", "before the update"),
        )
        for factor in FACTORS
    },
}
"""The quantities that can be drawn, in menu order."""


def measured(found: Gradients, measure: str) -> Float[np.ndarray, "K L"]:
    """Return one number of every lane and layer; `measure` is a key of `MEASURES`."""
    quantity, _, factor = measure.partition("_")
    values = getattr(found, quantity)
    return values[..., FACTORS.index(factor)] if factor else values


def gradient_map(
    steps: Sequence[int],
    found: Sequence[Gradients],
    style: LaneStyle,
    k: int,
    measure: str,
    *,
    run: str = "",
) -> Figure:
    """Draw one measure of lane k as a map, steps across and layers down, with logarithmic colours.

    Parameters
    ----------
    steps : the step number of each measurement.
    found : the measurements, at least one.
    look : the lane's style.
    measure : a key of `MEASURES`.
    """
    its = MEASURES[measure]
    values = _positive(np.array([measured(one, measure)[k] for one in found]))
    blank = "" if np.isfinite(values).all() else "; blank: zero, or nothing to measure"
    return step_map(
        f"{style.label}: {its.words}",
        f"{its.symbol}, {its.unit}; input at the top, output at the bottom{blank}",
        steps,
        found[0].layers,
        values,
        style.color,
        log=True,
        revision=run or "gradients",
    )


def layer_figure(
    steps: Sequence[int],
    found: Sequence[Gradients],
    styles: Sequence[LaneStyle],
    layer: str,
    measure: str,
    *,
    total: int | None = None,
    run: str = "",
) -> Figure:
    """Draw one measure of one layer against the step, one curve per lane.

    Parameters
    ----------
    steps : the step number of each measurement.
    found : the measurements, at least one.
    styles : one per lane.
    layer : its name.
    measure : a key of `MEASURES`.
    total : steps of the whole race, the end of the horizontal axis.
    """
    its, i = MEASURES[measure], found[0].layers.index(layer)
    thin = math.ceil(len(steps) / MOST_LOOKS)
    curves = _positive(np.array([measured(one, measure)[:, i] for one in found[::thin]]))
    numbers = list(steps[::thin])
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
    crosses = _name(made, styles, numbers, curves, total)
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
    measure : a key of `MEASURES`.
    module : the last part of the names of the layers that a curve joins; "" joins all.
    """
    its, layers = MEASURES[measure], found.layers
    parts = [block_and_module(layer) for layer in layers]
    joined = [i for i, (_, name) in enumerate(parts) if not module or name == module]
    first = [i for i, (block, _) in enumerate(parts) if i == 0 or block != parts[i - 1][0]]
    every = max(1, -(-len(first) // 10))
    values = _positive(measured(found, measure))
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
    title: str, unit: str, x: dict[str, Any], its: Measure, curves: np.ndarray, run: str
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
        revision=run or "gradients",
    )


def _name(
    made: dict[str, Any],
    styles: Sequence[LaneStyle],
    numbers: Sequence[int],
    curves: np.ndarray,
    total: int | None,
) -> list[dict[str, Any]]:
    """Write the lanes' names at the ends of their curves; return the crosses of diverged lanes."""
    low, high = made["yaxis"]["range"]
    labels, crosses = curve_ends(
        styles, numbers, curves, bounds=(low, high), height=HEIGHT, total=total
    )
    made["annotations"] = labels
    made["margin"]["r"] = room_for(
        [label["text"] for label in labels if label["name"].startswith("end ")]
    )
    return crosses


def _positive(values: np.ndarray) -> np.ndarray:
    """Replace values that a log axis cannot show by NaN."""
    return np.where(np.isfinite(values) & (values > 0), values, math.nan)
