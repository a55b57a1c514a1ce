"""Numbers → figures: plain Plotly JSON whose colours are theme tokens.

Every function is pure and returns ``{"data": […], "layout": {…}}`` of lists, numbers and text, in
which a colour reads ``"@olora"``. `live/figure.js` draws it in the page's theme; `to_plotly` makes
a `plotly.graph_objects.Figure` of it for a notebook. ``layout.meta`` carries the words around the
chart: `title`, `unit`, `badge`, and `message` where there is nothing to draw yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from olora_viz import theme
from olora_viz.curve_labels import curve_ends, room_for
from olora_viz.scales import log_axis, log_range, plain, smoothed
from olora_viz.step import Step
from olora_viz.theme import Look

Figure = dict[str, Any]

MAX_POINTS = 60_000
"""Most points of one kind in a figure; longer or wider races show every second step, and so on."""

HIGHEST = 10.0
"""The loss axis ends at this multiple of the first loss: a diverging lane may not flatten all."""

PLOT_HEIGHT = {"loss": 262, "gradient": 150, "accuracy": 150}
"""Nominal heights of the plots' areas in pixels, by which labels are kept apart."""


def loss_figure(
    looks: Sequence[Look],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_loss: float | None = None,
    plain_text: bool = False,
    run: str = "",
    smoothing: float = 0.85,
) -> Figure:
    """Draw training loss (raw behind, smoothed in front) and held-out loss, on a log axis.

    Parameters
    ----------
    looks : one per lane.
    steps : what was measured so far.
    total : steps of the whole race, the end of the horizontal axis.
    start_loss : held-out loss before the first step, the same for every lane; nats.
    plain_text : every token is judged, not an answer alone.
    run : changes with the race; zoom and hidden lanes are kept while it stays the same.
    smoothing : weight of the past in the exponential average, in [0, 1).
    """
    loss = _column(steps, "loss", len(looks))
    every = _stride(loss)
    smooth = smoothed(loss, smoothing)
    at, held = _evaluations(steps, "eval_loss", len(looks), start_loss)
    first = steps[0].step if steps else 1
    data: list[dict[str, Any]] = []
    for k, look in enumerate(looks):
        common = {"legendgroup": look.label, "name": look.label, "x0": first, "dx": every}
        data.append(
            _line(look, loss[::every, k], 1.0, **common, opacity=0.16, hoverinfo="skip")
            | {"line": {"color": look.color, "width": 1}}
        )
    for k, look in enumerate(looks):
        common = {"legendgroup": look.label, "name": look.label, "x0": first, "dx": every}
        data.append(_line(look, smooth[::every, k], 2.4, **common))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": at,
                "y": plain(held[:, k]),
                "name": f"{look.label}, held out",
                "legendgroup": look.label,
                "marker": {"color": look.color, "size": 5.5, "symbol": look.symbol},
                "hoverinfo": "skip",
            }
        )
    ceiling = HIGHEST * np.nanmax(loss[:1], initial=0.0)
    low, high = log_range([np.minimum(v, ceiling) for v in (loss, smooth, held)])
    numbers = [step.step for step in steps]
    labels, crosses = curve_ends(
        looks, numbers, smooth, bounds=(low, high), height=PLOT_HEIGHT["loss"], total=total
    )
    token = "token" if plain_text else "answer token"
    unit = f"nats per {token}: training (smoothed, raw behind), ● held out"
    layout = _layout("Loss", unit, run, total, log_axis("loss, nats", low, high), badge="log")
    layout["annotations"] = labels
    layout["margin"]["r"] = room_for(
        [label["text"] for label in labels if label["name"].startswith("end ")]
    )
    layout["meta"]["height"] = PLOT_HEIGHT["loss"]
    if every > 1:
        layout["meta"]["unit"] += f"; every {every} steps"
    if not steps:
        layout["meta"]["message"] = "Press Race: curves appear here as the lanes train."
    return _figure(data + crosses, layout, steps)


def gradient_figure(
    looks: Sequence[Look], steps: Sequence[Step], *, total: int | None = None, run: str = ""
) -> Figure:
    """Draw the norm of each lane's gradient before clipping, on a log axis."""
    norms = _column(steps, "grad_norm", len(looks))
    every = _stride(norms)
    first = steps[0].step if steps else 1
    data = [
        _line(look, norms[::every, k], 1.6, name=look.label, legendgroup=look.label)
        | {"x0": first, "dx": every}
        for k, look in enumerate(looks)
    ]
    low, high = log_range([norms])
    unit = "‖∇‖ before clipping"
    layout = _layout("Gradient norm", unit, run, total, log_axis("‖∇‖", low, high), badge="log")
    layout["meta"]["height"] = PLOT_HEIGHT["gradient"]
    return _figure(data, layout, steps)


def accuracy_figure(
    looks: Sequence[Look],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_accuracy: float | None = None,
    plain_text: bool = False,
    run: str = "",
) -> Figure:
    """Draw the share of held-out answers (of tokens, in a plain text) that are right."""
    what = "right tokens" if plain_text else "right answers"
    at, share = _evaluations(steps, "eval_accuracy", len(looks), start_accuracy)
    data = [
        _line(look, share[:, k], 1.8, name=look.label, legendgroup=look.label)
        | {"x": at, "mode": "lines+markers", "marker": _mark(look, 4.5)}
        for k, look in enumerate(looks)
    ]
    axis = {
        "title": {"text": what},
        "range": [-0.02, 1.03],
        "tickformat": ".0%",
        "nticks": 6,
    }
    layout = _layout("Held-out accuracy", f"share of {what}", run, total, axis)
    for trace in data:
        trace["hovertemplate"] = "%{y:.0%}"
    layout["meta"]["height"] = PLOT_HEIGHT["accuracy"]
    return _figure(data, layout, steps)


def to_plotly(figure: Figure, theme_name: str = "light") -> go.Figure:
    """Make a figure for a notebook, with the theme's colours and the title inside.

    Parameters
    ----------
    figure : what a function of this module returned.
    theme_name : ``light`` or ``dark``.
    """
    inits = [str(t["line"]["color"])[1:] for t in figure["data"] if "line" in t]
    colors = theme.palette(theme_name, inits)
    painted = _paint(figure, colors)
    layout, meta = painted["layout"], painted["layout"]["meta"]
    badge = f" ({meta['badge']})" if meta.get("badge") else ""
    words = f"<b>{meta['title']}</b>{badge}<br><sub>{meta['unit']}</sub>"
    layout["title"] = {"text": words, "font": {"size": 15, "color": colors["ink"]}, "x": 0.02}
    layout["margin"] = layout["margin"] | {"t": 64, "l": 56}
    layout["height"] = meta["height"] + 64 + layout["margin"]["b"]
    layout["paper_bgcolor"] = layout["plot_bgcolor"] = colors["card"]
    return go.Figure(painted)


def _column(steps: Sequence[Step], name: str, lanes: int) -> np.ndarray:
    """Stack one measurement of all steps: (N, K)."""
    if not steps:
        return np.empty((0, lanes))
    values = np.array([getattr(step, name) for step in steps], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _evaluations(
    steps: Sequence[Step], name: str, lanes: int, start: float | None
) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the lanes were evaluated and what was found: (E,) and (E, K)."""
    found = [step for step in steps if getattr(step, name) is not None]
    at, values = [step.step for step in found], _column(found, name, lanes)
    if start is None or not steps or steps[0].step != 1:
        return at, values
    return [0, *at], np.vstack([np.full((1, lanes), start), values])


def _stride(values: np.ndarray) -> int:
    return max(1, math.ceil(values.size / MAX_POINTS))


def _line(look: Look, values: np.ndarray, width: float, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "y": plain(values),
        "line": {"color": look.color, "width": width, "dash": look.dash},
        "hovertemplate": "%{y:.3g}",
        **more,
    }


def _mark(look: Look, size: float) -> dict[str, Any]:
    return {"color": look.color, "size": size, "symbol": look.symbol}


def _layout(
    title: str, unit: str, run: str, total: int | None, y: dict[str, Any], badge: str = ""
) -> dict[str, Any]:
    grid = {"gridcolor": "@line", "zeroline": False, "automargin": False}
    x = {
        "title": {"text": "step", "standoff": 6, "font": {"size": 11.5}},
        "rangemode": "tozero",
        **grid,
    }
    if total is not None:
        x["range"] = [0, round(total * 1.008 + 0.5, 2)]
    font = {"family": theme.font_family(), "size": 12, "color": "@mute"}
    return {
        "meta": {"title": title, "unit": unit, "badge": badge, "message": ""},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": font,
        "margin": {"l": 56, "r": 14, "t": 8, "b": 40},
        "xaxis": x,
        "yaxis": {**y, **grid, "title": {**y["title"], "standoff": 6, "font": {"size": 11.5}}},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@line", "font": {"color": "@ink"}},
        "uirevision": run or "race",
    }


def _figure(data: list[dict[str, Any]], layout: dict[str, Any], steps: Sequence[Step]) -> Figure:
    """Put a figure together; without steps its vertical axis has no numbers to show."""
    if not steps:
        layout["yaxis"]["showticklabels"] = False
    return {"data": data, "layout": layout}


def _paint(node: Any, colors: dict[str, str]) -> Any:
    """Replace every colour token below a node."""
    if isinstance(node, dict):
        return {key: _paint(value, colors) for key, value in node.items()}
    if isinstance(node, list):
        return node if node and not isinstance(node[0], dict) else [_paint(n, colors) for n in node]
    if isinstance(node, str) and node.startswith("@"):
        return colors[node[1:]]
    return node
