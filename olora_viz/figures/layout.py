"""Shared by all figures: layout, lines, and colours by token.

A figure is plain Plotly JSON, ``{"data": […], "layout": {…}}`` of lists, numbers and text, in which
a colour reads ``"@olora"``. `live/figure.js` draws it in the page's theme; `to_plotly` makes a
`plotly.graph_objects.Figure` of it for a notebook. ``layout.meta`` holds the text around the chart:
`title`, `unit`, `badge`, and `message` if there is nothing to draw yet. It also holds `x`, the name
of the horizontal axis; charts of one race whose `x` is the step mark the same step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from olora_viz.figures import theme
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import plain, rounded

BEYOND = 30.0
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
) -> dict[str, Any]:
    """Return a figure with its layout.

    Parameters
    ----------
    title, unit, badge, message : the text around the chart.
    how : how to read it, in two sentences or so; shown when the reader asks.
    x, y : Plotly's axes, see `axis`.
    height : of the plot area in pixels, by which labels are kept apart.
    revision : zoom and hidden lines are kept while it stays the same.
    """
    return {
        "meta": {
            "title": title, "unit": unit, "badge": badge, "message": message, "height": height,
            "how": how, "x": x.get("title", {}).get("text", ""),
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": theme.font_family(), "size": 12, "color": "@mute"},
        "margin": {"l": 56, "r": 14, "t": 8, "b": 40},
        "xaxis": {**GRID, **x},
        "yaxis": {**GRID, **y},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink", "size": 11},
        },
        "uirevision": revision,
    }  # fmt: skip


def nothing_yet(
    title: str, unit: str, names: tuple[str, str], message: str, height: int = 220
) -> Figure:
    """Return a figure without curves, whose axes have these names and whose message says why."""
    x, y = (axis(name, range=[0, 1], showticklabels=False) for name in names)
    return {"data": [], "layout": layout(title, unit, x=x, y=y, height=height, message=message)}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis with its name."""
    return {"title": {"text": title, "standoff": 6, "font": {"size": 11.5}}, **more}


def log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a log axis, in powers of ten, with some room around the numbers."""
    kept = [v[np.isfinite(v) & (v > 0)] for v in values]
    flat = np.concatenate(kept) if kept else np.empty(0)
    if not flat.size:
        return -1.0, 1.0
    low, high = math.log10(flat.min()), math.log10(flat.max())
    air = max(0.04 * (high - low), 0.03)
    return round(low - air, 4), round(high + air, 4)


def robust_log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a log axis that outliers cannot stretch, see `BEYOND`.

    Parameters
    ----------
    values : of any shapes.
    """
    kept = [v[np.isfinite(v) & (v > 0)] for v in values]
    flat = np.concatenate(kept) if kept else np.empty(0)
    if not flat.size:
        return log_range(values)
    low, high = np.quantile(flat, (0.1, 0.9), method="nearest")
    return log_range([np.clip(flat, low / BEYOND, high * BEYOND)])


def linear_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a linear axis, with some room around the numbers."""
    flat = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    if not flat.size:
        return 0.0, 1.0
    low, high = float(flat.min()), float(flat.max())
    air = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    return low - air, high + air


def steps_axis(total: int | None) -> dict[str, Any]:
    """Return the horizontal axis of a race of `total` steps, None while unknown."""
    ends = {} if total is None else {"range": [0, round(total * 1.008 + 0.5, 2)]}
    return axis("step", rangemode="tozero", **ends)


def unlabelled_until(there: bool, shown: dict[str, Any]) -> dict[str, Any]:
    """Return an axis, without tick labels until there is something to show."""
    return shown if there else {**shown, "showticklabels": False}


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """Return Plotly's axis over 10^low … 10^high."""
    ticks = log_ticks(low, high)
    words = [f"{tick:g}" for tick in ticks]
    return axis(title, type="log", range=[low, high], tickvals=ticks, ticktext=words)


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


def line(style: LaneStyle, values: np.ndarray, width: float, **more: Any) -> dict[str, Any]:
    """Return a curve in a lane's colour and dash."""
    return {
        "type": "scatter",
        "mode": "lines",
        "y": plain(values),
        "line": {"color": style.color, "width": width, "dash": style.dash},
        "hovertemplate": "%{y:.3g}",
        **more,
    }


def to_plotly(figure: Figure, theme_name: str = "light") -> go.Figure:
    """Make a figure for a notebook, with the theme's colours and the title inside.

    Parameters
    ----------
    figure : a figure returned by a function of `olora_viz.figures`.
    theme_name : ``light`` or ``dark``.
    """
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
    layouts = [one["layout"] for one in shown]
    total = sum(layout["height"] for layout in layouts)
    margins = [layout["margin"] for layout in layouts]
    whole: dict[str, Any] = {
        key: layouts[0][key]
        for key in ("font", "paper_bgcolor", "plot_bgcolor", "hovermode", "hoverlabel")
    }
    whole |= {"height": total, "showlegend": False, "annotations": [], "shapes": []}
    whole["margin"] = {"t": 0, "b": 0, **{s: max(m[s] for m in margins) for s in ("l", "r")}}
    data: list[dict[str, Any]] = []
    above = 0
    for i, (one, layout, margin) in enumerate(zip(shown, layouts, margins, strict=True)):
        suffix = str(i + 1) if i else ""
        x, y = f"x{suffix}", f"y{suffix}"
        top = 1 - (above + margin["t"]) / total
        bottom = 1 - (above + layout["height"] - margin["b"]) / total
        above += layout["height"]
        whole[f"xaxis{suffix}"] = {**layout["xaxis"], "anchor": y}
        whole[f"yaxis{suffix}"] = {**layout["yaxis"], "anchor": x, "domain": [bottom, top]}
        for trace in one["data"]:
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
             "xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left",
             "yanchor": "bottom", "yshift": 10, "xshift": 12 - whole["margin"]["l"],
             "showarrow": False}
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
