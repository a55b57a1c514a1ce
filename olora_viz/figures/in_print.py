"""Figures for print, as PDF, SVG or PNG of the width of a column, with the words of their captions."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from olora_viz.figures.drawing import Drawing
from olora_viz.figures.layout import paint
from olora_viz.figures.png import INCH, colors_of, draw
from olora_viz.machine.checks import described, unknown

WIDTHS = {"paper": 3.35, "wide": 6.9}
"""The width of a figure in inches: of one column of a page with two, and of both."""

FORMATS = (".pdf", ".svg", ".png")

LETTERS, FINER = 7.2, 0.55
"""The size of letters in points, and of lines and marks against those on the screen."""

LETTER_INCHES, ROW_INCHES = 0.062, 0.13
"""The width of a letter of a title, and the height of a row of them, in inches."""

AIR = 0.06
"""Inches around everything."""

NAMES_SHARE = 0.4
"""The largest part of the width that the names of rows take; longer ones are written in several lines."""

SHORTENED = "short "
"""Begins the name of an annotation whose text gives way to the rest of the name if it does not fit its column."""

HALF = "half"
"""The name of an annotation above half of the columns."""


@dataclass(frozen=True)
class FigureStyle:
    """How figures are printed: their width in inches, letters of 7 points, light; several have their titles above.

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

        file = Path(path)
        if file.suffix not in FORMATS:
            raise ValueError(f"a figure is written as {', '.join(FORMATS)}, not {file.name!r}")
        if not isinstance(figure, Drawing) or not figure._figures:
            raise ValueError(f"write takes a figure of ov.plot_race and its like, not {described(figure)}")
        canvas, caption = self.drawn(figure)
        with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
            canvas.savefig(file, dpi=600)
        return caption

    def drawn(self, figure: Drawing) -> tuple[Any, str]:
        """Return Matplotlib's figure, in which nothing is cut and no words meet, and the caption."""
        from matplotlib.figure import Figure as Canvas
        from matplotlib.lines import Line2D
        from matplotlib.text import Text

        figures, colors = figure._figures, colors_of(figure._figures, "light") | {"card": "white"}
        canvas = Canvas(figsize=(self.width, 4), facecolor="white")
        for each in figures:
            axes = canvas.add_axes((0.2, 0.2, 0.5, 0.5), label=str(len(canvas.axes)))
            draw(axes, paint(each, colors), colors, titled=False)
            axes.tick_params(labelsize=LETTERS)
        for text in canvas.findobj(Text):
            text.set_fontsize(LETTERS)
        for line in canvas.findobj(Line2D):
            line.set(linewidth=FINER * line.get_linewidth(), markersize=FINER * line.get_markersize())
        titles = [self._title(each["layout"]["meta"]["title"]) if len(figures) > 1 else "" for each in figures]
        heights = [each["layout"]["meta"]["height"] / INCH for each in figures]
        self._place(canvas, heights, titles)
        captions = []
        for axes, each in zip(canvas.axes, figures, strict=True):
            meta = each["layout"]["meta"]
            signs = meta.get("signs", "") if any(_is_short(text) for text in axes.texts) else ""
            unit = "; ".join(filter(None, [meta["unit"], signs]))
            captions.append(": ".join(filter(None, [meta["title"], unit])).removesuffix(".") + ".")
        return canvas, " ".join(captions)

    def _title(self, words: str) -> str:
        return "\n".join(textwrap.wrap(words, int((self.width - 2 * AIR) / LETTER_INCHES), break_on_hyphens=False))

    def _place(self, canvas: Any, heights: list[float], titles: list[str]) -> None:
        """Give every chart the room that its words take, below one another.

        Which words there are depends on the room: three rounds settle both.
        """
        every = list(canvas.axes)
        rooms = [(0.6, 0.1, 0.1, 0.5)] * len(every)  # left, right, above and below the axes, inches
        written = [canvas.text(0, 0, title, fontsize=LETTERS, fontweight="bold", va="top") for title in titles]
        rows = [ROW_INCHES * (title.count("\n") + 1) * bool(title) for title in titles]
        for _ in range(3):
            left, right = (max(room[side] for room in rooms) for side in (0, 1))
            wide = max(self.width - left - right, 0.2 * self.width)
            total = sum(heights) + sum(rows) + sum(room[2] + room[3] for room in rooms)
            canvas.set_size_inches(self.width, total)
            top = total
            for axes, height, room, row, title in zip(every, heights, rooms, rows, written, strict=True):
                title.set_position((AIR / self.width, (top - AIR) / total))
                top -= row + room[2] + height
                axes.set_position((left / self.width, top / total, wide / self.width, height / total))
                top -= room[3]
            canvas.draw_without_rendering()
            for axes in every:
                _fit(axes)
            canvas.draw_without_rendering()
            rooms = [_room(axes) for axes in every]
        for axes in every:
            _fit_tiles(axes)


def _room(axes: Any) -> tuple[float, float, float, float]:
    """Return the inches that words take to the left and the right of the axes, above and below."""
    inner, outer, inch = axes.get_window_extent(), axes.get_tightbbox(), axes.figure.dpi
    ends = (inner.x0 - outer.x0, outer.x1 - inner.x1, outer.y1 - inner.y1, inner.y0 - outer.y0)
    left, right, above, below = (max(end, 0.0) / inch + AIR for end in ends)
    return left, right, above, below


def _fit(axes: Any) -> None:
    """Let words fit their places: names of rows and axes in several lines, those of columns upright."""
    width, inch = axes.figure.get_size_inches()[0], axes.figure.dpi
    rows = axes.get_yticklabels()
    longest = max(rows, key=lambda label: label.get_window_extent().width, default=None)
    most = NAMES_SHARE * width * inch
    if longest is not None and longest.get_window_extent().width > most:
        names = [_wrapped(label, longest, most) for label in rows]
        axes.set_yticks(axes.get_yticks(), labels=names)
    inner = axes.get_window_extent()
    center = (inner.x0 + inner.x1) / 2
    around = 2 * min(center, width * inch - center) - 2 * AIR * inch
    for label, room in ((axes.xaxis.label, around), (axes.yaxis.label, inner.height)):
        box = label.get_window_extent()
        long = box.height if label.get_rotation() else box.width
        if long > room and "\n" not in label.get_text():
            letters = int(len(label.get_text()) * room / long)
            label.set_text("\n".join(textwrap.wrap(label.get_text(), max(8, letters), break_on_hyphens=False)))
    _fit_columns(axes)
    heads = [text for text in axes.texts if text.get_label() == HALF and "\n" not in text.get_text()]
    ends = [text.get_window_extent() for text in heads]
    if any(after.x0 - before.x1 < AIR * inch for before, after in pairwise(ends)):
        for text in heads:
            text.set(text="\n".join(textwrap.wrap(text.get_text(), 12)), va="bottom", position=(0, -5))


def _fit_tiles(axes: Any) -> None:
    """Write signs in place of words where a word does not fit its column."""
    column = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    words = [text for text in axes.texts if str(text.get_label()).startswith(SHORTENED)]
    if any(text.get_window_extent().width > 0.9 * column for text in words):
        for text in words:
            text.set_text(str(text.get_label()).removeprefix(SHORTENED))


def _is_short(text: Any) -> bool:
    return str(text.get_label()) == SHORTENED + text.get_text()


def _wrapped(label: Any, longest: Any, most: float) -> str:
    letters = int(len(longest.get_text()) * most / longest.get_window_extent().width)
    return "\n".join(textwrap.wrap(label.get_text(), max(8, letters), break_on_hyphens=False))


def _fit_columns(axes: Any) -> None:
    """Set names below the axes upright where they would meet, and hide such numbers."""
    low, high = sorted(axes.get_xlim())
    # Of all ticks: `get_xticklabels` leaves out the labels that an earlier round has hidden.
    every = [tick.label1 for tick in axes.xaxis.get_major_ticks()]
    labels = [label for label in every if label.get_text() and low <= label.get_position()[0] <= high]
    for label in labels:
        label.set_visible(True)
    gap = 0.5 * LETTERS / 72 * axes.figure.dpi
    are_names = axes.get_xscale() != "log" and not all(map(_is_number, labels))
    if are_names:
        places = sorted(axes.transData.transform((label.get_position()[0], 0))[0] for label in labels)
        least = min((after - before for before, after in pairwise(places)), default=float("inf"))
        if any(label.get_rotation() not in (0, 90) for label in labels):
            is_upright = least < 3 * gap
        else:
            sizes = (label.get_window_extent() for label in labels)
            is_upright = least < gap + max((max(box.width, box.height) for box in sizes), default=0)
            for label in labels:
                label.set_rotation(0)
        for label in labels if is_upright else ():
            label.set(rotation=90, ha="center", va="top", rotation_mode="default")
        return
    end = -float("inf")
    for label in labels:
        box = label.get_window_extent()
        label.set_visible(box.x0 >= end)
        end = box.x1 + gap if label.get_visible() else end


def _is_number(label: Any) -> bool:
    return re.fullmatch(r"[-−+]?[\d.,]+(e[-−+]?\d+)?%?", label.get_text()) is not None


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
