"""Figures by layer: gradients and update spectra, as maps and as grids."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from olora_viz.figures.layout import Figure, annotate, axis, curve_ends, layout, line, log_axis, log_range, log_ticks
from olora_viz.figures.race import spread_out
from olora_viz.figures.theme import LaneStyle
from olora_viz.initializers import label_of
from olora_viz.machine.text import plain
from olora_viz.measures.gradients import GRADIENTS, Gradients
from olora_viz.measures.inspection import LayerUpdate
from olora_viz.measures.measure import Measure, Part
from olora_viz.measures.update_spectra import UpdateSpectra

ROW = 9
"""Height of a layer in pixels."""

MOST_CELLS = 12_000
"""Maximum cells across; a longer run shows every second step, and so on."""


FEW_CELLS, COLUMNS = 1_000, 26
"""A run's map of more cells is thinned out to so many columns, since it is sent again and again."""


def layer_map(
    measure: Measure, key: str, steps: Sequence[int], found: Sequence[Any], style: LaneStyle, k: int, *, run: str = ""
) -> Figure:
    """Draw one part of a measurement by layer, for lane k.

    Args:
        measure: its colours are linear or logarithmic, as its scale is.
        key: of one of its `parts`.
        steps: the step number of each measurement.
        found: the records, at least one.
        style: the lane's.
    """
    part, log = measure.parts[key], measure.scale == "log"
    cells = len(steps) * len(found[0].layers)
    thin = min(math.ceil(cells / FEW_CELLS), math.ceil(len(steps) / COLUMNS))
    columns = range((len(steps) - 1) % thin, len(steps), thin)
    steps, found = [steps[n] for n in columns], [found[n] for n in columns]
    values = np.array([part.of(one)[k] for one in found])
    shown = np.isfinite(values) & ((values > 0) | (not log))
    where = ["input at the top, output at the bottom"]
    where += [f"every {thin} measurements"] if thin > 1 else []
    if not shown.all():
        where += ["blank: zero, or nothing to measure" if log else "blank: not defined"]
    return step_map(
        f"{style.label}: {part.words}",
        "; ".join([", ".join(filter(None, (part.symbol, part.unit))), *where]),
        steps,
        found[0].layers,
        values,
        style.color,
        log=log,
        revision=run or measure.key,
    )


def step_map(
    title: str,
    unit: str,
    steps: Sequence[int],
    layers: Sequence[str],
    values: Float[np.ndarray, "N L"],
    color: str,
    *,
    log: bool = False,
    revision: str,
) -> Figure:
    """Draw one number for every layer and step; a click on a cell picks the layer.

    Args:
        title: the text around the map.
        unit: see `title`.
        steps: N numbers of steps.
        layers: L names in the model's order, the first one at the top.
        values: non-finite values are left blank, and on a log scale also those that are not positive.
        color: token of the largest value.
        log: whether the colour scale is logarithmic.
        revision: the zoom is kept while it stays the same.
    """
    thin = math.ceil(len(steps) * len(layers) / MOST_CELLS)
    steps, values = steps[::thin], values[::thin].T
    words = [".".join(block_and_module(layer)).strip(".") for layer in layers]
    first = [i for i, layer in enumerate(layers) if _starts_block(layers, i)]
    every, sparse = max(1, -(-len(first) // 12)), max(1, -(-len(steps) // 6))
    made = layout(
        title,
        unit if thin == 1 else f"{unit}; every {thin} measurements",
        x=axis("step", tickvals=list(range(len(steps)))[::sparse], tickangle=0,
               ticktext=[str(n) for n in steps][::sparse]),
        y={"title": {"text": ""}, "range": [len(layers) - 0.5, -0.5], "ticks": "",
           "tickvals": first[::every],
           "ticktext": [f"block {block_and_module(layers[i])[0]}" for i in first[::every]]},
        height=max(150, min(420, ROW * len(layers))),
        how=(
            "A row is a layer, a column a measurement; the first block is on top. Click a cell "
            "to see that layer's curves."
),
        badge="log" if log else "",
        revision=revision,
    )  # fmt: skip
    made["hovermode"] = "closest"
    made["margin"] |= {"l": 66, "r": 76}
    made["meta"]["steps"] = list(steps)
    made["meta"]["rows"] = dict(zip(words, layers, strict=True))
    made["meta"]["columns"] = list(steps)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": [plain(row) for row in values],
        "x": list(range(len(steps))),
        "y": words,
        "xgap": 1 if len(steps) <= 60 else 0,
        "ygap": 0.5,
        "colorscale": [[0, "@line"], [1, color]],
        "colorbar": {"thickness": 9, "outlinewidth": 0, "tickformat": ".3~g", "len": 1.0,
                     "nticks": 5, "x": 1.01, "xanchor": "left", "xpad": 4},
        "hovertemplate": "%{y}: %{z:.3g}<extra></extra>",
    }  # fmt: skip
    if log:
        trace |= _logarithmic(values, trace["colorbar"])
    return {"data": [trace], "layout": made}


def _logarithmic(values: np.ndarray, bar: dict[str, Any]) -> dict[str, Any]:
    """Return a trace that is coloured by the logarithm but shows the value itself."""
    shown = np.where(np.isfinite(values) & (values > 0), values, math.nan)
    power = np.round(np.log10(shown), 2)
    known = power[np.isfinite(power)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    ticks = log_ticks(low, max(high, low + 0.01), most=5)
    return {
        "z": [plain(row) for row in power],
        "customdata": [plain(row) for row in shown],
        "zmin": low,
        "zmax": max(high, low + 0.01),
        "colorbar": bar
        | {"tickvals": [round(math.log10(t), 4) for t in ticks], "ticktext": [f"{t:g}" for t in ticks]},
        "hovertemplate": "%{y}: %{customdata:.3g}<extra></extra>",
    }


def _starts_block(layers: Sequence[str], i: int) -> bool:
    return i == 0 or block_and_module(layers[i])[0] != block_and_module(layers[i - 1])[0]


def layer_grid(values: Mapping[str, float], rank: int, init: str, *, chosen: str = "", run: str = "") -> Figure:
    """Draw one number for every layer as a map, blocks across and modules down: the picker.

    Args:
        values: share of ‖W‖² captured, by the layer's name, in the model's order.
        chosen: name of the layer that is framed.
    """
    grid = Grid.of(list(values))
    made = _map_layout(
        grid,
        f"Every layer at rank {rank}",
        f"energy captured by {label_of(init)}; click to choose a layer",
        run or "map",
    )
    trace = grid.heat(values, init, "%{y} of block %{x}: %{z:.1%}<extra></extra>", ".0%")
    if chosen in values:
        made["shapes"] = [grid.frame(chosen)]
    made["meta"]["names"] = grid.names
    return {"data": [trace], "layout": made}


def adapter_map(found: Sequence[LayerUpdate], title: str = "What the adapter changes") -> Figure:
    """Draw ‖ΔW‖ / ‖W‖ of an inspected adapter for every layer."""
    values = {one.layer: one.relative_norm for one in found}
    grid = Grid.of(list(values))
    made = _map_layout(grid, title, "‖ΔW‖ / ‖W‖ of every layer", "adapter")
    hover = "%{y} of block %{x}: %{z:.2%}<extra></extra>"
    return {"data": [grid.heat(values, "olora", hover, ".1%")], "layout": made}


class Grid:
    """Layers as a map: blocks across, modules down."""

    def __init__(self, blocks: list[str], modules: list[str], names: list[list[str | None]]):
        self.blocks, self.modules, self.names = blocks, modules, names

    @classmethod
    def of(cls, layers: Sequence[str]) -> Grid:
        """Place layers by the number in their names; one without a number is a block of its own."""
        split = [block_and_module(name) for name in layers]
        blocks = list(dict.fromkeys(block for block, _ in split))
        modules = list(dict.fromkeys(module for _, module in split))
        names: list[list[str | None]] = [[None] * len(blocks) for _ in modules]
        for name, (block, module) in zip(layers, split, strict=True):
            names[modules.index(module)][blocks.index(block)] = name
        return cls(blocks, modules, names)

    def ticks(self) -> tuple[list[int], list[str]]:
        """Return the positions of the tick labels on the horizontal axis, at most about ten."""
        every = max(1, -(-len(self.blocks) // 10))
        places = list(range(0, len(self.blocks), every))
        return places, [self.blocks[i] for i in places]

    def heat(self, values: Mapping[str, float], init: str, hover: str, form: str) -> dict[str, Any]:
        """Return the trace of one value per layer, by its name."""
        z = [[None if n is None else values.get(n) for n in row] for row in self.names]
        return {
            "type": "heatmap",
            "z": z,
            "x": list(range(len(self.blocks))),
            "y": list(range(len(self.modules))),
            "xgap": 1.5,
            "ygap": 1.5,
            "colorscale": [[0, "@line"], [1, f"@{init}"]],
            "colorbar": {"thickness": 9, "outlinewidth": 0, "tickformat": form, "len": 1.0,
                         "nticks": 5, "x": 1.01, "xanchor": "left"},
            "hovertemplate": hover,
        }  # fmt: skip

    def frame(self, chosen: str) -> dict[str, Any]:
        """Return the frame around one layer."""
        y, x = next((i, row.index(chosen)) for i, row in enumerate(self.names) if chosen in row)
        return {
            "type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5,
            "line": {"color": "@ink", "width": 2},
        }  # fmt: skip


def block_and_module(name: str) -> tuple[str, str]:
    """Split a layer's name into the number of its block and its last part, an expert's with number.

    >>> block_and_module("model.layers.3.self_attn.q_proj"), block_and_module("head")
    (('3', 'q_proj'), ('', 'head'))
    >>> block_and_module("model.layers.3.mlp.experts.down_proj.7")
    ('3', 'down_proj.7')
    """
    found = re.search(r"\.(\d+)\.(.+)$", f".{name}")
    if not found:
        return "", name
    last = re.search(r"[^.]+(\.\d+)?$", found[2])
    return found[1], last[0] if last else found[2]


def _map_layout(grid: Grid, title: str, unit: str, revision: str) -> dict[str, Any]:
    """Lay out a map of all layers: blocks across, modules down."""
    places, words = grid.ticks()
    rows = len(grid.modules)
    made = layout(
        title,
        unit,
        x=axis("block", range=[-0.5, len(grid.blocks) - 0.5], tickvals=places, ticktext=words),
        y={"tickvals": list(range(rows)), "ticktext": grid.modules, "range": [rows - 0.5, -0.5],
           "ticks": "", "title": {"text": ""}},
        height=max(96, 24 * rows),
        how=(
            "A column is a block, in the model's order; a row is a kind of layer. The stronger "
            "the colour of a cell, the larger its number."
        ),
        revision=revision,
    )  # fmt: skip
    made["hovermode"] = "closest"
    made["margin"] |= {"l": 78, "r": 70}
    return made


HEIGHT = 200
"""Height of the plot areas of curves in pixels."""

MOST_POINTS = 4000
"""Maximum number of points behind the curves that a browser can draw during a race."""

MOST_LOOKS, MOST_VALUES = 100, 600
"""Points of a curve over the run, and of all curves; a longer run shows every second measurement, the first and the
last one, and so on."""


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

    Args:
        steps: the step number of each measurement.
        found: the measurements, at least one.
        styles: one per lane.
        layer: its name.
        measure: a key of ``GRADIENTS.parts``.
        total: steps of the whole race, the end of the horizontal axis.
        left: the step at which each lane diverged, 0 for one that has not; by default none.
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
    step: int, found: Gradients, styles: Sequence[LaneStyle], measure: str, module: str = "", *, run: str = ""
) -> Figure:
    """Draw one measure at one step against depth, one curve per lane.

    Layers of different kinds differ in size, so the curve goes through one kind, block after block; the others are
    points behind it.

    Args:
        step: the step number of the measurement.
        found: the measurement.
        styles: one per lane.
        measure: a key of ``GRADIENTS.parts``.
        module: the last part of the names of the layers that a curve joins; "" joins all.
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
            | {"mode": "markers", "marker": {"color": style.color, "size": 3.5}, "opacity": 0.35, "hoverinfo": "skip"}
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
        styles, numbers, curves, bounds=(low, high), height=HEIGHT, total=total, left=[(step,) for step in left]
    )
    annotate(made, labels)
    return crosses


def _positive(values: np.ndarray) -> np.ndarray:
    """Replace values that a log axis cannot show by NaN."""
    return np.where(np.isfinite(values) & (values > 0), values, math.nan)


MOST_LINES = 32


def growth_figure(
    steps: Sequence[int],
    spectra: Sequence[UpdateSpectra],
    style: LaneStyle,
    k: int,
    layer: str,
    *,
    total: int | None = None,
    run: str = "",
) -> Figure:
    """Draw the singular values of one layer's ΔW against the step, for lane k."""
    i = spectra[0].layers.index(layer)
    sigma = np.array([one.sigma[k, i] for one in spectra])
    left_out = np.isnan(sigma).all()
    still = "No adapter on this layer." if left_out else "Nothing has changed yet."
    shown = [j for j in range(min(sigma.shape[1], MOST_LINES)) if (sigma[:, j] > 0).any()]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"σ{j + 1}",
            "x": [0, *steps],
            "y": [0.0, *plain(sigma[:, j])],
            "line": {"color": style.color, "width": 2.2 if j == 0 else 1.3, "dash": style.dash},
            "marker": {"color": style.color, "size": 3.5},
            "opacity": round(1.0 - 0.75 * place / max(1, len(shown) - 1), 3),
            "hovertemplate": "%{y:.3g}",
        }
        for place, j in enumerate(shown)
    ]
    top = float(np.fmax.reduce(sigma, axis=None, initial=0.0)) or 1.0
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    where = " · ".join(part for part in block_and_module(layer) if part)
    made = layout(
        f"Singular values of ΔW in {where}",
        f"{style.label}, during training; the darkest is the largest",
        x=axis("step", **ends),
        y=axis("σᵢ(ΔW)", range=[-0.02 * top, 1.06 * top]),
        height=210,
        message="" if shown else still,
        how=(
            "How strongly training changes the layer, direction by direction. A few large values "
            "mean that the update uses few of its r directions."
        ),
        revision=run or "growth",
    )
    return {"data": data, "layout": made}
