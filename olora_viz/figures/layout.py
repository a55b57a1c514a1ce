"""Layout of all figures: axes, labels at the ends of curves, values that are off the range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from olora_viz.figures import theme
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.tables import plain
from olora_viz.machine.wording import rounded
from olora_viz.studies.sentences import departure

MOST_BEYOND = 30.0
"""The factor by which a log axis extends at most beyond the middle four fifths of its numbers."""

Figure = dict[str, Any]

GRID = {"gridcolor": "@line", "zeroline": False, "automargin": False}


def layout(
    title: str,
    unit: str,
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    height: int,
    badge: str = "",
    message: str = "",
    how: str = "",
    revision: str = "figure",
    ends: Sequence[CurveEnd] | None = None,
    labels: list[dict[str, Any]] | None = None,
    margin: Mapping[str, int] = MappingProxyType({}),
    shapes: list[dict[str, Any]] | None = None,
    closest: bool = False,
) -> dict[str, Any]:
    """Return the layout of a figure.

    Args:
        title: above the chart, as are `unit`, what is drawn and in which unit, and `badge`.
        badge: beside the title; by default it names the logarithmic axes.
        message: in the middle of a chart without curves.
        how: how to read it, in two sentences or so; shown when the reader asks.
        x: the axis of Plotly, as is `y`, see `axis`.
        height: of the plot area in pixels, by which labels are kept apart.
        revision: zoom and hidden lines are kept while it stays the same.
        ends: of curves, to be labelled with their names.
        labels: other annotations; those at the ends of curves get a right margin that fits the longest.
        margin: around the plot area in pixels, where it is not as usual.
        closest: whether the hover is on one point, or else on all curves at a place.
    """
    if ends is not None:
        labels = end_labels(ends, bounds=y["range"], height=height)
    names = [label["text"] for label in labels or () if label.get("name", "").startswith("end ")]
    room = {} if labels is None else {"r": min(180, max(24, 14 + math.ceil(7.1 * max(map(len, names), default=0))))}
    badge = badge or ", ".join("log" for each in (x, y) if each.get("type") == "log")
    return {
        "meta": {
            "title": title, "unit": unit, "badge": badge, "message": message, "height": height,
            "how": how, "x": x.get("title", {}).get("text", ""),
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": theme.font_family(), "size": 12, "color": "@mute"},
        "margin": {"l": 56, "r": 14, "t": 8, "b": 40, **room, **margin},
        "xaxis": {**GRID, **x},
        "yaxis": {**GRID, **y},
        "showlegend": False,
        "hovermode": "closest" if closest else "x unified",
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink", "size": 11}},
        "uirevision": revision,
        **({} if labels is None else {"annotations": labels}),
        **({} if shapes is None else {"shapes": shapes}),
    }  # fmt: skip


def nothing_yet(title: str, unit: str, names: tuple[str, str], message: str, height: int = 220) -> Figure:
    """Return a figure without curves, whose axes have these names and whose message says why."""
    x, y = (axis(name, range=[0, 1], showticklabels=False) for name in names)
    return {"data": [], "layout": layout(title, unit, x=x, y=y, height=height, message=message)}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis with its name."""
    return {"title": {"text": title, "standoff": 6, "font": {"size": 11.5}}, **more}


def log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a log axis, in powers of ten, with some room around the numbers."""
    flat = _positive(values)
    if not flat.size:
        return -1.0, 1.0
    low, high = math.log10(flat.min()), math.log10(flat.max())
    air = max(0.04 * (high - low), 0.03)
    return round(low - air, 4), round(high + air, 4)


def robust_log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a log axis that outliers cannot stretch, see `MOST_BEYOND`."""
    flat = _positive(values)
    if not flat.size:
        return log_range(values)
    low, high = np.quantile(flat, (0.1, 0.9), method="nearest")
    return log_range([np.clip(flat, low / MOST_BEYOND, high * MOST_BEYOND)])


def _positive(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the numbers that a log axis can show."""
    return np.concatenate([np.empty(0), *(v[np.isfinite(v) & (v > 0)] for v in values)])


def linear_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a linear axis, with some room around the numbers."""
    flat = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    if not flat.size:
        return 0.0, 1.0
    low, high = float(flat.min()), float(flat.max())
    air = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - air, high + air


def steps_axis(total: int | None, **more: Any) -> dict[str, Any]:
    """Return the horizontal axis of a race of `total` steps, None while unknown."""
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    return axis("step", **{"rangemode": "tozero", **ends, **more})


def categories_axis(names: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return a vertical axis with a row for each name, the first at 0."""
    return axis("", **{"tickvals": list(range(len(names))), "ticktext": list(names), "showgrid": False, **more})


def rows_axis(ends: Sequence[float], places: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """Return a vertical axis without a title, with names at places."""
    return {
        "title": {"text": ""}, "range": list(ends), "ticks": "", "tickvals": list(places), "ticktext": list(names)
    }  # fmt: skip


def unlabelled_until(there: object, shown: dict[str, Any]) -> dict[str, Any]:
    """Return an axis, without tick labels until there is something to show."""
    return shown if there else {**shown, "showticklabels": False}


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """Return Plotly's axis over 10^low … 10^high."""
    ticks = log_ticks(low, high)
    return axis(title, type="log", range=[low, high], tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Choose round numbers within 10^low … 10^high, evenly spaced if possible."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    # Powers of two read well from 1/8 on; smaller ones are long.
    twos = range(math.floor(low / math.log10(2)), math.ceil(high / math.log10(2)) + 1)
    ladders = (
        [m * 10.0**d for d in decades for m in (1, 1.5, 2, 3, 4, 5, 6, 8)],
        *([[2.0**e for e in twos]] if low >= -1 else ()),
        [m * 10.0**d for d in decades for m in (1, 3)],
        *([10.0**d for d in decades if d % apart == 0] for apart in (1, 2, 3, 5, 10, 50)),
    )
    inside: list[float] = []
    for ladder in ladders:
        inside = [rounded(t, 6) for t in ladder if low <= math.log10(t) <= high]
        if len(inside) <= most:
            break
    return inside if len(inside) > 1 or high <= low else _even_ticks(10**low, 10**high, most)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """Choose round numbers for a range that is too narrow for those of a log axis."""
    coarse = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(m * coarse for m in (1, 2, 5, 10) if (high - low) / (m * coarse) <= most)
    return [rounded(n * step, 6) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def line(style: LaneStyle, values: np.ndarray, width: float, *, marks: float = 0, **more: Any) -> dict[str, Any]:
    """Return a curve in a lane's colour and dash, with its name; sizes in pixels, 0 for no marks at the points.

    One that is not shown beside the pointer, by ``hoverinfo="skip"``, has no template: Plotly would show it with one.
    """
    return {
        "type": "scatter",
        "mode": "lines+markers" if marks else "lines",
        "name": style.label,
        "legendgroup": style.label,
        "y": plain(values),
        "line": {"color": style.color, "width": width, "dash": style.dash},
        **({"marker": {"color": style.color, "size": marks, "symbol": style.symbol}} if marks else {}),
        **({} if "hoverinfo" in more else {"hovertemplate": "%{y:.3g}"}),
        **more,
    }


def points(
    x: Sequence[float],
    y: Sequence[float | None],
    color: str,
    size: float,
    *,
    symbol: str = "",
    edge: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return marks without a line between them; `edge` is the line around each."""
    marker = {"color": color, "size": size} | ({"symbol": symbol} if symbol else {}) | ({"line": edge} if edge else {})
    return {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": marker, **more}


def crosses(style: LaneStyle, x: Sequence[float], y: Sequence[float | None], **more: Any) -> dict[str, Any]:
    """Return the marks of what diverged."""
    edge = {"color": style.color, "width": 2.2}
    common = {"legendgroup": style.label, "cliponaxis": False}
    return points(x, y, style.color, 9, symbol="x-thin", edge=edge, **common, **more)


def band_edges(style: LaneStyle, at: Sequence[float], low: np.ndarray, high: np.ndarray) -> list[dict[str, Any]]:
    """Return the lower and the upper edge of a band over places of one's own, filled between."""
    edge = {
        "type": "scatter", "mode": "lines", "x": list(at), "name": style.label, "legendgroup": style.label,
        "line": {"color": style.color, "width": 0}, "hoverinfo": "skip",
    }  # fmt: skip
    return [{**edge, "y": plain(low)}, {**edge, "y": plain(high), **band_fill(style)}]


def band_fill(style: LaneStyle) -> dict[str, str]:
    """Return what fills a band, as part of its upper edge."""
    return {"fill": "tonexty", "fillcolor": f"{style.color}-band"}


def color_bar(form: str, ticks: int = 5) -> dict[str, Any]:
    """Return the bar beside a map, whose numbers have this form."""
    look = {"thickness": 9, "outlinewidth": 0, "len": 1.0, "x": 1.01, "xanchor": "left"}
    return {**look, "tickformat": form, "nticks": ticks}


def upright(x: float, width: float = 1.2, **more: Any) -> dict[str, Any]:
    """Return a vertical line through the whole chart."""
    ends = {"x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "line", **ends, "line": {"color": "@mute", "width": width, **more}}


def to_plotly(figure: Figure, theme_name: str = "light") -> go.Figure:
    """Make a figure for a notebook, with the theme's colours and the title inside."""
    inits = [str(t["line"]["color"])[1:] for t in figure["data"] if "line" in t]
    colors = theme.palette(theme_name, inits)
    painted = paint(figure, colors)
    layout, meta = painted["layout"], painted["layout"]["meta"]
    badge = f" ({meta['badge']})" if meta.get("badge") else ""
    words = f"<b>{meta['title']}</b>{badge}<br><sub>{meta['unit']}</sub>"
    if meta.get("message"):
        layout["annotations"] = [
            *layout.get("annotations", ()),
            {"text": meta["message"], "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper",
             "showarrow": False, "font": {"size": 13, "color": colors["mute"]}},
        ]  # fmt: skip
    layout["title"] = {"text": words, "font": {"size": 15, "color": colors["ink"]}, "x": 0.02}
    layout["margin"] = layout["margin"] | {"t": 64, "l": max(62, layout["margin"]["l"])}
    layout["height"] = meta["height"] + 64 + layout["margin"]["b"]
    layout["paper_bgcolor"] = layout["plot_bgcolor"] = colors["card"]
    return go.Figure(painted)


def stacked(figures: Sequence[Figure], theme_name: str = "light") -> go.Figure:
    """Stack figures vertically into one, drawn like a single one by `to_plotly`."""
    if len(figures) == 1:
        return to_plotly(figures[0], theme_name)
    shown = [to_plotly(figure, theme_name).to_plotly_json() for figure in figures]
    layouts = [drawn["layout"] for drawn in shown]
    total = sum(layout["height"] for layout in layouts)
    margins = [layout["margin"] for layout in layouts]
    whole: dict[str, Any] = {
        key: layouts[0][key] for key in ("font", "paper_bgcolor", "plot_bgcolor", "hovermode", "hoverlabel")
    }
    whole |= {"height": total, "showlegend": False, "annotations": [], "shapes": []}
    whole["margin"] = {"t": 0, "b": 0, **{s: max(m[s] for m in margins) for s in ("l", "r")}}
    data: list[dict[str, Any]] = []
    above = 0
    for i, (drawn, layout, margin) in enumerate(zip(shown, layouts, margins, strict=True)):
        suffix = str(i + 1) if i else ""
        x, y = f"x{suffix}", f"y{suffix}"
        top = 1 - (above + margin["t"]) / total
        bottom = 1 - (above + layout["height"] - margin["b"]) / total
        above += layout["height"]
        whole[f"xaxis{suffix}"] = {**layout["xaxis"], "anchor": y}
        whole[f"yaxis{suffix}"] = {**layout["yaxis"], "anchor": x, "domain": [bottom, top]}
        for trace in drawn["data"]:
            bar = trace.get("colorbar")
            if bar:
                bar |= {"len": top - bottom, "y": (top + bottom) / 2}
            data.append({**trace, "xaxis": x, "yaxis": y})
        for shape in layout.get("shapes", ()):
            ends = f"{y} domain" if shape.get("yref") == "paper" else y
            whole["shapes"].append({**shape, "xref": x, "yref": ends})
        for label in layout.get("annotations", ()):
            domain = " domain" if label.get("yref") == "paper" else ""
            whole["annotations"].append({**label, "xref": x + domain, "yref": y + domain})
        whole["annotations"].append(
            {"text": layout["title"]["text"], "font": layout["title"]["font"], "align": "left",
             "xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom",
             "yshift": 10, "xshift": 12 - whole["margin"]["l"], "showarrow": False}
        )  # fmt: skip
    return go.Figure({"data": data, "layout": whole})


def paint(node: Any, colors: dict[str, str]) -> Any:
    """Replace every colour token below a node by its colour."""
    if isinstance(node, dict):
        return {key: paint(value, colors) for key, value in node.items()}
    if isinstance(node, list):
        numbers = all(n is None or isinstance(n, int | float) for n in node[:2])
        return node if numbers else [paint(n, colors) for n in node]
    if isinstance(node, str) and node.startswith("@"):
        return colors[node[1:]]
    return node


OFF_RANGE = "; ▲▼ beyond the axis"
"""Added to a chart's unit if there are arrows."""

MOST_ARROWS = 40
"""Maximum arrows per lane and edge; more are thinned out."""


def off_range(
    styles: Sequence[LaneStyle], numbers: Sequence[int], curves: np.ndarray, bounds: tuple[float, float]
) -> list[dict[str, Any]]:
    """Return marks at the edges of a log axis, one at the extreme point of every excursion.

    See `curve_ends` for the parameters.

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
            tops = _tops(sign * (power - edge))
            tops = tops[:: max(1, -(-len(tops) // MOST_ARROWS))]
            if tops:
                at, y = [numbers[i] for i in tops], [rounded(10**edge, 4)] * len(tops)
                common = {"legendgroup": style.label, "hoverinfo": "skip", "cliponaxis": False}
                name = f"{style.label}, beyond the axis"
                marks.append(points(at, y, style.color, 8, symbol=symbol, name=name, **common))
    return marks


def _tops(excess: np.ndarray) -> list[int]:
    """Return the position of the maximum of each run of positive numbers."""
    out = np.flatnonzero(excess > 0)
    runs = np.split(out, np.flatnonzero(np.diff(out) > 1) + 1)
    return [int(run[np.argmax(excess[run])]) for run in runs if run.size]


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
    ties: np.ndarray | Sequence[Any] = (),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return Plotly's annotations and cross marks for curves, see `ends_of`.

    Args:
        styles, numbers, curves, bounds, log, left: see `ends_of`.
        height: of the plot area, in pixels.
        highest: whether the highest curve of an initialization is its best one, or the lowest.
        ties: the loss of each curve, (1, K): of curves that end at one place, the lowest is named first.
    """
    racing, out, marks = ends_of(styles, numbers, curves, bounds=bounds, log=log, left=left)
    if len(ties):
        loss = {style.label: value for style, value in zip(styles, ties[0], strict=True)}
        racing.sort(key=lambda end: -loss[end.name])
    most = min(height // LABEL_GAP, MOST_NAMED)
    return placed_ends(racing, out, bounds, height, total, most=most, highest=highest), marks


def ends_of(
    styles: Sequence[LaneStyle],
    numbers: Sequence[int],
    curves: np.ndarray,
    *,
    bounds: tuple[float, float],
    log: bool = True,
    left: Sequence[Sequence[int]] = (),
) -> tuple[list[CurveEnd], list[CurveEnd], list[dict[str, Any]]]:
    """Return the ends of the curves that race on, of those whose lanes diverged, and the crosses of the latter.

    A curve whose lane diverged has a cross at that step, at the height of its last point; a mean over seeds at the
    step of the first that did.

    Args:
        styles: of K curves.
        numbers: of N steps.
        curves: (N, K), NaN once a lane has diverged.
        bounds: range of the vertical axis; as powers of ten if it is logarithmic (`log`).
        left: the steps at which the lanes of each curve diverged, see `Place`; by default none.
    """
    racing: list[CurveEnd] = []
    out: list[CurveEnd] = []
    marks: list[dict[str, Any]] = []
    for style, curve, left_at in zip(styles, curves.T, left or [()] * len(styles), strict=True):
        usable = np.flatnonzero(np.isfinite(curve) & ((curve > 0) | (not log)))
        if not usable.size:
            continue
        last, value = numbers[usable[-1]], float(curve[usable[-1]])
        y = min(math.log10(value) if log else value, bounds[1])
        when = departure(left_at)
        if not when:
            racing.append(CurveEnd.of(style, last, y))
            continue
        end = CurveEnd.of(style, min(filter(None, left_at)), y, f": {when}")
        out.append(end)
        text, hover = f"{end.name}{end.more}", f"<br>last value at step {last}<extra></extra>"
        at = [rounded(10**y if log else y, 4)]
        marks.append(crosses(style, [end.x], at, meta="out", name=text, hovertemplate=text + hover))
    return racing, out, marks


def placed_ends(
    racing: Sequence[CurveEnd],
    out: Sequence[CurveEnd],
    bounds: tuple[float, float],
    height: int,
    total: int | None,
    *,
    most: int,
    highest: bool = False,
) -> list[dict[str, Any]]:
    """Return Plotly's annotations of the ends of curves, at most so many of those that race on."""
    labels = _placed("end", _worth_naming(racing, most, highest), bounds, height)
    return labels + _placed("out", _worth_naming(out, height // LABEL_GAP), bounds, height, total or math.inf)


class CurveEnd(NamedTuple):
    """The last point of a curve, in units of the axes: powers of ten on a logarithmic axis."""

    name: str
    group: str
    """If there is no room for all labels, the lowest curve of each group is labelled."""
    color: str
    x: float
    y: float
    more: str = ""

    @classmethod
    def of(cls, style: LaneStyle, x: float, y: float, more: str = "") -> CurveEnd:
        """Return the end of a lane's curve."""
        return cls(style.label, style.init, style.text, x, y, more)


def end_labels(ends: Sequence[CurveEnd], *, bounds: Sequence[float], height: int) -> list[dict[str, Any]]:
    """Return Plotly's annotations at the ends of curves, without overlap, on an axis of this range and height."""
    return _placed("end", _worth_naming(ends, height // LABEL_GAP), bounds, height)


def log_ends(
    styles: Sequence[LaneStyle], at: Sequence[int], curves: np.ndarray, left: Sequence[Sequence[int]] = ()
) -> list[CurveEnd]:
    """Return the last points of curves (N, K) on a log axis, at N places; for `left` see `curve_ends`."""
    ends = []
    for k, style in enumerate(styles):
        there = np.flatnonzero(np.isfinite(curves[:, k]))
        if there.size:
            out = ": out" if left and any(left[k]) else ""
            ends.append(CurveEnd.of(style, at[there[-1]], math.log10(curves[there[-1], k]), out))
    return ends


def _placed(
    kind: str, ends: Sequence[CurveEnd], bounds: Sequence[float], height: int, total: float = 0.0
) -> list[dict[str, Any]]:
    """Return Plotly's annotations, named after the kind of end and the lane, and moved apart.

    One hides the curves behind it if one of them goes on to the right of it.
    """
    low, high = bounds
    pixels = height / max(high - low, 1e-9)
    wanted = [(end.y - low) * pixels for end in ends]
    last = max((end.x for end in ends), default=0.0)
    labels = []
    for end, y, place in zip(ends, wanted, spread(wanted, LABEL_GAP, 0.0, height), strict=True):
        left = kind == "out" and end.x > 0.6 * total
        labels.append({
            "name": f"{kind} {end.name}", "text": f"{end.name}{end.more}", "x": end.x, "y": rounded(end.y, 6),
            "xanchor": "right" if left else "left", "xshift": -9 if left else 9, "yshift": round(place - y, 1),
            "align": "left", "showarrow": False, "captureevents": True,
            "bgcolor": "@card" if kind == "out" or end.x < last else "rgba(0,0,0,0)",
            "font": {"size": 12, "color": end.color},
        })  # fmt: skip
    return labels


def _worth_naming(ends: Sequence[CurveEnd], most: int, highest: bool = False) -> list[CurveEnd]:
    """Return the ends whose labels fit: all of them, or the best of every group."""
    if len(ends) <= most:
        return list(ends)
    best: dict[str, CurveEnd] = {}
    for end in ends:
        other = best.get(end.group)
        if other is None or (end.y > other.y if highest else end.y < other.y):
            best[end.group] = end
    return list(best.values())


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart as little as possible, in least squares, within [low, high].

    >>> spread([10.0, 11.0, 50.0], gap=4.0, low=0.0, high=100.0)
    [8.5, 12.5, 50.0]
    """
    from scipy.optimize import isotonic_regression

    if not wanted:
        return []
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    means = isotonic_regression([wanted[i] - rank * gap for rank, i in enumerate(order)]).x.tolist()
    top = max(low, high - gap * (len(wanted) - 1))
    out = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        out[i] = min(max(means[rank], low), top) + rank * gap
    return out
