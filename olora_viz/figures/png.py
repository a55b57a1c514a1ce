"""Figures drawn by Matplotlib, as PNG files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from olora_viz.figures import theme
from olora_viz.figures.layout import Figure, paint

DASHES_IN_PRINT = {
    "solid": "-", "dot": (0, (1, 1.6)), "dash": (0, (4, 2)), "dashdot": (0, (4, 1.6, 1, 1.6)),
    "longdash": (0, (7, 2)), "longdashdot": (0, (7, 1.6, 1, 1.6)),
}  # fmt: skip
MARKS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P",
         "triangle-down": "v", "triangle-left": "<", "triangle-right": ">", "star": "*", "x-thin": "x"}  # fmt: skip
INCH = 100.0
"""Pixels of a figure's layout per inch; PNGs have twice as many pixels."""

ROW, LETTER, SMALL = 15, 5.6, 7.0
"""Of the words below figures: the height of a row and the width of a letter in pixels, and the size of the font."""

WIDE = 0.63
"""The width of a letter as a share of its font's size, of titles and the lines below them."""


def png_bytes(
    figures: Sequence[Figure], *, below: str = "", theme_name: str = "light", width: int = 860, sharpness: float = 2.0
) -> bytes:
    """Return figures as one PNG, one below the other, with `sharpness` pixels per pixel of the layout.

    Args:
        below: words below the figures, wrapped to the width.
        width: of the layout, in pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    sizes = [(each["layout"]["margin"], each["layout"]["meta"]["height"]) for each in figures]
    words = [part for line in below.splitlines() for part in textwrap.wrap(line, int(width / LETTER))]
    total = sum(height + 64 + max(40, margin["b"]) for margin, height in sizes) + ROW * len(words)
    colors = colors_of(figures, theme_name)
    canvas = Canvas(figsize=(width / INCH, total / INCH), dpi=sharpness * INCH, facecolor=colors["card"])
    FigureCanvasAgg(canvas)
    above = 56
    for figure, (margin, height) in zip(figures, sizes, strict=True):
        left, right = max(margin["l"], 62) / width, 1 - max(margin["r"], 20) / width
        top, bottom = 1 - above / total, 1 - (above + height) / total
        draw(canvas.add_axes((left, bottom, right - left, top - bottom)), paint(figure, colors), colors)
        above += height + 64 + max(40, margin["b"])
    for i, row in enumerate(reversed(words)):
        bottom = (ROW * i + 8) / total
        canvas.text(12 / width, bottom, row, fontsize=SMALL, color=colors["mute"], parse_math=False)
    file = BytesIO()
    canvas.savefig(file, format="png")
    return file.getvalue()


def colors_of(figures: Sequence[Figure], theme_name: str) -> dict[str, str]:
    """Return the colours that figures name, in a theme."""
    tokens = [part.split("'")[0] for part in repr(figures).split("'@")[1:]]
    inits = [token.removesuffix("-text").removesuffix("-band") for token in tokens]
    return theme.palette(theme_name, inits)


def draw(axes: Any, figure: Figure, colors: dict[str, str], *, titled: bool = True) -> None:
    """Draw a painted figure; `titled` with the title and the line below it above the axes."""
    layout = figure["layout"]
    axes.set_facecolor(colors["card"])
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=colors["mute"], labelsize=9, length=0)
    axes.set_axisbelow(True)
    axes.grid(color=colors["line"], linewidth=0.8)
    previous: dict[str, Any] | None = None
    for trace in figure["data"]:
        if trace["type"] == "heatmap":
            _heat(axes, trace, colors)
        elif trace["type"] == "contour":
            _contours(axes, trace, colors)
        else:
            _curve(axes, trace, previous)
        previous = trace
    for which, key in (("x", "xaxis"), ("y", "yaxis")):
        _axis(axes, which, layout[key], colors, whole=which == "x" and _is_whole(figure["data"]))
    for shape in layout.get("shapes", ()):
        if shape["type"] == "line":
            axes.axvline(shape["x0"], color=shape["line"]["color"], linestyle="--", linewidth=1)
        else:
            left, right, low, high = (shape[end] for end in ("x0", "x1", "y0", "y1"))
            x, y = [left, right, right, left, left], [low, low, high, high, low]
            axes.plot(x, y, color=shape["line"]["color"], linewidth=1.6)
    for label in layout.get("annotations", ()):
        x, y = (
            10 ** label[which] if layout[f"{which}axis"].get("type") == "log" else label[which] for which in ("x", "y")
        )
        axes.annotate(
            label["text"], (x, y), annotation_clip=False, label=label.get("name", ""),
            xytext=(0.72 * label.get("xshift", 0), 0.72 * label.get("yshift", 0)),
            textcoords="offset points", va="center", ha=label["xanchor"], fontsize=9,
            color=label["font"]["color"], bbox=_behind(label),
        )  # fmt: skip
    meta = layout["meta"]
    badge = f" · {meta['badge']}{' axis' * (meta['badge'] == 'log')}" if meta["badge"] else ""
    axes.text(0.5, 0.5, meta["message"], transform=axes.transAxes, ha="center", va="center",
              fontsize=9.5, color=colors["mute"])  # fmt: skip
    if not titled:
        return
    unit = meta["unit"] + badge
    room = 72 * axes.figure.get_figwidth() * (1 - axes.get_position().x0)
    for text, above, size, look in (
        (meta["title"], 22, 11.0, {"fontweight": "bold", "color": colors["ink"]}),
        (unit, 8, 9.0, {"color": colors["mute"]}),
    ):
        size = min(size, room / (WIDE * len(text or " ")))
        axes.annotate(text, (0, 1), xycoords="axes fraction", xytext=(0, above), textcoords="offset points",
                      fontsize=size, **look)  # fmt: skip


def _curve(axes: Any, trace: dict[str, Any], previous: dict[str, Any] | None) -> None:
    x, y = (np.array(values, dtype=float) for values in (places(trace), trace["y"]))
    if trace.get("fill") == "tonexty" and previous is not None:
        low, color = np.array(previous["y"], dtype=float), _rgba(trace["fillcolor"])
        axes.fill_between(x, low, y, color=color, linewidth=0)
    style, marker = trace.get("line", {}), trace.get("marker")
    if style.get("color", "").startswith("rgba"):
        return
    hollow = bool(marker) and str(marker.get("symbol", "")).endswith("-open")
    color = style.get("color") or (marker or {}).get("color")
    axes.plot(
        x, y, color=color, alpha=trace.get("opacity", 1.0),
        linestyle=DASHES_IN_PRINT[style.get("dash", "solid")] if "lines" in trace["mode"] else "none",
        linewidth=0.75 * style.get("width", 1.0),
        marker=MARKS[str(marker.get("symbol", "circle")).removesuffix("-open")] if marker else None,
        markersize=0.75 * marker["size"] if marker else None,
        markerfacecolor="none" if hollow else color,
        clip_on=trace.get("cliponaxis", True),
    )  # fmt: skip


def _behind(label: dict[str, Any]) -> dict[str, Any] | None:
    """Return the box behind a label that hides the curves there."""
    color = label.get("bgcolor", "")
    return {"facecolor": color, "edgecolor": "none", "pad": 0.5} if color and not color.startswith("rgba") else None


def _rgba(color: str) -> str | tuple[float, ...]:
    """Return a colour as matplotlib takes it: CSS's channels as shares.

    >>> _rgba("rgba(255,0,51,0.18)")
    (1.0, 0.0, 0.2, 0.18)
    """
    if not color.startswith("rgba("):
        return color
    *channels, opacity = map(float, color[5:-1].split(","))
    return (*(channel / 255 for channel in channels), opacity)


def _heat(axes: Any, trace: dict[str, Any], colors: dict[str, str]) -> None:
    from matplotlib.ticker import PercentFormatter

    z, shades = _shaded(trace)
    box = axes.get_window_extent()
    fine = min(box.width / z.shape[1], box.height / z.shape[0]) < 12
    mesh = axes.pcolormesh(
        _edges(trace["x"]), _edges(range(len(z))), z, cmap=shades,
        edgecolor="face" if fine else colors["card"], linewidth=0 if fine else 1.2,
        vmin=trace.get("zmin"), vmax=trace.get("zmax"),
    )  # fmt: skip
    if trace.get("showscale") is False:
        return
    bar = _bar(axes, mesh, colors)
    if "tickvals" in trace["colorbar"]:
        bar.set_ticks(trace["colorbar"]["tickvals"], labels=trace["colorbar"]["ticktext"])
    if "%" in trace["colorbar"]["tickformat"]:
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def _shaded(trace: dict[str, Any]) -> tuple[np.ndarray, Any]:
    """Return the numbers of a map, and its colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return np.array(trace["z"], dtype=float), LinearSegmentedColormap.from_list("shades", trace["colorscale"])


def _edges(centres: Sequence[float]) -> np.ndarray:
    """Return the edges of cells around their centres; a single one has width 1."""
    at = np.asarray(centres, dtype=float)
    between = (at[1:] + at[:-1]) / 2
    first, last = (at[1] - at[0], at[-1] - at[-2]) if len(at) > 1 else (1.0, 1.0)
    return np.concatenate([[at[0] - first / 2], between, [at[-1] + last / 2]])


def _contours(axes: Any, trace: dict[str, Any], colors: dict[str, str]) -> None:
    z, shades = _shaded(trace)
    mesh = axes.pcolormesh(
        trace["x"], trace["y"], z, cmap=shades, shading="gouraud", vmin=trace["zmin"], vmax=trace["zmax"]
    )
    given, line = trace["contours"], trace["line"]
    levels = np.arange(given["start"], given["end"] + 1e-9, given["size"])
    axes.contour(trace["x"], trace["y"], z, levels=levels, colors=line["color"], linewidths=0.75 * line["width"])
    _bar(axes, mesh, colors)


def _bar(axes: Any, mesh: Any, colors: dict[str, str]) -> Any:
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=14, fraction=0.05)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=colors["mute"], labelsize=8.5, length=0)
    return bar


def places(trace: dict[str, Any]) -> Sequence[Any]:
    """Return where the points of a curve are."""
    if trace.get("x") is not None:
        return trace["x"]
    first, apart = trace.get("x0", 0), trace.get("dx", 1)
    return [first + apart * i for i in range(len(trace.get("y", ())))]


def _is_whole(traces: Sequence[dict[str, Any]]) -> bool:
    """Whether all points lie at whole numbers, such as steps and ranks."""
    at = [x for trace in traces for x in trace.get("x") or (trace.get("x0", 0), trace.get("dx", 1))]
    return all(isinstance(x, int) or (isinstance(x, float) and x.is_integer()) for x in at)


def _axis(axes: Any, which: str, given: dict[str, Any], colors: dict[str, str], *, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, PercentFormatter

    drawn = getattr(axes, f"{which}axis")
    logarithmic = given.get("type") == "log"
    if logarithmic:
        getattr(axes, f"set_{which}scale")("log")
        drawn.set_minor_locator(NullLocator())
    if "range" in given:
        low, high = given["range"]
        ends = (10**low, 10**high) if logarithmic else (low, high)
        getattr(axes, f"set_{which}lim")(*ends)
    if "tickvals" in given:
        drawn.set_ticks(given["tickvals"], labels=given.get("ticktext"))
    elif not logarithmic:
        drawn.set_major_locator(MaxNLocator(6, integer=whole or given.get("dtick") == 1))
    if given.get("tickformat") == ".0%":
        drawn.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if "tickangle" in given:
        for label in drawn.get_ticklabels():
            label.set(rotation=-given["tickangle"], ha="right", rotation_mode="anchor")
    if given.get("showgrid") is False:
        drawn.grid(False)
    if given.get("showticklabels") is False:
        drawn.set_major_formatter(NullFormatter())
    drawn.set_label_text(given["title"]["text"], color=colors["mute"], fontsize=9)
