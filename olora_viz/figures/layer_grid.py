"""Maps of all layers of a model, blocks across and modules down; pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from olora_viz.figures.layout import Figure, axis, layout
from olora_viz.initializers import label_of
from olora_viz.measures.inspection import LayerUpdate


def layer_grid(
    values: Mapping[str, float], rank: int, init: str, *, chosen: str = "", run: str = ""
) -> Figure:
    """Draw one number for every layer as a map, blocks across and modules down: the picker.

    Parameters
    ----------
    values : share of ‖W‖² captured, by the layer's name, in the model's order.
    chosen : name of the layer that is framed.
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
