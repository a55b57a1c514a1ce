"""Figures of verdicts: differences with their intervals, and those of a claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import Figure, axis, categories_axis, layout, nothing_yet, points, upright
from olora_viz.figures.studies import examples, many, method_styles, name_of
from olora_viz.initializers import label_of
from olora_viz.machine.text import compact, number, signed
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts

TILES = {
    BETTER: ("@ok", "@on-accent", "✓"),
    WORSE: ("@bad", "@on-accent", "✗"),
    LEVEL: ("@mute", "@on-accent", "="),
    UNDECIDED: ("@soft", "@mute", "?"),
}
"""The colour of each verdict, of the text on it, and its sign where a word does not fit."""

WINS = (
    "Each tile is a model, task and rank: the verdict at one shared rate, and with each method "
    "at its own best rate. A method that wins only at the shared rate owes it to the rate."
)
FOREST = (
    "A point is a difference to the reference, its thin line the 95% interval over seeds and "
    "examples, and its thick line the range over the rates that the validation results cannot tell "
    "from the best ones. What crosses zero with either decides nothing; an interval inside the "
    "margin means level."
)
"""How to read the two charts."""

SIGNED = "+.2g"
"""The form of a difference."""

ROW, LINE = 30, 24
"""Heights in pixels: of a row of the table, and of an interval."""

MOST_WORDS = 8
"""With more columns than this, verdicts are signs."""

CAP = 0.18
"""Half the height of the caps of an interval, in rows."""

NOTHING = "No run of this study has ended yet."


def wins_figure(verdicts: Verdicts) -> Figure:
    """Draw every verdict as a tile: all methods at one rate, and each at its best.

    A row is a cell of the study. Where the two halves differ, the rate decided rather than the method.
    """
    study, who = verdicts.study, label_of(verdicts.study.reference)
    others = [init for init in study.inits if init != study.reference]
    compared = [verdict for verdict in verdicts.each if verdict.init != study.reference]
    halves = [[verdict.verdict_shared_rate for verdict in compared], [verdict.verdict for verdict in compared]]
    won = [sum(word == BETTER for word in half) for half in halves]
    title = (
        f"Better than {who}: {won[0]} of {len(compared)} at one shared rate, {won[1]} of {len(compared)} at best rates"
    )
    words = len(others) * 2 <= MOST_WORDS
    signs = "" if words else "; " + ", ".join(f"{sign} {word}" for word, (_, _, sign) in TILES.items())
    unit = f"by test loss; {many(study.seeds, 'seed')}, {examples(verdicts, None, 'test')}{signs}"
    cells = study.cells()
    if not verdicts.rows:
        return nothing_yet(f"Verdicts against {who}", unit, ("method", "cell"), NOTHING)
    columns = [*range(len(others)), *range(len(others) + 1, 2 * len(others) + 1)]
    names, shared = varying(cells)
    data: list[dict[str, Any]] = []
    notes = []
    for half, left, head in zip(
        halves, (0, len(others) + 1), ("all at one rate", "each at its best rate"), strict=True
    ):
        at_best = left > 0
        notes.append(_note(head, left + (len(others) - 1) / 2, len(cells) - 0.2, "@ink", "center"))
        tiles: list[list[float | None]] = [[None] * len(others) for _ in cells]
        hover = [[""] * len(others) for _ in cells]
        for verdict, word in zip(compared, half, strict=True):
            column, y = others.index(verdict.init), len(cells) - 1 - cells.index(verdict.cell)
            _, color, sign = TILES[word]
            tiles[y][column] = float(list(TILES).index(word))
            hover[y][column] = _hover(verdict, word, at_best, names)
            notes.append(_note(word if words else sign, left + column, y, color, "center"))
        data.append(
            {
                "type": "heatmap",
                "name": head,
                "x": list(range(left, left + len(others))),
                "y": list(range(len(cells))),
                "z": tiles,
                "zmin": -0.5,
                "zmax": len(TILES) - 0.5,
                "colorscale": _steps([color for color, _, _ in TILES.values()]),
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "text": hover,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    labels = [label_of(init) for init in others]
    rows = [name_of(cell, names) for cell in reversed(cells)]
    turned = {} if words else {"tickangle": -45}
    drawn = layout(
        title,
        f"{name_of(cells[0], shared)}; {unit}" if shared else unit,
        x=axis(
            f"method, against {who}",
            range=[-0.6, columns[-1] + 0.6],
            tickvals=columns,
            ticktext=labels * 2,
            showgrid=False,
            **turned,
        ),
        y=categories_axis(rows, range=[-0.6, len(cells) + 0.2]),
        height=round(ROW * (len(cells) + 0.8)),
        how=WINS,
        revision="wins",
        closest=True,
        labels=notes,
        margin={"l": room_for(rows), "r": 14, **({} if words else {"b": 30 + round(0.75 * room_for(labels))})},
    )
    return {"data": data, "layout": drawn}


def differences_figure(verdicts: Verdicts) -> Figure:
    """Draw the difference of every method from the reference, with its interval: a forest plot.

    The grey band holds the differences that do not matter.
    """
    study, who = verdicts.study, label_of(verdicts.study.reference)
    title = f"Test loss against {who}'s, each method at its best rate: left of zero is better"
    shown = [verdict for verdict in verdicts.each if verdict.init != study.reference]
    unit = (
        f"mean paired difference; thin line: 95% over {_over(verdicts, shown)}; thick: range over "
        f"rates; band: level, {100 * study.margin:.3g}% of {who}'s loss reduction"
    )
    name = f"test loss minus {who}'s, nats"
    if not any(verdict.seeds for verdict in shown):
        why = f"No seed finished with both {who} and another method." if verdicts.rows else NOTHING
        return nothing_yet(title, unit, (name, "method"), why)
    cells = list(dict.fromkeys(verdict.cell for verdict in shown))
    several = len({verdict.cell for verdict in verdicts.each}) > 1
    names, shared = varying(study.cells())
    styles = method_styles([init for init in study.inits if init != study.reference])
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
            ticks.append(name_of(cell, names))
        bands += _level(of_cell[0].margin, y - len(of_cell), y - 1)
        for verdict in of_cell:
            y -= 1
            style = styles[verdict.init]
            ticks.append(style.label)
            data += _interval(verdict, style.color, style.label, y, names) if verdict.seeds else []
            words = f"{verdict.verdict}, {signed(verdict.interval.mean, SIGNED)}"
            notes.append(_note(words, high, y, style.text, "left") | {"xshift": 8})
    drawn = layout(
        title,
        f"{name_of(study.cells()[0], shared)}; {unit}" if shared else unit,
        x=axis(name, range=[low, high], zeroline=True, zerolinecolor="@mute"),
        y=categories_axis(ticks, range=[-0.7, rows - 0.3], tickvals=list(range(rows))[::-1]),
        height=max(110, LINE * rows),
        how=FOREST,
        revision="differences",
        closest=True,
        labels=notes,
        margin={"l": room_for(ticks), "r": room_for([note["text"] for note in notes])},
        shapes=[upright(0, 1)],
    )
    return {"data": bands + data, "layout": drawn}


def varying(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Return in which parts cells differ, and which they share.

    >>> varying([Cell("glassllm", "sentiment", 8), Cell("glassllm", "sentiment", 2)])
    (['r'], ['model', 'task'])
    """
    if len(cells) == 1:
        return ["model", "task", "r"], []
    parts = {name: len({getattr(cell, name) for cell in cells}) for name in ("model", "task", "r")}
    return [n for n, count in parts.items() if count > 1], [n for n, c in parts.items() if c == 1]


def _over(verdicts: Verdicts, shown: Sequence[Verdict]) -> str:
    """Say over what the intervals are: seeds and examples, as far as their results are known."""
    gaps = [verdict.difference.gap for verdict in shown if verdict.seeds]
    seeds, of_test = many(verdicts.study.seeds, "seed"), examples(verdicts, None, "test")
    if gaps and all(gap.shape[1] == 1 for gap in gaps):
        return f"{seeds} alone, {of_test}"
    return f"{of_test}, {seeds}" if verdicts.study.seeds == 1 else f"{seeds} and {of_test}"


def _hover(verdict: Verdict, word: str, at_best: bool, names: Sequence[str]) -> str:
    """Return what a tile or an interval stands for."""
    head = f"{name_of(verdict.cell, names)}: {label_of(verdict.init)} is {word}"
    if not at_best:
        return f"{head} at {compact(verdict.shared_lr)}" if verdict.shared_lr else head
    rate = f" at {compact(verdict.best_lr)}" if verdict.best_lr else ""
    low, high = verdict.interval.low, verdict.interval.high
    ends = f" ({signed(low, SIGNED)} to {signed(high, SIGNED)})" if math.isfinite(low) else ""
    why = f"<br>{verdict.why}" if verdict.why else ""
    from_, to = verdict.difference.over_rates
    over = f"<br>over rates {signed(from_, SIGNED)} to {signed(to, SIGNED)}" if from_ < to else ""
    return f"{head}{rate}<br>{signed(verdict.interval.mean, SIGNED)} nats{ends}{over}{why}"


def _note(text: str, x: float, y: float, color: str, anchor: str) -> dict[str, Any]:
    return {
        "name": f"note {text}", "text": text, "x": x, "y": y, "xanchor": anchor,
        "yanchor": "middle", "showarrow": False, "font": {"size": 12, "color": color},
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


def _level(margin: float, bottom: float, top: float) -> list[dict[str, Any]]:
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


CLAIM_BAR = 28
"""Height of a bar in pixels."""

COLORS = {HOLDS: "@ok", FAILS: "@bad"}
"""The colours of verdicts; those of the others are plain."""


def claim_figure(claim: Claim, finding: Finding) -> Figure:
    """Draw the numbers on which a verdict rests, each with its 95% interval if it has one.

    Args:
        finding: with at least one bar.
    """
    color = COLORS.get(finding.verdict, "@mute")
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
        f"{finding.verdict.capitalize()}: {claim.sentence}",
        f"claim {claim.number}{whiskers_are}",
        x=axis(finding.unit, range=[low - space, high + space], zeroline=True),
        y=categories_axis(labels, range=[-0.7, len(labels) - 0.2]),
        height=max(80, CLAIM_BAR * (len(labels) + 1)),
        revision=claim.name,
        closest=True,
        margin={"l": room_for(labels)},
    )
    return {"data": data, "layout": drawn}
