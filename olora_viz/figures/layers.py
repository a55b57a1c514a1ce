"""Figures by layer: gradients and update spectra, as maps and as grids."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    Figure,
    axis,
    color_bar,
    curve_ends,
    layout,
    line,
    log_axis,
    log_range,
    log_ticks,
    rows_axis,
    steps_axis,
    unlabelled_until,
)
from olora_viz.figures.theme import LaneStyle
from olora_viz.initializers import is_dense, label_of
from olora_viz.machine.tables import plain
from olora_viz.measures.gradients import GRADIENTS, Gradients
from olora_viz.measures.inspection import LayerUpdate
from olora_viz.measures.measure import Measure, Part
from olora_viz.measures.update_spectra import UpdateSpectra

CELL_HEIGHT = 9

MOST_CELLS = 12_000
"""Maximum cells across; a longer run shows every second step, and so on."""


FEW_CELLS, COLUMNS = 1_000, 26
"""A run's map of more cells is thinned out to so many columns, since it is sent again and again."""


def layer_map(
    measure: Measure,
    key: str,
    steps: Sequence[int],
    records: Sequence[Any],
    style: LaneStyle,
    k: int,
    *,
    run: str = "",
) -> Figure:
    """Draw one part of a measurement by layer and step, for lane k; a click on a cell picks the layer.

    The first layer is at the top. Values that are not finite are left blank, and on a log scale those that are not
    positive.

    Args:
        measure: its colours are linear or logarithmic, as its scale is.
        key: of one of its `parts`.
        steps: the step number of each of its `records`, of which there is at least one.
    """
    part, log, layers = measure.parts[key], measure.scale == "log", records[0].layers
    cells = len(steps) * len(layers)
    thin = max(min(math.ceil(cells / FEW_CELLS), math.ceil(len(steps) / COLUMNS)), math.ceil(cells / MOST_CELLS))
    columns = range((len(steps) - 1) % thin, len(steps), thin)
    values, numbers = np.array([part.of(records[n])[k] for n in columns]), [steps[n] for n in columns]
    shown = np.isfinite(values) & ((values > 0) | (not log))
    where = ["input at the top, output at the bottom"]
    where += [f"every {thin} measurements"] if thin > 1 else []
    if not shown.all():
        where += ["blank: zero, or nothing to measure" if log else "blank: not defined"]
    blocks = [block_and_module(layer)[0] for layer in layers]
    words = [".".join(block_and_module(layer)).strip(".") for layer in layers]
    first = first_of_blocks(blocks, 12)
    places, sparse = list(range(len(numbers))), max(1, -(-len(numbers) // 6))
    drawn = layout(
        f"{style.label}: {part.words}",
        "; ".join([", ".join(filter(None, (part.symbol, part.unit))), *where]),
        x=axis("step", tickvals=places[::sparse], tickangle=0, ticktext=[str(n) for n in numbers][::sparse]),
        y=rows_axis([len(layers) - 0.5, -0.5], first, [f"block {blocks[i]}" for i in first]),
        height=max(150, min(420, CELL_HEIGHT * len(layers))),
        how=(
            "A row is a layer, a column a measurement; the first block is on top. Click a cell to see that layer's "
            "curves."
        ),
        badge="log" if log else "",
        revision=run or measure.key,
        closest=True,
        margin={"l": 66, "r": 76},
    )
    drawn["meta"] |= {"steps": numbers, "rows": dict(zip(words, layers, strict=True)), "columns": numbers}
    rows = [plain(row) for row in values.T]
    trace = _heat(rows, places, words, style.color, "%{y}: %{z:.3g}<extra></extra>", ".3~g")
    trace |= {"xgap": 1 if len(numbers) <= 60 else 0, "ygap": 0.5}
    trace["colorbar"]["xpad"] = 4
    if log:
        trace |= _logarithmic(values.T, trace["colorbar"])
    return {"data": [trace], "layout": drawn}


def first_of_blocks(blocks: Sequence[str], most: int) -> list[int]:
    """Return the index of the first layer of every block, or of every second one, and so on; given each layer's."""
    first = [i for i, block in enumerate(blocks) if i == 0 or block != blocks[i - 1]]
    return first[:: max(1, -(-len(first) // most))]


def _heat(z: Sequence[Any], x: Sequence[int], y: Sequence[Any], color: str, hover: str, form: str) -> dict[str, Any]:
    """Return the trace of a map, from the colour of lines for zero to a full colour."""
    return {
        "type": "heatmap", "z": z, "x": x, "y": y, "colorscale": [[0, "@line"], [1, color]],
        "colorbar": color_bar(form), "hovertemplate": hover,
    }  # fmt: skip


def _logarithmic(values: np.ndarray, bar: dict[str, Any]) -> dict[str, Any]:
    """Return a trace that is coloured by the logarithm but shows the value itself."""
    shown = np.where(np.isfinite(values) & (values > 0), values, math.nan)
    power = np.round(np.log10(shown), 2)
    known = power[np.isfinite(power)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = max(high, low + 0.01)
    ticks = log_ticks(low, high, most=5)
    ends = {"tickvals": [round(math.log10(t), 4) for t in ticks], "ticktext": [f"{t:g}" for t in ticks]}
    return {
        "z": [plain(row) for row in power], "customdata": [plain(row) for row in shown], "zmin": low, "zmax": high,
        "colorbar": bar | ends, "hovertemplate": "%{y}: %{customdata:.3g}<extra></extra>",
    }  # fmt: skip


def ranks_figure(ranks: Mapping[str, Sequence[int]], styles: Sequence[LaneStyle], *, run: str = "") -> Figure:
    """Draw the rank of each lane by layer, a bar each; lanes with the same ranks have one row, of the first of them.

    Args:
        ranks: of all lanes, by the layer's name, in the model's order; 0 for a lane without an adapter there.
    """
    layers, of_lanes = list(ranks), list(zip(*ranks.values(), strict=True))
    first = {of: k for k, of in reversed(list(enumerate(of_lanes))) if not is_dense(styles[k].init)}
    rows = sorted(first.items(), key=lambda row: row[1])
    most, places = max((max(of) for of, _ in rows), default=1), range(len(rows))
    blocks = [block_and_module(layer)[0] for layer in layers]
    ticks = first_of_blocks(blocks, 10)
    data = []
    for row, (of, k) in enumerate(rows):
        x = [place for i in range(len(layers)) for place in (i, i, None)]
        y = [end for rank in of for end in (row + 0.35, round(row + 0.35 - 0.57 * rank / most, 4), None)]
        text = [f"{layer_words(layer)}: rank {rank}" for layer, rank in zip(layers, of, strict=True) for _ in range(3)]
        data.append({
            "type": "scatter", "mode": "lines", "name": styles[k].label, "x": x, "y": y, "text": text,
            "line": {"color": styles[k].color, "width": max(2, min(12, 300 // len(layers)))},
            "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        })  # fmt: skip
    names = [
        {"x": -0.6, "y": row - 0.44, "text": styles[k].label, "showarrow": False, "xanchor": "left", "align": "left",
         "font": {"size": 11.5, "color": "@mute"}}
        for row, (_, k) in enumerate(rows)
    ]  # fmt: skip
    drawn = layout(
        "Ranks by layer", f"the tallest bar has rank {most}; lanes with the same ranks are one row",
        x=axis("block, from the input to the output", range=[-0.7, len(layers) - 0.3], tickvals=ticks,
               ticktext=[blocks[i] for i in ticks], showgrid=False),
        y=rows_axis([max(1, len(rows)) - 0.6, -0.6], [row + 0.35 for row in places], [""] * len(rows)),
        height=20 + 64 * len(rows), revision=run or "ranks", closest=True, margin={"l": 20}, labels=names,
        how="A bar is a layer, its height the lane's rank there; no bar: no adapter. All of them together have the "
        "parameters of one rank for all layers.",
        message="" if rows else "All layers have one rank.",
    )  # fmt: skip
    return {"data": data, "layout": drawn}


def layer_grid(values: Mapping[str, float], rank: int, init: str, *, chosen: str = "", run: str = "") -> Figure:
    """Draw one number for every layer as a map, blocks across and modules down: the picker.

    Args:
        values: share of ‖W‖² captured, by the layer's name, in the model's order.
        chosen: name of the layer that is framed.
    """
    unit = f"energy captured by {label_of(init)}; click to choose a layer"
    return _grid(values, f"Every layer at rank {rank}", unit, init, (".1~%", "z:.1%"), run or "map", chosen)


def adapter_map(updates: Sequence[LayerUpdate], title: str = "What the adapter changes") -> Figure:
    """Draw ‖ΔW‖ / ‖W‖ of an inspected adapter for every layer."""
    values = {update.layer: update.relative_norm for update in updates}
    return _grid(values, title, "‖ΔW‖ / ‖W‖ of every layer", "olora", (".1%", "z:.2%"), "adapter")


def _grid(
    values: Mapping[str, float], title: str, unit: str, init: str, forms: tuple[str, str], revision: str,
    chosen: str | None = None,
) -> Figure:  # fmt: skip
    """Draw a value per layer, blocks across and modules down; a layer without a number is a block of its own.

    Args:
        init: whose colour the map has.
        forms: of the numbers beside the map and of those under the pointer.
        chosen: name of the layer that is framed; None where layers cannot be chosen.
    """
    split = {name: block_and_module(name) for name in values}
    blocks = list(dict.fromkeys(block for block, _ in split.values()))
    modules = list(dict.fromkeys(module for _, module in split.values()))
    names: list[list[str | None]] = [[None] * len(blocks) for _ in modules]
    for name, (block, module) in split.items():
        names[modules.index(module)][blocks.index(block)] = name
    frames = [
        {"type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5,
         "line": {"color": "@ink", "width": 2}}
        for y, row in enumerate(names) for x, name in enumerate(row) if name == chosen
    ]  # fmt: skip
    places, rows = list(range(len(blocks))), list(range(len(modules)))
    z = [[None if name is None else values[name] for name in row] for row in names]
    bar, hover = forms
    heat = _heat(z, places, rows, f"@{init}", f"%{{y}} of block %{{x}}: %{{{hover}}}<extra></extra>", bar)
    ticks = places[:: max(1, -(-len(blocks) // 10))]
    drawn = layout(
        title,
        unit,
        x=axis("block", range=[-0.5, len(blocks) - 0.5], tickvals=ticks, ticktext=[blocks[i] for i in ticks]),
        y=rows_axis([len(rows) - 0.5, -0.5], rows, modules),
        height=max(96, 24 * len(rows)),
        how=(
            "A column is a block, in the model's order; a row is a kind of layer. The stronger the colour of a cell, "
            "the larger its number."
        ),
        revision=revision,
        closest=True,
        margin={"l": 78, "r": 70},
        shapes=frames or None,
    )
    drawn["meta"] |= {} if chosen is None else {"names": names}
    return {"data": [heat | {"xgap": 1.5, "ygap": 1.5}], "layout": drawn}


def block_and_module(name: str) -> tuple[str, str]:
    """Split a layer's name into the number of its block and its last part, an expert's with number.

    >>> block_and_module("model.layers.3.self_attn.q_proj"), block_and_module("head")
    (('3', 'q_proj'), ('', 'head'))
    >>> block_and_module("model.layers.3.mlp.experts.down_proj.7")
    ('3', 'down_proj.7')
    """
    numbered = re.search(r"\.(\d+)\.(.+)$", f".{name}")
    if not numbered:
        return "", name
    last = re.search(r"[^.]+(\.\d+)?$", numbered[2])
    return numbered[1], last[0] if last else numbered[2]


def layer_words(name: str) -> str:
    """Format a layer's name for display.

    >>> layer_words("model.layers.3.mlp.down_proj")
    '3 · down_proj'
    """
    return " · ".join(part for part in block_and_module(name) if part)


PLOT_HEIGHT = 200
"""Height of the plot areas of curves in pixels."""

MOST_POINTS = 4000
"""Maximum number of points behind the curves that a browser can draw during a race."""

MOST_LOOKS, MOST_VALUES = 100, 600
"""Points of a curve over the run, and of all curves; a longer run shows every second measurement, the first and the
last one, and so on."""


def layer_figure(
    steps: Sequence[int],
    gradients: Sequence[Gradients],
    styles: Sequence[LaneStyle],
    layer: str,
    measure: str,
    *,
    total: int | None = None,
    run: str = "",
    left: Sequence[int] = (),
) -> Figure:
    """Draw one measure of one layer, a key of ``GRADIENTS.parts``, against the step, one curve per lane.

    Args:
        steps: the step number of each measurement, of which there is at least one.
        total: steps of the whole race, the end of the horizontal axis.
        left: the step at which each lane diverged, 0 for one that has not; by default none.
    """
    part, i = GRADIENTS.parts[measure], gradients[0].layers.index(layer)
    thin = math.ceil(len(steps) / min(MOST_LOOKS - 1, max(10, MOST_VALUES // len(styles))))
    shown = spread_out(len(steps), thin)
    curves = _positive(np.array([part.of(gradients[n])[:, i] for n in shown]))
    numbers = [steps[n] for n in shown]
    bounds = log_range([curves])
    labels, crosses = curve_ends(
        styles, numbers, curves, bounds=bounds, height=PLOT_HEIGHT, total=total, left=[(step,) for step in left]
    )
    x = steps_axis(total, **({"dtick": 1} if max(total or 0, *numbers) <= 12 else {}))
    title = f"{part.title}{' of' if measure == 'input' else ' in'} {layer_words(layer)}"
    drawn = _curves_layout(title, "", x, part, curves, run, labels)
    data = [line(style, curves[:, k], 1.8, x=numbers) for k, style in enumerate(styles)]
    return {"data": data + crosses, "layout": drawn}


def spread_out(count: int, apart: int) -> list[int]:
    """Return the places of every n-th of some measurements, of the first and of the last one.

    >>> spread_out(6, 2), spread_out(3, 1)
    ([0, 1, 3, 5], [0, 1, 2])
    """
    return sorted({0, *range(count - 1, -1, -apart)} if count else [])


def depth_figure(
    step: int, gradients: Gradients, styles: Sequence[LaneStyle], measure: str, module: str = "", *, run: str = ""
) -> Figure:
    """Draw one measure at one step against depth, one curve per lane.

    Layers of different kinds differ in size, so the curve goes through one kind, block after block; the others are
    points behind it.

    Args:
        measure: a key of ``GRADIENTS.parts``.
        module: the last part of the names of the layers that a curve joins; "" joins all.
    """
    part, layers = GRADIENTS.parts[measure], gradients.layers
    parts = [block_and_module(layer) for layer in layers]
    joined = [i for i, (_, name) in enumerate(parts) if not module or name == module]
    ticks = first_of_blocks([block for block, _ in parts], 10)
    values = _positive(part.of(gradients))
    has_points, ends = bool(module) and values.size <= MOST_POINTS, [-0.5, len(layers) - 0.5]
    labels, _ = curve_ends(
        styles, joined, values.T[joined], bounds=log_range([values.T]), height=PLOT_HEIGHT, total=None
    )
    more = f"; curves: {module or 'all layers'}" + (", points: the others" if has_points else "")
    named = [parts[i][0] for i in ticks]
    x = axis("block, from the input to the output", range=ends, tickvals=ticks, ticktext=named)
    behind = [label | {"x": ends[1]} for label in labels]  # the points
    drawn = _curves_layout(f"{part.title} against depth, step {step}", more, x, part, values.T, run, behind)
    drawn["meta"]["message"] = "" if np.isfinite(values).any() else "Nothing to draw in this step."
    data: list[dict[str, Any]] = []
    if has_points:
        for k, style in enumerate(styles):
            mark = {"color": style.color, "size": 3.5}
            points = {"mode": "markers", "marker": mark, "opacity": 0.35, "hoverinfo": "skip"}
            data.append(line(style, values[k], 0, x0=0, dx=1, **points))
    for k, style in enumerate(styles):
        mark = {"color": style.color, "size": 4.5}
        data.append(line(style, values[k, joined], 2.0, x=joined, mode="lines+markers", marker=mark))
    return {"data": data, "layout": drawn}


def _curves_layout(
    title: str, more: str, x: dict[str, Any], part: Part, curves: np.ndarray, run: str, labels: list[dict[str, Any]]
) -> dict[str, Any]:
    """Lay out curves on a log axis, with room for all of them."""
    has_values = np.isfinite(curves).any()
    return layout(
        title,
        f"{part.symbol}, {part.unit}{more}",
        x=x,
        y=unlabelled_until(has_values, log_axis(part.symbol, *log_range([curves]))),
        height=PLOT_HEIGHT,
        message="" if has_values else "Nothing to draw yet.",
        how=(
            "Each curve is one lane. Norms that shrink or grow with depth by large factors are what vanishing or "
            "exploding gradients would look like."
        ),
        revision=run or "gradients",
        labels=labels,
    )


def _positive(values: np.ndarray) -> np.ndarray:
    """Replace values that a log axis cannot show by NaN."""
    return np.where(np.isfinite(values) & (values > 0), values, math.nan)


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
    sigma = np.array([measured.sigma[k, i] for measured in spectra])
    nothing = "No adapter on this layer." if np.isnan(sigma).all() else "Nothing has changed yet."
    shown = [j for j in range(min(sigma.shape[1], 32)) if (sigma[:, j] > 0).any()]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": f"σ{j + 1}",
            "x": [0, *steps], "y": [0.0, *plain(sigma[:, j])],
            "line": {"color": style.color, "width": 2.2 if j == 0 else 1.3, "dash": style.dash},
            "marker": {"color": style.color, "size": 3.5},
            "opacity": round(1.0 - 0.75 * place / max(1, len(shown) - 1), 3), "hovertemplate": "%{y:.3g}",
        }
        for place, j in enumerate(shown)
    ]  # fmt: skip
    top = float(np.fmax.reduce(sigma, axis=None, initial=0.0)) or 1.0
    drawn = layout(
        f"Singular values of ΔW in {layer_words(layer)}",
        f"{style.label}, during training; the darkest is the largest",
        x=steps_axis(total),
        y=axis("σᵢ(ΔW)", range=[-0.02 * top, 1.06 * top]),
        height=210,
        message="" if shown else nothing,
        how=(
            "How strongly training changes the layer, direction by direction. A few large values mean that the update "
            "uses few of its r directions."
        ),
        revision=run or "growth",
    )
    return {"data": data, "layout": drawn}
