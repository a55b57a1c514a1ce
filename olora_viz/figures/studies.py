"""Figures of a study: who reaches the reference how fast, and verdicts with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    axis,
    categories_axis,
    layout,
    line,
    log_axis,
    nothing_yet,
    points,
    steps_axis,
    upright,
)
from olora_viz.figures.rates import STUDY_HEIGHT, absent, examples, method_styles, up_to
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.wording import counted, number, signed
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding
from olora_viz.studies.difference import Difference
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import unit_of
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE, performance_profile
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts

TARGET_LINE = (
    "The share of seeds that had reached the final loss of the reference's run of the same seed by each step. "
    "Further left is faster; a curve that stays below 100% has seeds that never reached it."
)
PROFILE = (
    "The share of cells and seeds in which a method reached the target within a factor of the fastest one's steps. "
    "Higher and further left is better; a run that never reaches it counts as infinite."
)
WINS_SENTENCE = (
    "Each tile is a model, task and rank: the verdict at one shared rate, and with each method at its own best rate. "
    "A method that wins only at the shared rate owes it to the rate."
)
FOREST = (
    "A point is a difference to the reference, its thin line the 95% interval over seeds and examples, and its thick "
    "line the range over the rates that the validation results cannot tell from the best ones. What crosses zero with "
    "either decides nothing; an interval inside the margin means level."
)

SHARE_AXIS = (-0.04, 1.04)
"""The range of an axis of shares."""

LARGEST_FACTOR = 16.0
"""The largest factor that is drawn."""


def target_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the share of seeds that have reached the reference's final loss by each step, all at their best rates.

    A seed that never gets there keeps its curve below 100%.
    """
    study, who = verdicts.study, method_name(verdicts.study.reference)
    title = f"When each method reaches {who}'s final validation loss: {cell.words()}"
    reached = {verdict.method: np.array(verdict.reached_at) for verdict in verdicts.of(cell) if verdict.reached_at}
    most = max([study.seeds, *map(len, reached.values())])
    unit = (
        f"share of {up_to(most, study.seeds)}, each method at its best rate, against {who}'s run of the same seed; "
        f"{examples(verdicts, cell, 'valid')}{absent(study, reached)}"
    )
    names = "step", "share of seeds that got there"
    if not reached:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, STUDY_HEIGHT)
    corners = {init: stairs(times, study.race.steps) for init, times in reached.items()}
    counts = {init: f": {int(np.isfinite(times).sum())} of {len(times)}" for init, times in reached.items()}
    return _shares(
        title, unit, steps_axis(study.race.steps), names[1], corners, counts, how=TARGET_LINE, revision="target"
    )


def _shares(
    title: str,
    unit: str,
    x: dict[str, Any],
    name: str,
    corners: Mapping[str, tuple[Sequence[float], Any]],
    counts: Mapping[str, str],
    **more: Any,
) -> Figure:
    """Draw the share of runs that got there, as stairs, a curve for every method, with `counts` after its name."""
    styles, data, ends = method_styles(corners), [], []
    for init, (at, shares) in corners.items():
        data.append(line(styles[init], np.array(shares), 2.2, x=list(at), hovertemplate="%{y:.0%}"))
        last = math.log10(at[-1]) if x.get("type") == "log" else at[-1]
        ends.append(CurveEnd.of(styles[init], last, float(shares[-1]), counts[init]))
    ticks = [0, 0.25, 0.5, 0.75, 1]
    y = axis(
        name, range=list(SHARE_AXIS), tickformat=".0%", tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks]
    )
    return {"data": data, "layout": layout(title, unit, x=x, y=y, height=STUDY_HEIGHT, ends=ends, **more)}


def stairs(times: np.ndarray, last: int) -> tuple[list[float], list[float]]:
    """Return the corners of the share of times that have come, from 0 to the last step.

    >>> stairs(np.array([4.0, math.inf]), 10)
    ([0.0, 4.0, 4.0, 10.0], [0.0, 0.0, 0.5, 0.5])
    """
    come = sorted(float(at) for at in times if at <= last)
    x, y = [0.0], [0.0]
    for n, at in enumerate(come, 1):
        x += [at, at]
        y += [y[-1], n / len(times)]
    return [*x, float(last)], [*y, y[-1]]


def profile_figure(verdicts: Verdicts) -> Figure:
    """Draw in which share of all runs a method took at most a multiple of the fastest's steps to the reference's loss.

    Each is at its best rate. A run that never gets there keeps its method's curve below 100%.
    """
    study, who = verdicts.study, method_name(verdicts.study.reference)
    times = times_to_target(verdicts)
    runs = next(iter(times.values())).size
    title = f"How often each method is among the fastest to {who}'s final validation loss"
    unit = (
        f"share of {counted(runs, 'run')}: {counted(study.seeds, 'seed')} in each of "
        f"{counted(runs // study.seeds, 'cell')}, {examples(verdicts, None, 'valid')}; best rates; "
        "never there: infinite"
    )
    names = "steps, as a multiple of the fastest method's", "share of runs"
    if not runs:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, STUDY_HEIGHT)
    stacked = np.array(list(times.values()))
    factors = _corners(stacked)
    corners = {
        init: (np.repeat(factors, 2)[1:].tolist(), np.repeat(shares, 2)[:-1])
        for init, shares in zip(times, performance_profile(stacked, factors), strict=True)
    }
    counts = {init: f": {int(np.isfinite(at).sum())} of {runs}" for init, at in times.items()}
    x = log_axis(names[0], -0.005, math.log10(float(factors[-1])) + 0.005)
    return _shares(title, unit, x, names[1], corners, counts, how=PROFILE, revision="profile")


def times_to_target(verdicts: Verdicts) -> dict[str, np.ndarray]:
    """Return when each method reached the reference's final loss, over all cells and seeds.

    A method without a rate never does; cells without a final loss of the reference are left out.
    """
    study = verdicts.study
    cells = [cell for cell in study.cells() if any(verdict.reached_at for verdict in verdicts.of(cell))]
    never = [math.inf] * study.seeds  # of seeds that did not run
    reached = {(each.cell, each.method): (*each.reached_at, *never)[: study.seeds] for each in verdicts.each}
    return {
        init: np.array([at for cell in cells for at in reached[cell, init]], dtype=float) for init in study.compare
    }


def _corners(times: np.ndarray) -> np.ndarray:
    """Return the factors at which some method's share changes, from 1 to the end of the axis."""
    fastest = times.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # at step 0, or never
        ratios = (times / fastest).ravel()
    inside = ratios[np.isfinite(ratios) & (ratios >= 1) & (ratios <= LARGEST_FACTOR)]
    return np.unique([1.0, *inside, min(LARGEST_FACTOR, 1.1 * inside.max(initial=1.0))])


TILES = {
    BETTER: ("@ok", "@on-accent", "✓"),
    WORSE: ("@bad", "@on-accent", "✗"),
    LEVEL: ("@mute", "@on-accent", "="),
    UNDECIDED: ("@soft", "@mute", "?"),
}
"""The colour of each verdict, of the text on it, and its sign where a word does not fit."""

SIGNS = ", ".join(f"{sign} {word}" for word, (_, _, sign) in TILES.items())
"""What the signs are of."""

SIGNED = "+.2g"
"""The form of a difference."""

STUDY_ROW, LINE_OF_TEXT, CLAIM_BAR = 30, 24, 28
"""Heights in pixels: of a row of the table, of an interval, and of a bar."""

MOST_WORDS = 8
"""With more columns than this, verdicts are signs."""

CAP = 0.18
"""Half the height of the caps of an interval, in rows."""

NOTHING = "No run of this study has ended yet."


def wins_figure(verdicts: Verdicts) -> Figure:
    """Draw every verdict as a tile, a row for each cell: all methods at one rate, and each at its best.

    Where the two halves differ, the rate decided rather than the method.
    """
    study, who = verdicts.study, method_name(verdicts.study.reference)
    others = [init for init in study.compare if init != study.reference]
    compared = [verdict for verdict in verdicts.each if verdict.method != study.reference]
    halves = {
        "all at one rate": [verdict.verdict_shared_rate for verdict in compared],
        "each at its best rate": [verdict.verdict for verdict in compared],
    }
    at_one, at_best = (f"{half.count(BETTER)} of {len(compared)}" for half in halves.values())
    in_words = len(others) * 2 <= MOST_WORDS
    seeds = up_to(max([study.seeds, *(verdict.seeds for verdict in compared)]), study.seeds)
    unit = f"by test loss; {seeds}, {examples(verdicts, None, 'test')}{'' if in_words else f'; {SIGNS}'}"
    cells = study.cells()
    if not verdicts.rows:
        return nothing_yet(f"Verdicts against {who}", unit, ("method", "cell"), NOTHING)
    names, shared = varying(cells)
    data: list[dict[str, Any]] = []
    columns: list[int] = []
    notes = []
    for left, (head, half) in zip((0, len(others) + 1), halves.items(), strict=True):
        places = list(range(left, left + len(others)))
        columns += places
        notes.append(note(head, left + (len(others) - 1) / 2, len(cells) - 0.2, "@ink", "center") | {"name": "half"})
        tiles: list[list[float | None]] = [[None] * len(others) for _ in cells]
        hover = [[""] * len(others) for _ in cells]
        for verdict, word in zip(compared, half, strict=True):
            column, y = others.index(verdict.method), len(cells) - 1 - cells.index(verdict.cell)
            _, color, sign = TILES[word]
            tiles[y][column] = float(list(TILES).index(word))
            hover[y][column] = _hover(verdict, word, left > 0, names)
            shown = word if in_words else sign
            notes.append(note(shown, left + column, y, color, "center") | {"name": f"short {sign}"})
        data.append(tile_map(head, places, tiles, hover))
    labels = [method_name(init) for init in others]
    rows = [cell.words(names) for cell in reversed(cells)]
    turned = {} if in_words else {"tickangle": -45}
    ends = [-0.6, columns[-1] + 0.6]
    drawn = layout(
        f"Better than {who}: {at_one} at one shared rate, {at_best} at best rates",
        f"{cells[0].words(shared)}; {unit}" if shared else unit,
        x=axis(f"method, against {who}", range=ends, tickvals=columns, ticktext=labels * 2, showgrid=False, **turned),
        y=categories_axis(rows, range=[-0.6, len(cells) + 0.2]),
        height=round(STUDY_ROW * (len(cells) + 0.8)), how=WINS_SENTENCE, revision="wins", closest=True, labels=notes,
        margin={"l": room_for(rows), "r": 14, **({} if in_words else {"b": 30 + round(0.75 * room_for(labels))})},
    )  # fmt: skip
    if in_words:
        drawn["meta"]["signs"] = SIGNS  # for a page on which the words do not fit
    return {"data": data, "layout": drawn}


def differences_figure(verdicts: Verdicts) -> Figure:
    """Draw the difference of every method from the reference, with its interval, on a band of those that are level."""
    study, who = verdicts.study, method_name(verdicts.study.reference)
    title = f"Test loss against {who}'s, each method at its best rate: left of zero is better"
    shown = [verdict for verdict in verdicts.each if verdict.method != study.reference]
    unit = (
        f"mean paired difference; thin line: 95% over {_over(verdicts, shown)}; thick: range over rates; "
        f"band: level, {100 * study.margin:.3g}% of {who}'s loss reduction"
    )
    name = f"test loss minus {who}'s, {unit_of(study)}"
    if not any(verdict.seeds for verdict in shown):
        why = f"No seed finished with both {who} and another method." if verdicts.rows else NOTHING
        return nothing_yet(title, unit, (name, "method"), why)
    cells = list(dict.fromkeys(verdict.cell for verdict in shown))
    several = len({verdict.cell for verdict in verdicts.each}) > 1
    names, shared = varying(study.cells())
    styles = method_styles([init for init in study.compare if init != study.reference])
    low, high = _span([verdict for verdict in shown if verdict.seeds])
    bands: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    notes, ticks = [], []
    y = len(shown) + len(cells) * several  # from the top down
    rows = y
    for cell in cells:
        of_cell = [verdict for verdict in shown if verdict.cell == cell]
        if several:
            y -= 1
            ticks.append(cell.words(names))
        bands += level_band(of_cell[0].margin, y - len(of_cell), y - 1)
        for verdict in of_cell:
            y -= 1
            style = styles[verdict.method]
            ticks.append(style.label)
            if verdict.seeds:
                data += _interval(verdict, style.color, style.label, y, names)
                marks, ends = _cut(verdict, style, y, (low, high))
                data, notes = data + marks, notes + ends
            words = f"{verdict.verdict}, {signed(verdict.interval.mean, SIGNED)}"
            notes.append(note(words, high, y, style.text, "left") | {"xshift": 8})
    drawn = layout(
        title, f"{study.cells()[0].words(shared)}; {unit}" if shared else unit,
        x=axis(name, range=[low, high], zeroline=True, zerolinecolor="@mute"),
        y=categories_axis(ticks, range=[-0.7, rows - 0.3], tickvals=list(range(rows))[::-1]),
        height=max(110, LINE_OF_TEXT * rows), how=FOREST, revision="differences", closest=True, labels=notes,
        margin={"l": room_for(ticks), "r": room_for([note["text"] for note in notes])}, shapes=[upright(0, 1)],
    )  # fmt: skip
    return {"data": bands + data, "layout": drawn}


def varying(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Return in which parts cells differ, and which they share.

    >>> varying([Cell("glassllm", "sentiment", 8), Cell("glassllm", "sentiment", 2)])
    (['r'], ['model', 'task'])
    """
    settings = [cell.settings for cell in cells]
    if len(cells) == 1:
        return [*settings[0]], []
    differing = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
    return differing, [name for name in settings[0] if name not in differing]


def _over(verdicts: Verdicts, shown: Sequence[Verdict]) -> str:
    """Say over what the intervals are: seeds and examples, as far as their results are known."""
    gaps = [verdict.difference.gap for verdict in shown if verdict.seeds]
    most = max([verdicts.study.seeds, *map(len, gaps)])
    seeds, of_test = up_to(most, verdicts.study.seeds), examples(verdicts, None, "test")
    if gaps and all(gap.shape[1] == 1 for gap in gaps):
        return f"{seeds} alone, {of_test}"
    return f"{of_test}, {seeds}" if most == 1 else f"{seeds} and {of_test}"


def _hover(verdict: Verdict, word: str, at_best: bool, names: Sequence[str]) -> str:
    """Return what a tile or an interval stands for."""
    head = f"{verdict.cell.words(names)}: {method_name(verdict.method)} is {word}"
    if not at_best:
        return f"{head} at {verdict.shared.words}" if verdict.shared else head
    rate = f" at {verdict.best.words}" if verdict.best else ""
    return "<br>".join(
        [f"{head}{rate}", *difference_words(verdict.difference, verdict.unit), *filter(None, [verdict.why])]
    )


def difference_words(difference: Difference, unit: str) -> list[str]:
    """Return a difference with its interval, and its range over the rates if it has one."""
    (mean, low, high, _), (least, most) = difference.interval, difference.over_rates
    ends = f" ({signed(low, SIGNED)} to {signed(high, SIGNED)})" if math.isfinite(low) else ""
    over = [f"over rates {signed(least, SIGNED)} to {signed(most, SIGNED)}"] if least < most else []
    return [f"{signed(mean, SIGNED)} {unit}{ends}", *over]


def note(text: str, x: float, y: float, color: str, anchor: str) -> dict[str, Any]:
    """Return words at a place."""
    return {
        "name": f"note {text}", "text": text, "x": x, "y": y, "xanchor": anchor,
        "yanchor": "middle", "showarrow": False, "font": {"size": 12, "color": color},
    }  # fmt: skip


def tile_map(
    name: str, places: Sequence[int], tiles: list[list[float | None]], hover: list[list[str]]
) -> dict[str, Any]:
    """Return tiles in the colours of verdicts: a row for each list, of places in `TILES`."""
    return {
        "type": "heatmap", "name": name, "x": list(places), "y": list(range(len(tiles))), "z": tiles,
        "zmin": -0.5, "zmax": len(TILES) - 0.5, "colorscale": _steps([color for color, _, _ in TILES.values()]),
        "showscale": False, "xgap": 2, "ygap": 2, "text": hover, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _steps(colors: Sequence[str]) -> list[list[Any]]:
    """Return a scale of equal steps."""
    n = len(colors)
    return [[end / n, color] for i, color in enumerate(colors) for end in (i, i + 1)]


def room_for(texts: Iterable[str]) -> int:
    """Return a margin that fits the longest text, in pixels."""
    return min(300, max(62, 18 + math.ceil(6.8 * max(map(len, texts), default=0))))


def whiskers(low: float, high: float, y: float, color: str) -> dict[str, Any]:
    """Return a horizontal interval with its caps, as a trace."""
    return {
        "type": "scatter", "mode": "lines", "x": [low, low, None, low, high, None, high, high],
        "y": [y - CAP, y + CAP, None, y, y, None, y - CAP, y + CAP], "hoverinfo": "skip",
        "line": {"color": color, "width": 2.2},
    }  # fmt: skip


def _span(shown: Sequence[Verdict]) -> tuple[float, float]:
    """Return the range of the differences: intervals far wider than the others are cut off."""
    ends = np.array([[*verdict.interval[1:3]] for verdict in shown])
    means = np.array([verdict.interval.mean for verdict in shown])
    margins = np.array([verdict.margin for verdict in shown])
    most = 4 * max(float(np.abs(means).max()), float(np.nan_to_num(margins).max()), 1e-6)
    values = np.clip(np.concatenate([ends.ravel(), means, margins, -margins, [0.0]]), -most, most)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def level_band(margin: float, bottom: float, top: float) -> list[dict[str, Any]]:
    """Return the band of the differences that do not matter, behind the rows of one cell."""
    if not math.isfinite(margin):
        return []
    edge = {
        "type": "scatter", "mode": "lines", "x": [-margin, margin], "hoverinfo": "skip",
        "name": "level", "line": {"color": "@line", "width": 0},
    }  # fmt: skip
    fill = {"fill": "tonexty", "fillcolor": "@line"}
    return [{**edge, "y": [bottom - 0.5] * 2}, {**edge, "y": [top + 0.5] * 2, **fill}]


def _interval(verdict: Verdict, color: str, label: str, y: float, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the interval with its caps, if it is finite, and the mean."""
    low, high = verdict.interval.low, verdict.interval.high
    common = {"name": label, "legendgroup": label}
    traces = [whiskers(low, high, y, color) | common] if math.isfinite(low) else []
    from_, to = verdict.difference.over_rates
    if from_ < to:
        thick = {"mode": "lines", "line": {"color": color, "width": 7}, "opacity": 0.45, "hoverinfo": "skip"}
        traces.insert(0, {"type": "scatter", "x": [from_, to], "y": [y, y], **thick, **common})
    words = {"text": [_hover(verdict, verdict.verdict, True, names)], "hovertemplate": "%{text}<extra></extra>"}
    symbol = "circle" if math.isfinite(low) else "circle-open"
    return [*traces, points([verdict.interval.mean], [y], color, 10, symbol=symbol, **words, **common)]


def _cut(
    verdict: Verdict, style: LaneStyle, y: float, bounds: tuple[float, float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return an arrow inside each end of the axis that an interval passes, and how far it goes."""
    marks, notes = [], []
    half = 0.012 * (bounds[1] - bounds[0])  # of an arrow, which else covers the names of the methods
    from_, to = verdict.difference.over_rates
    low, high = (end if math.isfinite(end) else verdict.interval.mean for end in verdict.interval[1:3])
    if from_ < to:
        low, high = min(low, from_), max(high, to)
    for end, edge, is_cut, symbol, anchor in (
        (low, bounds[0] + half, low < bounds[0], "triangle-left", "left"),
        (high, bounds[1] - half, high > bounds[1], "triangle-right", "right"),
    ):
        if is_cut:
            name = f"{style.label}, beyond the axis"
            common = {"legendgroup": style.label, "hoverinfo": "skip", "cliponaxis": False}
            marks.append(points([edge], [y], style.color, 11, symbol=symbol, name=name, **common))
            notes.append(note(signed(end, SIGNED), edge, y, style.text, anchor) | {"yshift": 10})
    return marks, notes


def claim_figure(claim: Claim, finding: Finding) -> Figure:
    """Draw the numbers on which a verdict rests, at least one, each with its 95% interval if it has one."""
    color = {HOLDS: "@ok", FAILS: "@bad"}.get(finding.verdict, "@mute")
    data: list[dict[str, Any]] = []
    ends = [0.0]
    for y, bar in enumerate(reversed(finding.bars)):
        data.append(
            {"type": "scatter", "mode": "lines", "x": [0, bar.value], "y": [y, y],
             "line": {"color": "@line", "width": 8}, "hoverinfo": "skip", "name": bar.label}
        )  # fmt: skip
        if bar.low is not None and bar.high is not None and math.isfinite(bar.high - bar.low):
            data.append(whiskers(bar.low, bar.high, y, color) | {"name": bar.label})
            ends += [bar.low, bar.high]
        text = {"text": [number(bar.value)], "textposition": "top center", "mode": "markers+text"}
        hover = {"hovertemplate": "%{x}<extra></extra>", "name": bar.label}
        data.append(points([bar.value], [y], color, 10) | text | hover)
        ends.append(bar.value)
    low, high = min(ends), max(ends)
    space = 0.08 * (high - low or 1.0)
    labels = [bar.label for bar in reversed(finding.bars)]
    whiskers_are = f"; {finding.interval_words}" if finding.interval_words else ""
    drawn = layout(
        f"{finding.verdict.capitalize()}: {claim.sentence}", f"claim {claim.number}{whiskers_are}",
        x=axis(finding.unit, range=[low - space, high + space], zeroline=True),
        y=categories_axis(labels, range=[-0.7, len(labels) - 0.2]), height=max(80, CLAIM_BAR * (len(labels) + 1)),
        revision=claim.name, closest=True, margin={"l": room_for(labels)},
    )  # fmt: skip
    return {"data": data, "layout": drawn}
