"""Arrows at the edge of a chart where a curve leaves it, so that no curve is cut silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import rounded

OFF_RANGE = "; ▲▼ beyond the axis"
"""Added to a chart's unit if there are arrows."""

MOST_ARROWS = 40
"""Maximum arrows per lane and edge; more are thinned out."""


def off_range(
    styles: Sequence[LaneStyle],
    numbers: Sequence[int],
    curves: np.ndarray,
    bounds: tuple[float, float],
) -> list[dict[str, Any]]:
    """Return marks at the edges of a log axis, one at the extreme point of every excursion.

    Parameters
    ----------
    styles : one per lane.
    numbers : (N) the number of each step.
    curves : (N, K).
    bounds : range of the vertical axis, in powers of ten.

    >>> from olora_viz.figures.theme import lane_styles
    >>> from olora_viz.lanes.lane import Lane
    >>> curve = np.array([[1.0], [500.0], [900.0], [1.0]])
    >>> off_range(lane_styles([Lane("lora")]), [1, 2, 3, 4], curve, (0, 2))[0]["x"]
    [3]
    """
    marks = []
    for k, style in enumerate(styles):
        for edge, sign, symbol in ((bounds[1], 1, "triangle-up"), (bounds[0], -1, "triangle-down")):
            positive = curves[:, k] > 0
            power = np.where(positive, np.log10(np.where(positive, curves[:, k], 1.0)), np.nan)
            found = _tops(sign * (power - edge))
            found = found[:: max(1, -(-len(found) // MOST_ARROWS))]
            if found:
                marks.append(_arrows(style, [numbers[i] for i in found], edge, symbol))
    return marks


def _tops(excess: np.ndarray) -> list[int]:
    """Return the position of the maximum of each run of positive numbers."""
    out = np.flatnonzero(excess > 0)
    runs = np.split(out, np.flatnonzero(np.diff(out) > 1) + 1)
    return [int(run[np.argmax(excess[run])]) for run in runs if run.size]


def _arrows(style: LaneStyle, at: list[int], edge: float, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": at,
        "y": [rounded(10**edge, 4)] * len(at),
        "name": f"{style.label}, beyond the axis",
        "legendgroup": style.label,
        "marker": {"color": style.color, "size": 8, "symbol": symbol},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
