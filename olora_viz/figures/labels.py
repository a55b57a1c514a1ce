"""Labels at the ends of curves, without overlap, and crosses where lanes diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import rounded
from olora_viz.studies.standings import departure

LABEL_GAP = 14
"""Minimum distance between two labels, in pixels."""

MOST_NAMED = 8
"""More curves than these are not all named: only the best of every initialization is."""


def curve_ends(
    styles: Sequence[LaneStyle],
    numbers: Sequence[int],
    curves: np.ndarray,
    *,
    bounds: tuple[float, float],
    height: int,
    total: int | None,
    log: bool = True,
    highest: bool = False,
    left: Sequence[Sequence[int]] = (),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return Plotly's annotations and cross marks for curves.

    A curve whose lane diverged has a cross at that step, at the height of its last point; a mean
    over seeds at the step of the first that did.

    Parameters
    ----------
    styles : one per lane.
    numbers : (N) the number of each step.
    curves : (N, K), NaN once a lane has diverged.
    bounds : range of the vertical axis; as powers of ten if it is logarithmic.
    height : of the plot area, in pixels.
    total : steps of the whole race.
    log : whether the axis is logarithmic.
    highest : whether the highest curve of an initialization is its best one, or the lowest.
    left : the steps at which the lanes of each curve diverged, see `Place`; by default none.
    """
    high = bounds[1]
    of_curve = left or [()] * len(styles)
    ends: dict[str, list[_End]] = {"end": [], "out": []}
    crosses: list[dict[str, Any]] = []
    for k, style in enumerate(styles):
        usable = np.isfinite(curves[:, k]) & ((curves[:, k] > 0) | (not log))
        finite = np.flatnonzero(usable)
        if not finite.size:
            continue
        last = int(finite[-1])
        value = float(curves[last, k])
        y = min(math.log10(value) if log else value, high)
        when = departure(of_curve[k])
        if not when:
            ends["end"].append(_End(style, numbers[last], y, style.label))
            continue
        out = _End(style, min(filter(None, of_curve[k])), y, f"{style.label}: {when}")
        ends["out"].append(out)
        crosses.append(_cross(out, numbers[last], log))
    named = _worth_naming(ends["end"], min(height // LABEL_GAP, MOST_NAMED), highest)
    labels = _placed("end", named, bounds, height)
    gone = _worth_naming(ends["out"], height // LABEL_GAP)
    labels += _placed("out", gone, bounds, height, math.inf if total is None else total)
    return labels, crosses


class CurveEnd(NamedTuple):
    """The last point of a curve, in units of the axes: powers of ten on a logarithmic axis."""

    name: str
    """Name of the curve."""
    group: str
    """If there is no room for all labels, the lowest curve of each group is labelled."""
    color: str
    x: float
    y: float
    more: str = ""
    """Text after the name."""


def end_labels(
    ends: Sequence[CurveEnd], *, bounds: tuple[float, float], height: int
) -> list[dict[str, Any]]:
    """Return Plotly's annotations at the ends of curves, without overlap.

    Parameters
    ----------
    bounds : range of the vertical axis, in its units.
    height : of the plot area, in pixels.
    """
    found = [
        _End(
            LaneStyle(end.name, end.group, end.color, end.color, "solid", "circle"),
            end.x, end.y, f"{end.name}{end.more}",
        )
        for end in ends
    ]  # fmt: skip
    return _placed("end", _worth_naming(found, height // LABEL_GAP), bounds, height)


def _placed(
    kind: str, ends: Sequence[_End], bounds: tuple[float, float], height: int, total: float = 0.0
) -> list[dict[str, Any]]:
    low, high = bounds
    pixels = height / max(high - low, 1e-9)
    wanted = [(end.y - low) * pixels for end in ends]
    places = spread(wanted, LABEL_GAP, 0.0, height)
    last = max((end.x for end in ends), default=0.0)
    return [
        _label(kind, end, round(place - y, 1), kind == "out" and end.x > 0.6 * total, last)
        for end, y, place in zip(ends, wanted, places, strict=True)
    ]


@dataclass(frozen=True)
class _End:
    style: LaneStyle
    x: float
    y: float
    text: str


def _worth_naming(ends: Sequence[_End], most: int, highest: bool = False) -> list[_End]:
    """Keep the labels that fit: all of them, or the best lane of every initialization."""
    if len(ends) <= most:
        return list(ends)
    best: dict[str, _End] = {}
    for end in ends:
        kept = best.get(end.style.init)
        if kept is None or (end.y > kept.y if highest else end.y < kept.y):
            best[end.style.init] = end
    return list(best.values())


def _label(kind: str, end: _End, shift: float, left: bool, last: float) -> dict[str, Any]:
    """Return Plotly's annotation, named after the kind of end and the lane.

    It hides the curves behind it if one of them goes on to the right of it.
    """
    return {
        "name": f"{kind} {end.style.label}",
        "text": end.text,
        "x": end.x,
        "y": rounded(end.y, 6),
        "xanchor": "right" if left else "left",
        "xshift": -9 if left else 9,
        "yshift": shift,
        "align": "left",
        "showarrow": False,
        "captureevents": True,
        "bgcolor": "@card" if kind == "out" or end.x < last else "rgba(0,0,0,0)",
        "font": {"size": 12, "color": end.style.text},
    }


def _cross(end: _End, last: int, log: bool) -> dict[str, Any]:
    """Return the mark of a curve that ends, with the step of its last point in the hover."""
    line = {"color": end.style.color, "width": 2.2}
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": "out",
        "x": [end.x],
        "y": [rounded(10**end.y if log else end.y, 4)],
        "name": end.text,
        "legendgroup": end.style.label,
        "hovertemplate": f"{end.text}<br>last value at step {last}<extra></extra>",
        "marker": {"color": end.style.color, "size": 9, "symbol": "x-thin", "line": line},
        "cliponaxis": False,
    }


def annotate(made: dict[str, Any], labels: list[dict[str, Any]]) -> None:
    """Write labels into a layout, with a right margin that fits the longest at a curve's end."""
    ends = [label["text"] for label in labels if label["name"].startswith("end ")]
    made["annotations"] = labels
    made["margin"]["r"] = min(180, max(24, 14 + math.ceil(7.1 * max(map(len, ends), default=0))))


def name_log_ends(
    made: dict[str, Any],
    styles: Sequence[LaneStyle],
    at: Sequence[int],
    curves: np.ndarray,
    bounds: tuple[float, float],
    extra: Sequence[tuple[float, str, str]] = (),
    left: Sequence[Sequence[int]] = (),
) -> None:
    """Write each lane's name at its curve's last point, and make room for it.

    Parameters
    ----------
    at : (N) positions on the horizontal axis.
    curves : (N, K) on a log axis.
    bounds : of that axis, in powers of ten.
    extra : further values with their own names and colours, at the last position.
    left : the steps at which the lanes of each curve diverged, see `Place`; by default none.
    """
    ends: list[CurveEnd] = []
    for k, style in enumerate(styles):
        there = np.flatnonzero(np.isfinite(curves[:, k]))
        if there.size:
            last = int(there[-1])
            y = math.log10(curves[last, k])
            out = ": out" if left and any(left[k]) else ""
            ends.append(CurveEnd(style.label, style.init, style.text, at[last], y, out))
    ends += [CurveEnd(name, "", color, at[-1], math.log10(y)) for y, name, color in extra]
    annotate(made, end_labels(ends, bounds=bounds, height=made["meta"]["height"]))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart as little as possible, in least squares, within [low, high].

    >>> spread([10.0, 11.0, 50.0], gap=4.0, low=0.0, high=100.0)
    [8.5, 12.5, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[float]] = []  # [sum, count] of wanted − rank · gap: an isotonic regression
    for rank, i in enumerate(order):
        blocks.append([wanted[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    means = [total / count for total, count in blocks for _ in range(int(count))]
    top = max(low, high - gap * (len(wanted) - 1))
    out = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        out[i] = min(max(means[rank], low), top) + rank * gap
    return out
