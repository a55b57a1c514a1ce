"""Inside an adapter, for notebooks and PNGs: W, and of each lane A above and B beside what it has learned, ΔW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from olora_viz.figures.drawing import drawing
from olora_viz.figures.layers import layer_words
from olora_viz.figures.layout import Figure, axis, layout
from olora_viz.figures.plots import chosen
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.machine.checks import unknown
from olora_viz.machine.tables import plain
from olora_viz.machine.wording import number
from olora_viz.measures.factors import Factors, Inside, factors, inside, learned
from olora_viz.races.race import Race
from olora_viz.races.step import latest_factors

CELL = 2.0
"""Pixels of the height of a row of numbers."""

GAP = 3
"""Rows or columns between A, B and ΔW."""


def plot_adapter(source: Any, layer: str | None = None, *, step: int | None = None, theme: str = "light") -> go.Figure:
    """Draw the inside of the adapters of a race in one layer: W, and of each start A, B and what it has learned.

    A stands above ΔW = s (BA − B⁰A⁰), B beside it: a row of A and a column of B meet in their part. All A,
    all B and all ΔW are on one scale each. Of a side beyond 128 each number is the mean of a block.

    Args:
        source: a `Race`, as it is now; or a recorded race whose adapters were recorded.
        layer: its name, or the end of it; None for the first that is looked at.
        step: of a recorded race: the last pictures up to it, 0 for those at the start; None for the last ones.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: there are no pictures, or the layer is none of those that are looked at.

    Examples:
        >>> import olora_viz as ov
        >>> figure = ov.plot_adapter(ov.load_recording("first"), "q_proj")
        >>> [map.name for map in figure.data]
        ['W', 'LoRA', 'OLoRA', 'PiSSA']
    """
    chosen("adapter", ["adapter"], theme)
    return drawing(adapter_figures(source, layer, step), theme)


def adapter_figures(source: Any, layer: str | None = None, step: int | None = None) -> list[Figure]:
    """Return W, and of each start its A, B and ΔW, see `plot_adapter`."""
    pictures, moved, at = _pictures(source, step)
    layers = list(pictures.weights)
    names = [name for name in layers if layer is None or name == layer or f".{name}".endswith(f".{layer}")]
    if not names:
        raise ValueError(unknown("layer", str(layer), layers) if layers else "these lanes have no A and B to draw")
    name, shape = names[0], pictures.shapes[names[0]]
    where = f"{layer_words(name)}, {'before the first step' if not at else f'after step {at}'}"
    config = source.config
    lanes = []
    for lane, label in zip(config.lanes, config.labels, strict=True):
        start = pictures.start.of.get(label, {}).get(name)
        if start is not None:
            lanes.append((lane.init, learned(start, moved.of.get(label, {}).get(name), lane.scale)))
    most = [max(float(np.abs(parts[i]).max()) for _, parts in lanes) for i in range(3)]
    W = pictures.weights[name].matrix
    about = f"{layer_words(name)}, {' × '.join(map(str, shape))}; frozen, the same for all"
    drawn = [_map("W", about, W, W, "W")]
    units = ", ".join(f"{what} {number(value, '.2g')}" for what, value in zip(("A", "B", "ΔW"), most, strict=True))
    for init, parts in lanes:
        summary = INITIALIZERS[init].summary if init in INITIALIZERS else ""
        title = f"{label_of(init)}: A above, B beside what it has learned, ΔW"
        figure = _map(title, f"{where}; full colour: {units}", *_put_together(parts, most), label_of(init))
        figure["layout"]["meta"]["how"] = summary
        drawn.append(figure)
    return drawn


def _pictures(source: Any, step: int | None) -> tuple[Inside, Factors, int]:
    """Return the pictures of the start, those of a step, and its number."""
    if isinstance(source, Race):
        return inside(source.lanes), factors(source.lanes), source.done
    pictures = getattr(source, "inside", None)
    if not isinstance(pictures, Inside):
        raise ValueError(
            "plot_adapter draws a Race, such as race(config), or a recorded race with its adapters, such as "
            "load_recording('first')"
        )
    at = latest_factors(source.steps, step)
    return (pictures, at.factors, at.step) if at and at.factors else (pictures, Factors({}), 0)


def _put_together(parts: tuple[np.ndarray, ...], most: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return A above ΔW and B beside it, each as a share of its scale, and their numbers; NaN between them."""
    A, B, delta = parts
    shares, numbers = (np.full((len(A) + GAP + len(B), B.shape[1] + GAP + A.shape[1]), np.nan) for _ in range(2))
    low, left = len(A) + GAP, B.shape[1] + GAP
    for part, scale, rows, columns in (
        (A, most[0], slice(len(A)), slice(left, None)),
        (B, most[1], slice(low, None), slice(B.shape[1])),
        (delta, most[2], slice(low, None), slice(left, None)),
    ):
        numbers[rows, columns] = part
        shares[rows, columns] = part / scale if scale else part
    return shares, numbers


def _map(title: str, unit: str, shares: np.ndarray, numbers: np.ndarray, name: str) -> Figure:
    most = float(np.nanmax(np.abs(shares))) or 1.0
    rows, columns = shares.shape
    sides: Mapping[str, Any] = {"showticklabels": False, "ticks": "", "showgrid": False}
    return {
        "data": [{
            "type": "heatmap", "name": name, "z": [plain(row) for row in shares], "x": list(range(columns)),
            "y": list(range(rows)), "customdata": [plain(row) for row in numbers], "zmin": -most, "zmax": most,
            "colorscale": [[0, "@accent"], [0.5, "@card"], [1, "@bad"]], "showscale": False,
            "hovertemplate": "%{customdata:.3g}<extra></extra>", "xgap": 0, "ygap": 0,
        }],
        "layout": layout(
            title, unit, x=axis("column", range=[-0.5, columns - 0.5], **sides),
            y=axis("row", range=[rows - 0.5, -0.5], **sides), height=round(CELL * rows), closest=True, revision=title,
        ),
    }  # fmt: skip
