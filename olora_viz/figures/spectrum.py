"""The spectra of a weight and its starts as figures; pure functions, see `figures.layout`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import CurveEnd, Figure, axis, end_labels, layout
from olora_viz.initializers import label_of
from olora_viz.machine.text import plain
from olora_viz.measures.truncation import Truncation

HEIGHT = 268
"""Height of the plot areas in pixels."""

MOST = 512
"""Maximum singular values in a chart; a longer spectrum is thinned out beyond the rank."""


def singular_values_figure(found: Sequence[Truncation], *, run: str = "") -> Figure:
    """Draw σ_i(W) and σ_i(BA) index by index, and the band that a projection cannot leave.

    Args:
        found: of one weight and rank, at least one; the first one's band is drawn.
    """
    first = found[0]
    r, m = first.rank, len(first.sigma_W)
    shown = _indices(m, r)
    index = np.arange(1, r + 1)
    data = [
        _curve("band", index, first.lower, "rgba(0,0,0,0)", 0) | {"hoverinfo": "skip"},
        _curve("allowed", index, first.upper, "rgba(0,0,0,0)", 0)
        | {"fill": "tonexty", "fillcolor": "@soft", "hoverinfo": "skip"},
        _curve("W", shown + 1, first.sigma_W[shown], "@ink", 1.4, marks=3.5),
    ]
    for one in found:
        data.append(_curve(label_of(one.init), index, one.sigma_BA, f"@{one.init}", 1.6, marks=4.5))
    top = float(max(first.sigma_W[0], *(one.sigma_BA[0] for one in found)))
    reach = min(m, max(2 * r, 12))
    made = layout(
        "Singular values",
        "index by index; the band is the range for a projection of W",
        x=axis("index i", range=[0.5, reach + 0.5], **_whole(reach)),
        y=axis("σᵢ", range=[0, 1.06 * top]),
        height=HEIGHT,
        how=(
            "If a start's values were a subset of W's, each would lie on one of W's. They need "
            "not be: the i-th value of a projection can lie anywhere in the band, and is never "
            "above W's i-th."
        ),
        revision=run or "spectrum",
    )
    made["shapes"] = [_leader(one, r, reach) for one in found if r < reach]
    ends = [
        (reach, float(first.sigma_W[reach - 1]), "W", "@ink"),
        *((reach, float(one.sigma_BA[-1]), label_of(one.init), f"@{one.init}-text") for one in found),
    ]
    _name_ends(made, ends, (0.0, 1.06 * top))
    return {"data": data, "layout": made}


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
        ranks: ascending.
        curves: for each initialization, one share per rank.
        optimum: of the truncated SVD, one per rank.
        out: of W (out, in): a random basis captures r / out on average.
        rank: the chosen rank, drawn as a vertical line.
    """
    x = np.array(ranks)
    ends = []
    data = []
    for name, label, color, y, dash in (
        ("optimum", "SVD, the optimum", "@pissa", optimum, "solid"),
        *((init, label_of(init), f"@{init}", y, "solid") for init, y in curves.items()),
        ("expected", "random, expected", "@mute", x / out, "dot"),
    ):
        values = np.array(y, dtype=float)
        data.append(
            _curve(label, x, values, color, 2.2 if name in curves else 1.6, hover="%{y:.1%}")
            | {"line": {"color": color, "width": 2.2 if name in curves else 1.6, "dash": dash}}
        )
        text = color if color == "@mute" else f"{color}-text"
        ends.append((int(x[-1]), float(values[-1]), label, text))
    top = 1.06 * max(max(optimum), 0.02)
    low = min(0.0, *(min(y) for y in curves.values())) if curves else 0.0
    made = layout(
        "Energy of W captured",
        "share of ‖W‖² in BA, for a start of rank r",
        x=axis("rank r", range=[0, int(x[-1]) * 1.01]),
        y=axis("share of ‖W‖²", range=[1.06 * low, top], tickformat=".0%"),
        height=HEIGHT,
        how=(
            "How much of W a start of rank r contains. PiSSA's curve is the highest possible, "
            "since it takes the largest singular values."
        ),
        revision=run or "energy",
    )
    made["shapes"] = [_upright(rank)]
    _name_ends(made, ends, (1.06 * low, top))
    return {"data": data, "layout": made}


def angles_figure(found: Sequence[Truncation], *, run: str = "") -> Figure:
    """Draw the principal angles between the columns of B and W's top r singular directions."""
    known = [one for one in found if one.angles is not None]
    r = found[0].rank
    index = np.arange(1, r + 1)
    data = [
        _curve(label_of(one.init), index, one.angles, f"@{one.init}", 1.6, marks=4.5, hover="%{y:.1f}°")
        for one in known
    ]
    made = layout(
        "Principal angles",
        "between the columns of B and the top r left singular vectors of W",
        x=axis("angle, smallest first", range=[0.5, r + 0.5], **_whole(r)),
        y=axis("degrees", range=[-2, 94], tickvals=[0, 30, 60, 90]),
        height=HEIGHT,
        message="" if known else "There is no top subspace to compare with.",
        how=(
            "An angle of 0° is a direction that both subspaces share; 90° is one orthogonal to "
            "the other subspace. The more small angles there are, the more of W's main "
            "directions the start contains."
        ),
        revision=run or "angles",
    )
    ends = [
        (r, float(one.angles[-1]), label_of(one.init), f"@{one.init}-text") for one in known if one.angles is not None
    ]
    _name_ends(made, ends, (-2.0, 94.0))
    return {"data": data, "layout": made}


def _curve(
    name: str, x: np.ndarray, y: Any, color: str, width: float, *, marks: float = 0.0, hover: str = "%{y:.4g}"
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if marks else "lines",
        "name": name,
        "legendgroup": name,
        "x": np.asarray(x).tolist(),
        "y": plain(np.asarray(y, dtype=float)),
        "line": {"color": color, "width": width},
        **({"marker": {"color": color, "size": marks}} if marks else {}),
        "hovertemplate": hover,
    }


def _leader(one: Truncation, r: int, reach: int) -> dict[str, Any]:
    """Return a faint line from a start's last value to its name, which is beside the chart."""
    last = float(one.sigma_BA[-1])
    return {
        "type": "line", "x0": r, "x1": reach, "y0": last, "y1": last, "layer": "below",
        "opacity": 0.5, "line": {"color": f"@{one.init}", "width": 1, "dash": "dot"},
    }  # fmt: skip


def _name_ends(made: dict[str, Any], ends: Sequence[tuple[int, float, str, str]], bounds: tuple[float, float]) -> None:
    """Write every curve's name at its end, kept apart, and make room for the longest one."""
    named = [CurveEnd(label, label, color, x, y) for x, y, label, color in ends]
    made["annotations"] = end_labels(named, bounds=bounds, height=made["meta"]["height"])
    reach = made["xaxis"]["range"][1]
    at_edge = [label for x, _, label, _ in ends if x > 0.75 * reach]
    made["margin"]["r"] = 18 + round(7.2 * max(map(len, at_edge), default=0))


def _upright(x: float) -> dict[str, Any]:
    return {
        "type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1,
        "line": {"color": "@mute", "width": 1.2, "dash": "dash"},
    }  # fmt: skip


def _indices(m: int, r: int) -> np.ndarray:
    """Return the indices to draw of m values: all near the rank, then fewer."""
    near = np.arange(min(m, max(2 * r, 64)))
    rest = np.arange(len(near), m, max(1, (m - len(near)) // MOST + 1))
    return np.concatenate([near, rest])


def _whole(count: int) -> dict[str, Any]:
    return {"dtick": 1, "tick0": 1} if count <= 12 else {}
