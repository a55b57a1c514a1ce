"""A map of a run: layers down, steps across, and one number as the colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.layout import Figure, axis, layout, log_ticks
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import plain
from olora_viz.measures.measure import Measure

ROW = 9
"""Height of a layer in pixels."""

MOST_CELLS = 12_000
"""Maximum cells across; a longer run shows every second step, and so on."""


FEW_CELLS, COLUMNS = 1_000, 26
"""A run's map of more cells is thinned out to so many columns, since it is sent again and again."""


def layer_map(
    measure: Measure,
    key: str,
    steps: Sequence[int],
    found: Sequence[Any],
    style: LaneStyle,
    k: int,
    *,
    run: str = "",
) -> Figure:
    """Draw one part of a measurement by layer, for lane k.

    Parameters
    ----------
    measure : its colours are linear or logarithmic, as its scale is.
    key : of one of its `parts`.
    steps : the step number of each measurement.
    found : the records, at least one.
    style : the lane's.
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

    Parameters
    ----------
    title, unit : the text around the map.
    steps : N numbers of steps.
    layers : L names in the model's order, the first one at the top.
    values : non-finite values are left blank, and on a log scale also those that are not positive.
    color : token of the largest value.
    log : whether the colour scale is logarithmic.
    revision : the zoom is kept while it stays the same.
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
        "colorbar": bar | {"tickvals": [round(math.log10(t), 4) for t in ticks],
                           "ticktext": [f"{t:g}" for t in ticks]},
        "hovertemplate": "%{y}: %{customdata:.3g}<extra></extra>",
    }  # fmt: skip


def _starts_block(layers: Sequence[str], i: int) -> bool:
    return i == 0 or block_and_module(layers[i])[0] != block_and_module(layers[i - 1])[0]
