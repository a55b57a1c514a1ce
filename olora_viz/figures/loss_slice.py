"""Slices of the loss as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import Figure, axis, layout, nothing_yet
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import plain, rounded
from olora_viz.measures.loss_slice import LossSlice
from olora_viz.measures.training import loss_unit

HEIGHT = 250
"""Height of the plot areas in pixels."""

LEVELS = 16
"""Approximate number of contours over the scale of a slice."""


def slice_figures(
    styles: Sequence[LaneStyle],
    slices: Sequence[LossSlice],
    *,
    plain_text: bool = False,
    run: str = "",
) -> list[Figure]:
    """Draw the loss on a plane through each lane's start, all on one colour scale.

    Parameters
    ----------
    styles : of all lanes; a slice has the index of its lane.
    slices : measured with the same reach.
    plain_text : whether every token is supervised instead of an answer.
    """
    every = np.concatenate([one.loss.ravel() for one in slices])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    size = _round_step((high - low) / LEVELS)
    first = math.ceil(low / size) * size
    made = []
    for one in slices:
        style = styles[one.lane]
        reach = float(one.across[-1])
        heat: dict[str, Any] = {
            "type": "contour",
            "z": [plain(row) for row in one.loss],
            "x": plain(one.across),
            "y": plain(one.along),
            "zmin": round(low, 4),
            "zmax": round(high, 4),
            "colorscale": [[0, "@soft"], [1, "@accent"]],
            "contours": {"start": round(first, 6), "end": round(high, 6), "size": size,
                         "coloring": "heatmap"},
            "line": {"color": "@mute", "width": 0.8, "smoothing": 0.6},
            "colorbar": {"thickness": 9, "outlinewidth": 0, "tickformat": ".3~g", "len": 1.0,
                         "nticks": 8, "x": 1.01, "xanchor": "left"},
            "hovertemplate": "loss %{z:.3f}<extra></extra>",
        }  # fmt: skip
        here: dict[str, Any] = {
            "type": "scatter", "mode": "markers", "name": "the start", "x": [0.0], "y": [0.0],
            "marker": {"color": style.color, "size": 10, "symbol": "circle",
                       "line": {"color": "@card", "width": 2}},
            "hovertemplate": f"{style.label} starts here<extra></extra>",
        }  # fmt: skip
        figure = layout(
            f"{style.label}: the loss around its start",
            f"{loss_unit(plain_text)}, a contour every {size:g}; one scale for both",
            x=axis("along the top eigenvector, ‖Δθ‖", range=[-reach, reach], nticks=5),
            y=axis("along the gradient, ‖Δθ‖", range=[-reach, reach], nticks=5),
            height=HEIGHT,
            how=(
                "The start is in the middle. Closely spaced contours mean a steep loss; a narrow "
                "valley means a badly conditioned one."
            ),
            revision=f"{run} {one.lane}" if run else "slice",
        )
        figure["hovermode"] = "closest"
        figure["margin"] |= {"r": 58}
        made.append({"data": [heat, here], "layout": figure})
    return made


def empty_slice() -> Figure:
    """Return the empty chart of a slice that is not computed yet."""
    return nothing_yet(
        "The loss around a start",
        "along the top eigenvector and the gradient",
        ("along the top eigenvector, ‖Δθ‖", "along the gradient, ‖Δθ‖"),
        "Measure the start, choose two lanes, press “Slice the loss”.",
        HEIGHT,
    )


def _round_step(size: float) -> float:
    """Return the next round number above a positive size.

    >>> _round_step(0.36), _round_step(0.021)
    (0.5, 0.05)
    """
    if size <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(size))
    return rounded(next(m for m in (1, 2, 5, 10) if m * scale >= size * 0.999) * scale, 6)
