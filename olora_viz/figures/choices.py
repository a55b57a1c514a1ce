"""What each choice of a study is worth: differences to the reference by what is chosen otherwise, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from olora_viz.figures.layout import Figure, axis, categories_axis, layout, nothing_yet, points, upright
from olora_viz.figures.rates import examples, up_to
from olora_viz.figures.studies import (
    NOTHING,
    SIGNED,
    SIGNS,
    TILES,
    difference_words,
    level_band,
    note,
    room_for,
    whiskers,
)
from olora_viz.machine.wording import compact, signed
from olora_viz.studies.choices import MethodChoice, choices
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import unit_of
from olora_viz.studies.statistics import BETTER, WORSE
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

HOW_TO_READ = (
    "A filled mark is how far the test loss moves from the reference's when only this choice is made otherwise and "
    "everything is tuned again; an open one is the same with all methods at one rate. A choice whose open mark alone "
    "lies outside the band is a rate in disguise. Left of zero is better; an interval inside the band is level."
)

ROW_HEIGHT = 23
"""Height of a row in pixels."""

ROOT_FROM = 16.0
"""From this many widths of the band on, the axis is root-scaled: on a linear one the band would be a line."""

MOST_MEANS = 4.0
"""Ends beyond this multiple of the farthest mean are cut off, with an arrow."""

RING = 14
"""Size of the mark at one rate in pixels, around the other one where both are at one place."""

COLORS = {BETTER: "@ok", WORSE: "@bad"}
"""Of the marks of what is decided; of the others they are quiet."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""What a root-scaled axis may name on either side of 0."""

LEAST_TICK_GAP = 0.085
"""The least distance of its ticks, as a share of its length."""


class _Scale(NamedTuple):
    """The axis of the differences: its range, and how a difference is placed on it."""

    low: float
    high: float
    is_root: bool

    @classmethod
    def of(cls, made: Sequence[MethodChoice], margin: float) -> _Scale:
        """Return the axis of some choices."""
        both = [(each.verdict.interval.mean, each.verdict.at_shared.interval.mean) for each in made]
        means = np.array([mean for of_each in both for mean in of_each if math.isfinite(mean)])
        ends = np.array([each.verdict.interval[1:3] for each in made if each.verdict.seeds])
        band = margin if math.isfinite(margin) else 0.0
        most = MOST_MEANS * max(float(np.abs(means).max(initial=0.0)), band, 1e-6)
        values = np.clip([*ends.ravel(), *means, -band, band, 0.0], -most, most)
        low, high = float(values.min()), float(values.max())
        is_root = band > 0 and high - low > ROOT_FROM * 2 * band
        place = _root if is_root else float
        air = 0.05 * (place(high) - place(low))
        return cls(place(low) - air, place(high) + air, is_root)

    def place(self, difference: float) -> float:
        """Return where a difference is on the axis, at its end if it is farther."""
        return min(max(_root(difference) if self.is_root else difference, self.low), self.high)

    def holds(self, difference: float) -> bool:
        """Whether a difference is within the axis."""
        return self.low <= (_root(difference) if self.is_root else difference) <= self.high

    def axis(self, name: str) -> dict[str, Any]:
        """Return Plotly's axis, whose ticks say the differences themselves."""
        look = {"range": [self.low, self.high], "zeroline": True, "zerolinecolor": "@mute"}
        if not self.is_root:
            return axis(name, **look)
        ticks, apart = [0.0], LEAST_TICK_GAP * (self.high - self.low)
        for side in (1, -1):
            last = 0.0
            for tick in TICKS:
                if self.holds(side * tick) and abs(_root(side * tick) - last) >= apart:
                    last = _root(side * tick)
                    ticks.append(side * tick)
        words = [signed(tick, "+g") if tick else "0" for tick in sorted(ticks)]
        return axis(f"{name} (root scale)", **look, tickvals=[_root(tick) for tick in sorted(ticks)], ticktext=words)


def _root(difference: float) -> float:
    return math.copysign(math.sqrt(abs(difference)), difference)


def choices_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw how far the test loss moves with each choice, everything tuned again and at one rate, by what differs."""
    study, who = verdicts.study, method_name(verdicts.study.reference)
    made = choices(verdicts, cell)
    title, name = f"What each choice is worth: {cell.words()}", f"test loss minus {who}'s, {unit_of(study)}"
    shared = made[0].verdict.shared_lr
    most = max([study.seeds, *(each.verdict.seeds for each in made)])
    over = f"{up_to(most, study.seeds)} and {examples(verdicts, cell, 'test')}"
    at_one = f"; ○ all at {compact(shared)}" if shared else ""
    unit = f"● each tuned, 95% over {over}{at_one}; band: too small to matter; {SIGNS}"
    if not any(each.verdict.seeds for each in made):
        why = f"No seed finished with both {who} and another method." if verdicts.rows else NOTHING
        return nothing_yet(title, unit, (name, "choice"), why)
    groups = list(dict.fromkeys(each.group for each in made))
    rows, scale = len(made) + len(groups), _Scale.of(made, made[0].verdict.margin)
    margin = made[0].verdict.margin
    data = level_band(scale.place(margin) if math.isfinite(margin) else margin, 0, rows - 1)
    heads: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    ticks: list[str] = []
    y = rows
    for group in groups:
        y -= 1
        ticks.append("")
        if y < rows - 1:
            data.append(_rule(y + 0.5, scale))
        heads.append(note(group, scale.low, y, "@ink", "left") | {"xshift": 4})
        for each in (each for each in made if each.group == group):
            y -= 1
            ticks.append(each.words)
            data += _marks(each, y, scale)
            sign = TILES[each.verdict.verdict][2]
            words = f"{sign} {signed(each.verdict.interval.mean, SIGNED)}" if each.verdict.seeds else sign
            color = COLORS.get(each.verdict.verdict, "@mute")
            ends.append(note(words, scale.high, y, color, "left") | {"xshift": 8})
    drawn = layout(
        title,
        unit,
        x=scale.axis(name),
        y=categories_axis(ticks, range=[-0.7, rows - 0.4], tickvals=list(range(rows))[::-1]),
        height=max(110, ROW_HEIGHT * rows),
        how=f"{HOW_TO_READ} The band is {100 * study.margin:.3g}% of {who}'s loss reduction to either side.",
        revision=f"choices {cell.words()}",
        closest=True,
        labels=heads + ends,
        margin={"l": room_for(ticks), "r": room_for([each["text"] for each in ends])},
        shapes=[upright(scale.place(0.0), 1)],
    )
    return {"data": data, "layout": drawn}


def _rule(y: float, scale: _Scale) -> dict[str, Any]:
    """Return the thin line above a group."""
    return {
        "type": "scatter", "mode": "lines", "x": [scale.low, scale.high], "y": [y, y], "hoverinfo": "skip",
        "name": "group", "line": {"color": "@line", "width": 1},
    }  # fmt: skip


def _marks(choice: MethodChoice, y: float, scale: _Scale) -> list[dict[str, Any]]:
    """Return the interval of a choice and its two marks; an arrow where one of these goes on beyond the axis."""
    verdict, color = choice.verdict, COLORS.get(choice.verdict.verdict, "@mute")
    (mean, low, high, _), at_one = verdict.interval, verdict.at_shared.interval.mean
    name = {"name": choice.words, "legendgroup": choice.words}
    said: dict[str, Any] = name | {"text": [_hover(choice)], "hovertemplate": "%{text}<extra></extra>"}
    marks = [whiskers(scale.place(low), scale.place(high), y, color) | name] if math.isfinite(low) else []
    beyond = {end: color for end in (low, high) if math.isfinite(end)} | {at_one: "@mute"}
    for end, of_end in beyond.items():
        if math.isfinite(end) and not scale.holds(end):
            symbol = "triangle-right" if end > 0 else "triangle-left"
            marks.append(points([scale.place(end)], [y], of_end, 11, symbol=symbol, cliponaxis=False, **said))
    if math.isfinite(at_one) and scale.holds(at_one):
        marks.append(
            points([scale.place(at_one)], [y], "@mute", RING, symbol="circle-open", edge={"width": 1.6}, **said)
        )
    if verdict.seeds:
        marks.append(points([scale.place(mean)], [y], color, 10, symbol="circle", **said))
    return marks


def _hover(choice: MethodChoice) -> str:
    """Return what a row stands for."""
    verdict, at_one = choice.verdict, choice.verdict.at_shared.interval
    rate = f" at {verdict.best.words}" if verdict.best else ""
    lines = [f"{choice.words}{rate}: {verdict.verdict}", difference_words(verdict.difference, verdict.unit)[0]]
    if verdict.shared and math.isfinite(at_one.mean):
        shared = f"{signed(at_one.mean, SIGNED)} {verdict.unit}, {verdict.verdict_shared_rate}"
        lines.append(f"all at {verdict.shared.words}: {shared}")
    return "<br>".join([*lines, *filter(None, [verdict.why])])
