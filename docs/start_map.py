"""One map of where the start matters: the starts of all studies in ``docs/studies`` against plain LoRA."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from olora_viz.figures.layout import Figure, axis, categories_axis, layout, points, upright
from olora_viz.figures.rates import method_styles
from olora_viz.figures.studies import TILES, difference_words, level_band, note, room_for, varying, whiskers
from olora_viz.initializers import INITIALIZERS
from olora_viz.studies.axes import in_words
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import BETTER, WORSE
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts

TITLES = {
    "optimizers": "optimizer",
    "dora": "trained norms, DoRA",
    "nf4": "a base in four bits",
    "rank-by-layer": "ranks by layer",
    "ranks": "rank",
    "targets": "target modules",
    "batches": "batch",
    "dtypes": "precision",
    "objectives": "learned from",
    "rewards": "rewards",
    "en-large-batch": "a short run",
    "en-rows": "uppercase",
    "number-words": "size of the start",
    "pt-written": "Portuguese",
    "chain": "a chain of tasks",
}
"""The studies of the map, by folder, with what each is about. A new study is a new line."""

LIMIT = 0.09
"""Where the axis ends, as a share of what LoRA learns."""

TICKS = {-0.08: "-8%", -0.04: "-4%", 0.0: "0%", 0.04: "4%", 0.08: "8%"}

LINE = 14
"""Height of a start in pixels."""

HOW = (
    "A row is a circumstance, a point a start in it, a line its 95% interval. Left of zero the start ends better than "
    "plain LoRA, right of zero worse; in the grey band a difference does not matter. A row is framed, and a point "
    "filled, where the verdict is better or worse, which allows for all methods of a row. An arrow is beyond the axis."
)


class Place(NamedTuple):
    """A start in a circumstance."""

    verdict: Verdict
    where: str
    y: float
    scale: float
    """From a difference to a share of what LoRA learns there."""

    @property
    def matters(self) -> bool:
        """Whether the start is better or worse than plain LoRA."""
        return self.verdict.verdict in (BETTER, WORSE)

    @property
    def mean(self) -> float:
        """The difference as such a share."""
        return self.scale * self.verdict.interval.mean


def start_map_figure(studies: Mapping[str, Verdicts]) -> Figure:
    """Draw every start against plain LoRA, each at its best rate, in every circumstance of the studies.

    Args:
        studies: by the keys of `TITLES`; the reference of each is plain LoRA.
    """
    places: list[Place] = []
    behind, frames, words, heads, ticks = [], [], [], [], {}
    y = 0.0
    for name, found in studies.items():
        y -= 1.5
        heads.append(note(f"{TITLES[name]}: study {name}", -LIMIT, y, "@ink", "left"))
        y -= 0.4
        for cell in found.study.cells():
            row, starts, margin = row_of(found, cell), starts_of(found, cell), found.study.margin
            where, top = f"study {name}, {cell.words()}", y - 0.5
            here = [Place(each, where, y - k, margin / each.margin) for k, each in enumerate(starts, 1)]
            y -= len(starts) + 0.5
            ticks[(top + y) / 2] = row
            behind += level_band(margin, y + 0.5, top - 0.5)
            if any(place.matters for place in here):
                frames.append(_frame(y, top))
                words += _words(here)
            places += here
    styles = method_styles(dict.fromkeys(place.verdict.method for place in places))
    data = [trace for place in places for trace in _drawn(place, styles[place.verdict.method].color)]
    left = room_for(ticks.values())
    drawn = layout(
        f"Where the start matters: in {len(frames)} of {len(ticks)} circumstances",
        "test loss minus plain LoRA's, each at its best rate, in % of LoRA's gain, its loss reduction, so that nats "
        "and shares of wrong answers compare; lines: 95% over seeds; band: level; framed and filled: decided",
        x=axis("← better    % of gain    worse →", range=[-LIMIT, LIMIT], tickvals=[*TICKS],
               ticktext=[*TICKS.values()]),
        y=categories_axis([*ticks.values()], range=[y - 0.5, -0.5], tickvals=[*ticks]), height=round(-y * LINE),
        how=HOW, revision="start map", closest=True, margin={"l": left, "r": 14},
        labels=[*words, *(head | {"xshift": 16 - left} for head in heads)], shapes=[*frames, upright(0, 1)],
    )  # fmt: skip
    return {"data": behind + data, "layout": drawn}


def row_of(found: Verdicts, cell: Cell) -> str:
    """Return the name of a cell's row: in what it differs from the others of its study, or else plain LoRA's rank."""
    if len(found.study.cells()) == 1:
        return in_words("r", found.of(cell)[0].rank)
    names, _ = varying(found.study.cells())
    words = cell.words(names)
    return words.removeprefix(f"{names[0]} ") if len(names) == 1 else words


def starts_of(found: Verdicts, cell: Cell) -> list[Verdict]:
    """Return the verdicts of a cell on methods that differ from plain LoRA by their start alone."""
    return [
        each
        for each in found.of(cell)
        if each.method in INITIALIZERS and each.method not in (found.study.reference, "full")
    ]


def _frame(bottom: float, top: float) -> dict[str, Any]:
    ends = {"x0": -LIMIT, "x1": LIMIT, "y0": bottom, "y1": top}
    return {"type": "rect", **ends, "line": {"color": "@accent", "width": 1.6}}


def _words(here: Sequence[Place]) -> list[dict[str, Any]]:
    """Say that starts of a row end better or worse, on the side where their points are not; and where if off it."""
    notes = []
    for word, x, anchor in ((BETTER, LIMIT, "right"), (WORSE, -LIMIT, "left")):
        of_word = [place for place in here if place.verdict.verdict == word]
        color, _, sign = TILES[word]
        if of_word:
            notes.append(note(f"{sign} {word}", x, of_word[0].y, color, anchor) | {"xshift": math.copysign(6, -x)})
        for place in of_word:
            if abs(place.mean) > LIMIT:
                off = note(f"{place.mean:+.0%}", -x, place.y, color, "left" if x > 0 else "right")
                notes.append(off | {"xshift": math.copysign(18, x)})
    return notes


def _drawn(place: Place, color: str) -> list[dict[str, Any]]:
    """Return the interval of a start and its mean, with arrows where they pass the ends of the axis."""
    verdict, label = place.verdict, method_name(place.verdict.method)
    low, high = (place.scale * end for end in verdict.interval[1:3])
    common, edge = {"name": label, "legendgroup": label}, 0.98 * LIMIT
    width, symbol, size = (3.2, "circle", 10) if place.matters else (1.4, "circle-open", 7)
    traces = []
    if math.isfinite(low):
        ends = (max(-LIMIT, min(LIMIT, end)) for end in (low, high))
        traces.append(whiskers(*ends, place.y, color) | common | {"line": {"color": color, "width": width}})
    for beyond, x, arrow in ((low < -LIMIT, -edge, "triangle-left"), (high > LIMIT, edge, "triangle-right")):
        if beyond:
            traces.append(points([x], [place.y], color, 9, symbol=arrow, hoverinfo="skip", **common))
    words = [f"{label}: {verdict.verdict}", *difference_words(verdict.difference, verdict.unit), place.where]
    hover = {"text": ["<br>".join(words)], "hovertemplate": "%{text}<extra></extra>"}
    if abs(place.mean) > LIMIT:
        symbol = "triangle-left" if place.mean < 0 else "triangle-right"
    at = max(-edge, min(edge, place.mean))
    return [*traces, points([at], [place.y], color, size, symbol=symbol, **hover, **common)]
