"""The spectra of a weight and its starts as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import CurveEnd, Figure, axis, layout, upright
from olora_viz.initializers import label_of
from olora_viz.machine.tables import plain
from olora_viz.measures.truncation import Truncation

PLOT_HEIGHT = 268
"""Height of the plot areas in pixels."""

MOST_DRAWN = 512
"""Maximum singular values in a chart; a longer spectrum is thinned out beyond the rank."""


def singular_values_figure(truncations: Sequence[Truncation], *, run: str = "") -> Figure:
    """Draw σ_i(W) and σ_i(BA) index by index, of one weight and rank, and the band that a projection cannot leave."""
    first = truncations[0]
    r, m = first.rank, len(first.sigma_W)
    shown = _indices(m, r)
    index = np.arange(1, r + 1)
    clear = "rgba(0,0,0,0)"
    data = [
        _curve("band", index, first.lower, clear, 0, hoverinfo="skip"),
        _curve("allowed", index, first.upper, clear, 0, fill="tonexty", fillcolor="@soft", hoverinfo="skip"),
        _curve("W", shown + 1, first.sigma_W[shown], "@ink", 1.4, marks=3.5),
    ]
    top = 1.06 * float(max(first.sigma_W[0], *(start.sigma_BA[0] for start in truncations)))
    reach = min(m, max(2 * r, 12))
    edge = reach + 0.5  # where W's curve leaves the chart: no name is on it
    ends = [CurveEnd("W", "W", "@ink", edge, float(first.sigma_W[reach - 1]))]
    leaders = []
    for start in truncations:
        name, color, last = label_of(start.init), f"@{start.init}", float(start.sigma_BA[-1])
        data.append(_curve(name, index, start.sigma_BA, color, 1.6, marks=4.5))
        ends.append(CurveEnd(name, name, f"{color}-text", edge, last))
        if r < reach:  # a faint line from the last value to the name, which is beside the chart
            faint = {"layer": "below", "opacity": 0.5, "line": {"color": color, "width": 1, "dash": "dot"}}
            leaders.append({"type": "line", "x0": r, "x1": edge, "y0": last, "y1": last, **faint})
    drawn = layout(
        "Singular values",
        "index by index; the band is the range for a projection of W",
        x=axis("index i", range=[0.5, edge], **_whole(reach)),
        y=axis("σᵢ", range=[0, top]),
        height=PLOT_HEIGHT,
        how=(
            "If a start's values were a subset of W's, each would lie on one of W's. They need not be: the i-th value "
            "of a projection can lie anywhere in the band, and is never above W's i-th."
        ),
        revision=run or "spectrum",
        shapes=leaders,
        ends=ends,
        margin=_room(ends, edge),
    )
    return {"data": data, "layout": drawn}


def energy_figure(
    ranks: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    optimum: Sequence[float],
    out: int,
    rank: int,
    *,
    run: str = "",
) -> Figure:
    """Draw the share of ‖W‖² that each start captures, against the rank.

    Args:
        curves: for each initialization, one share per rank.
        optimum: of the truncated SVD, one per rank.
        out: of W (out, in): a random basis captures r / out on average.
        rank: the chosen rank, drawn as a vertical line.
    """
    x = np.array(ranks)
    ends, data = [], []
    for label, color, text, y, width, dash in (
        ("SVD, the optimum", "@pissa", "@pissa-text", optimum, 1.6, "solid"),
        *((label_of(init), f"@{init}", f"@{init}-text", y, 2.2, "solid") for init, y in curves.items()),
        ("random, expected", "@mute", "@mute", x / out, 1.6, "dot"),
    ):
        stroke = {"color": color, "width": width, "dash": dash}
        data.append(_curve(label, x, y, color, 0, hover="%{y:.1%}", line=stroke))
        ends.append(CurveEnd(label, label, text, int(x[-1]), float(y[-1])))
    low = min(0.0, *(min(y) for y in curves.values())) if curves else 0.0
    bounds, reach = (1.06 * low, 1.06 * max(max(optimum), 0.02)), int(x[-1]) * 1.01
    drawn = layout(
        "Energy of W captured",
        "share of ‖W‖² in BA, for a start of rank r" + "; below 0: W − BA is larger than W" * (low < 0),
        x=axis("rank r", range=[0, reach]),
        y=axis("share of ‖W‖²", range=list(bounds), tickformat=".0%"),
        height=PLOT_HEIGHT,
        how=(
            "How much of W a start of rank r contains. PiSSA's curve is the highest possible, since it takes the "
            "largest singular values."
        ),
        revision=run or "energy",
        shapes=[upright(rank, dash="dash")],
        ends=ends,
        margin=_room(ends, reach),
    )
    return {"data": data, "layout": drawn}


def angles_figure(truncations: Sequence[Truncation], *, run: str = "") -> Figure:
    """Draw the principal angles between the columns of B and W's top r singular directions."""
    angles = {start.init: start.angles for start in truncations if start.angles is not None}
    r = truncations[0].rank
    index = np.arange(1, r + 1)
    ends = [CurveEnd(label_of(init), label_of(init), f"@{init}-text", r, float(y[-1])) for init, y in angles.items()]
    drawn = layout(
        "Principal angles",
        "between the columns of B and the top r left singular vectors of W",
        x=axis("angle, smallest first", range=[0.5, r + 0.5], **_whole(r)),
        y=axis("degrees", range=[-2.0, 94.0], tickvals=[0, 30, 60, 90]),
        height=PLOT_HEIGHT,
        message="" if angles else "There is no top subspace to compare with.",
        how=(
            "An angle of 0° is a direction that both subspaces share; 90° is one orthogonal to the other subspace. "
            "The more small angles there are, the more of W's main directions the start contains."
        ),
        revision=run or "angles",
        ends=ends,
        margin=_room(ends, r + 0.5),
    )
    data = [
        _curve(label_of(init), index, y, f"@{init}", 1.6, marks=4.5, hover="%{y:.1f}°") for init, y in angles.items()
    ]
    return {"data": data, "layout": drawn}


def _curve(
    name: str, x: np.ndarray, y: Any, color: str, width: float, marks: float = 0.0,
    hover: str = "%{y:.4g}", **more: Any,
) -> dict[str, Any]:  # fmt: skip
    return {
        "type": "scatter", "mode": "lines+markers" if marks else "lines", "name": name, "legendgroup": name,
        "x": x.tolist(), "y": plain(np.asarray(y, dtype=float)), "line": {"color": color, "width": width},
        **({"marker": {"color": color, "size": marks}} if marks else {}),
        "hovertemplate": hover, **more,
    }  # fmt: skip


def _room(ends: Sequence[CurveEnd], reach: float) -> dict[str, int]:
    """Return the right margin, for the names of the curves that end near the edge."""
    at_edge = [end.name for end in ends if end.x > 0.75 * reach]
    return {"r": 18 + round(7.2 * max(map(len, at_edge), default=0))}


def _indices(m: int, r: int) -> np.ndarray:
    """Return the indices to draw of m values: all near the rank, then fewer."""
    near = np.arange(min(m, max(2 * r, 64)))
    rest = np.arange(len(near), m, max(1, (m - len(near)) // MOST_DRAWN + 1))
    return np.concatenate([near, rest])


def _whole(count: int) -> dict[str, Any]:
    return {"dtick": 1, "tick0": 1} if count <= 12 else {}
