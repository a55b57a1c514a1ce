"""Figures for print: PDF and SVG at the width of a column, with the words of their captions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olora_viz.figures.layout import paint
from olora_viz.figures.png import INCH, Drawing, colors_of, draw
from olora_viz.machine.text import described, unknown

WIDTHS = {"paper": 3.35, "wide": 6.9}
"""The width of a figure in inches: of one column of a page with two, and of both."""

FORMATS = (".pdf", ".svg", ".png")

SMALLER, FINER = 0.8, 0.55
"""The size of letters in print against those on the screen, 7 points and more, and of lines and marks."""

ABOVE, BELOW, SIDE = 0.12, 0.5, 0.6
"""Inches around the axes."""


@dataclass(frozen=True)
class FigureStyle:
    """How figures are printed: their width in inches, letters of at least 7 points, light, without titles.

    Examples:
        >>> import olora_viz as ov
        >>> ov.figure_style("wide")
        FigureStyle(width=6.9)
    """

    width: float

    def write(self, figure: Any, path: str | Path) -> str:
        """Write a figure of `plot_race` and its like, and return the words for its caption.

        Text stays text, in fonts that are embedded in a PDF; several charts are one below the other.

        Args:
            figure: unchanged since it was drawn.
            path: ends in ``.pdf``, ``.svg`` or ``.png`` (600 pixels per inch).

        Raises:
            ValueError: another ending, or another figure.
        """
        from matplotlib import rc_context
        from matplotlib.figure import Figure as Canvas
        from matplotlib.lines import Line2D
        from matplotlib.text import Text

        file = Path(path)
        if file.suffix not in FORMATS:
            raise ValueError(f"a figure is written as {', '.join(FORMATS)}, not {file.name!r}")
        if not isinstance(figure, Drawing) or not figure._figures:
            raise ValueError(f"write takes a figure of ov.plot_race and its like, not {described(figure)}")
        figures, colors = figure._figures, colors_of(figure._figures, "light")
        heights = [ABOVE + each["layout"]["meta"]["height"] / INCH + BELOW for each in figures]
        canvas = Canvas(figsize=(self.width, sum(heights)), facecolor="white")
        top = sum(heights)
        for each, height in zip(figures, heights, strict=True):
            margin = {side: SMALLER * each["layout"]["margin"][side] / INCH for side in "lr"}
            left, right = max(SIDE, margin["l"]), self.width - max(0.1, margin["r"])
            bottom, tall = top - height + BELOW, height - ABOVE - BELOW
            wide, whole = self.width, sum(heights)
            axes = canvas.add_axes((left / wide, bottom / whole, (right - left) / wide, tall / whole))
            draw(axes, paint(each, colors | {"card": "white"}), colors | {"card": "white"}, titled=False)
            top -= height
        for text in canvas.findobj(Text):
            text.set_fontsize(SMALLER * float(text.get_fontsize()))
        for line in canvas.findobj(Line2D):
            line.set(linewidth=FINER * line.get_linewidth(), markersize=FINER * line.get_markersize())
        canvas.draw_without_rendering()
        for axes in canvas.axes:
            _clear_ticks(axes)
        with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
            canvas.savefig(file, dpi=600)
        captions = []
        for each in figures:
            meta = each["layout"]["meta"]
            captions.append(": ".join(filter(None, [meta["title"], meta["unit"]])).removesuffix(".") + ".")
        return " ".join(captions)


def _clear_ticks(axes: Any) -> None:
    """Hide the labels of ticks below the axes that would begin before an earlier one ends."""
    (low, high), end = sorted(axes.get_xlim()), -math.inf
    for label in axes.get_xticklabels():
        if not label.get_text() or label.get_rotation() or not low <= label.get_position()[0] <= high:
            continue
        box = label.get_window_extent()
        label.set_visible(box.x0 >= end)
        end = box.x1 if label.get_visible() else end


def figure_style(name: str = "paper") -> FigureStyle:
    """Return a style of figures for print: ``paper``, as wide as one column of two, or ``wide``, as both.

    Raises:
        ValueError: the name is unknown.

    Examples:
        >>> import olora_viz as ov
        >>> from tempfile import TemporaryDirectory
        >>> rates = ov.plot_rates(ov.load_recording("fair-rates"))
        >>> with TemporaryDirectory() as folder:
        ...     caption = ov.figure_style("paper").write(rates, f"{folder}/rates.pdf")
        >>> caption[:48]
        'Final held-out loss against learning rate: nats '
    """
    if name not in WIDTHS:
        raise ValueError(unknown("figure style", name, WIDTHS))
    return FigureStyle(WIDTHS[name])
