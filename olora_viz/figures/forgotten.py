"""What lanes, or the methods of a study, learned against what they forgot; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    axis,
    crosses,
    layout,
    line,
    linear_range,
    log_axis,
    log_range,
    nothing_yet,
    points,
    upright,
)
from olora_viz.figures.race import RaceCurves, column
from olora_viz.figures.rates import examples, method_styles
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.tables import number_or_nan, plain
from olora_viz.machine.wording import and_, compact, counted
from olora_viz.measures.forgetting import AboutText
from olora_viz.measures.training import loss_unit
from olora_viz.races.fields import DPO, IMITATION, REINFORCE
from olora_viz.studies.claims.forgetting_by_kl import fitted, in_common, judge, logs_of, span_of
from olora_viz.studies.method import method_name
from olora_viz.studies.objectives import TASK_DRIFT, objective_of
from olora_viz.studies.rows import FORGOTTEN, column_of_link, losses_of, unit_of, values_of
from olora_viz.studies.search import rates_tried, seeds_of, values_at
from olora_viz.studies.study import Cell, Trial
from olora_viz.studies.verdicts import Verdicts

PLOT_HEIGHT = 330
"""Height of the plot area in pixels."""

LOSS_AXIS = 1.5
"""The loss axis ends at this multiple of the loss before the race; points above are not drawn."""

FORGOTTEN_TITLE = "Learned and forgotten"

AXIS = "drift, nats per token"

HOVER = "%{text}<extra></extra>"

NOTHING_YET = "No run of this study has ended yet."

ROOM = {"l": 74}
"""The margin beside numbers as long as those of a drift."""


def forgotten_figure(
    curves: RaceCurves, *, start_loss: float | None = None, text: AboutText | None = None, plain_text: bool = False
) -> Figure:
    """Draw every lane's path: its drift on the text to keep against its held-out loss, from step to step.

    The axis of the loss is logarithmic and reversed, so that a lane moves to the right as it learns, and up as it
    forgets. Lanes that differ only in their seed are one path, their mean, with a cross at its end: their range.

    Args:
        start_loss: held-out loss of the base model, nats.
        text: about the text to keep.
    """
    steps, groups, K = curves.steps, curves.groups, curves.lanes
    names = f"held-out loss, {loss_unit(plain_text)}", AXIS  # as short as a phone is narrow
    having = [step for step in steps if step.drift is not None and step.eval_loss is not None]
    if not having:
        message = "Nothing is measured yet." if text or not steps else "This race has no text to keep."
        return nothing_yet(FORGOTTEN_TITLE, "held-out loss and drift", names, message, PLOT_HEIGHT)
    at, loss, drift = [step.step for step in having], column(having, "eval_loss", K), column(having, "drift", K)
    if start_loss is not None:
        # A lane whose start does not keep the model's function has no known loss there.
        at, loss = [0, *at], np.vstack([curves.at_start(start_loss), loss])
        drift = np.vstack([np.zeros(K) if text is None else np.array(text.start_drift), drift])
    ceiling = LOSS_AXIS * float(np.nanmax(loss[:1], initial=0.0)) if start_loss is not None else math.inf
    off_scale = loss > ceiling
    loss, drift = (np.where(off_scale, np.nan, values) for values in (loss, drift))
    learned, moved = curves.means(loss), curves.means(drift)
    data, ends = [], []
    for k, (style, group, left) in enumerate(zip(curves.styles, groups, curves.left, strict=True)):
        shown = np.flatnonzero(np.isfinite(learned[:, k]) & np.isfinite(moved[:, k]))
        if not shown.size:
            continue
        last, x, y = shown[-1], learned[:, k], moved[:, k]
        hover = _hover(style.label, at, x, y)
        data.append(line(style, y, 2.0, marks=5, x=plain(x), **hover))
        data += _end(style, loss[last, list(group)], drift[last, list(group)], hover["text"][last], any(left))
        ends.append(CurveEnd.of(style, round(math.log10(x[last]), 4), float(y[last]), ": out" if any(left) else ""))
    front = _front(learned, moved)
    low, high = log_range([loss])
    top = float(np.nanmax(drift, initial=0.0)) or 1.0
    x = log_axis(names[0], low, high)
    seeded = max(map(len, groups))
    unit = (
        f"forgotten of {text.name if text else 'the text to keep'}",
        f"each path is a lane from step {at[0]} to step {at[-1]}{_every(at)}",
        f"crosses: range of {seeded} seeds" if seeded > 1 else "",
        "grey: the best trade-offs" if front else "",
        f"without losses above {ceiling:.3g}" if off_scale.any() else "",
    )
    how = (
        "A lane starts at the left, below, with the base model's loss and its predictions, and moves to the right "
        "as it learns and up as it forgets: its drift is KL(base‖lane) on the text to keep. Compare lanes at "
        "equal learning, one above the other: the lower one forgot less for it. No lane learned more and forgot "
        "less than one on the grey line."
    )
    drawn = layout(
        FORGOTTEN_TITLE, "; ".join(filter(None, unit)), x=x | {"range": x["range"][::-1]},
        y=axis(names[1], range=[-0.03 * top, 1.08 * top]), height=PLOT_HEIGHT, badge="log x", how=how,
        revision=curves.run or "forgotten", closest=True, ends=ends,
    )  # fmt: skip
    return {"data": front + data, "layout": drawn}


def _every(at: Sequence[int]) -> str:
    """Say how far apart the points are, if they are even; the last may be nearer."""
    apart = {after - before for before, after in list(pairwise(at))[:-1] or list(pairwise(at))}
    return f", a point every {apart.pop()} steps" if len(apart) == 1 else ""


def _hover(name: str, at: Sequence[int], loss: np.ndarray, drift: np.ndarray) -> dict[str, Any]:
    words = [f"{name} at step {n}: loss {x:.3g}, drift {y:.3g}" for n, x, y in zip(at, loss, drift, strict=True)]
    return {"text": words, "hovertemplate": HOVER}


def _end(style: LaneStyle, loss: np.ndarray, drift: np.ndarray, words: str, is_out: bool) -> list[dict[str, Any]]:
    """Return the mark at the end of a path, and the ranges of its seeds as a cross."""
    x, y = float(loss.mean()), float(drift.mean())
    common = {"name": style.label, "legendgroup": style.label}
    traces = []
    if len(loss) > 1:
        ends = [loss.min(), loss.max(), np.nan, x, x], [y, y, np.nan, drift.min(), drift.max()]
        cross = line(style, np.array(ends[1]), 1.4, x=plain(np.array(ends[0])), hoverinfo="skip")
        traces.append(cross | {"hovertemplate": None, "line": {"color": style.color, "width": 1.4}})
    place = plain(np.array([x])), plain(np.array([y]))
    hover = {"text": [words], "hovertemplate": HOVER}
    if is_out:
        return [*traces, crosses(style, *place, name=f"{style.label}, out", **hover)]
    edge = {"width": 2, "color": style.color}
    return [*traces, points(*place, style.color, 11, symbol=style.symbol, edge=edge, **common, **hover)]


def _front(learned: np.ndarray, moved: np.ndarray) -> list[dict[str, Any]]:
    """Return the line through the best trade-offs among the ends of all paths."""
    best = trade_offs(list(zip(learned[-1].tolist(), moved[-1].tolist(), strict=True)))
    if len(best) < 2:
        return []
    x, y = (plain(np.array(values)) for values in zip(*best, strict=True))
    look = {"line": {"color": "@mute", "width": 6}, "opacity": 0.3, "hoverinfo": "skip", "name": "best trade-offs"}
    return [{"type": "scatter", "mode": "lines", "x": x, "y": y, **look}]


def trade_offs(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the places of loss and drift of which none beats another in both, the lowest loss first.

    >>> trade_offs([(0.5, 1.0), (0.9, 0.2), (0.6, 1.5), (math.nan, 0.1)])
    [(0.5, 1.0), (0.9, 0.2)]
    """
    best: list[tuple[float, float]] = []
    for x, y in sorted(place for place in places if all(map(math.isfinite, place))):
        if not best or y < best[-1][1]:
            best.append((x, y))
    return best


class Traded(NamedTuple):
    """What each trial of a study has learned, what it has lost for it, and the words for both."""

    title: str
    names: tuple[str, str]
    """Of the axes."""
    learned: Mapping[Trial, float]
    """A loss, nats: low where it has learned much."""
    lost: Mapping[Trial, float]
    learned_words: str
    lost_words: str
    of: str
    """The examples."""
    lower: str
    """What it means that a method's line lies below another's."""
    nothing: str
    """Why there is nothing to draw."""
    is_log: bool
    """Of the axis of what is lost."""
    most: float = math.inf
    """The highest loss that is drawn."""


def front_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the trade-offs of each method of a study over its rates: mean drift against mean test loss.

    The axes are those of `forgotten_figure`, both logarithmic, so that equal ratios of drifts are equally far apart.
    """
    keeps = verdicts.study.keeps_text
    names = f"test loss, {unit_of(verdicts.study)} (learned: to the right)", AXIS
    base = next((float(row["base_test_loss"]) for row in verdicts.rows_of(cell)), math.inf)
    test, drift = (values_of(verdicts.rows, name) for name in ("test_loss", "drift"))
    traded = Traded(
        f"{FORGOTTEN_TITLE}, by rate", names, test, drift, "loss", "drift", examples(verdicts, cell, "test"),
        "it forgets less for the same loss; on the dotted line methods are compared at equal learning",
        NOTHING_YET if keeps else "This study has no text to keep.", True, LOSS_AXIS * base,
    )  # fmt: skip
    figure = _traded_figure(verdicts, cell, traded)
    equal = next((each.forgotten.at_equal.target for each in verdicts.of(cell) if each.forgotten), math.nan)
    high, low = figure["layout"]["xaxis"]["range"]
    if low <= math.log10(equal or math.nan) <= high:
        reference = method_name(verdicts.study.reference)
        figure["layout"]["shapes"] = [upright(equal, dash="dot")]
        figure["layout"]["meta"]["unit"] += f"; dotted: {reference}'s lowest loss, within the margin of level"
    return figure


def kept_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw target against retention of a chain, by rate: what was learned, and the rise of the loss since then."""
    names = "mean loss right after each link, nats (learned: to the right)", "rise on the earlier tasks, nats"
    columns = [column_of_link(number) for number in range(1, len(cell.links) + 1)]
    measures = {trial: row.get("measures", {}) for trial, row in verdicts.rows.items() if trial.cell == cell}
    learned = {t: float(np.mean([number_or_nan(of.get(name)) for name in columns])) for t, of in measures.items()}
    lost = {trial: number_or_nan(of.get(FORGOTTEN)) for trial, of in measures.items()}
    traded = Traded(
        "Learned and kept, by rate", names, learned, lost, "learned to", "risen by",
        f"held-out examples of {len(set(cell.links))} tasks",
        "the chain keeps more of the earlier tasks for as much learned",
        NOTHING_YET if len(columns) > 1 else "This task is not a chain.", False,
    )  # fmt: skip
    return _traded_figure(verdicts, cell, traded)


def _traded_figure(verdicts: Verdicts, cell: Cell, traded: Traded) -> Figure:
    """Draw a line and points for each method, with the rates that learn more to the right."""
    title, names = f"{traded.title}: {cell.words()}", traded.names
    data, ends, every = _by_rate(verdicts, cell, traded)
    unit = (
        f"means of {counted(verdicts.study.seeds, 'seed')}, {traded.of}; each point is a rate, the large open one "
        "chosen by validation; lines: each method's best trade-offs"
    )
    if not data:
        return nothing_yet(title, unit, names, traded.nothing, PLOT_HEIGHT)
    x, lost = log_axis(names[0], *log_range([every[:, 0]])), [every[:, 1]]
    level = axis(names[1], range=[*linear_range(lost)], zeroline=True)
    how = (
        f"Higher rates learn more, to the right, and forget more, up. Where a method's line is lower, {traded.lower}."
    )
    drawn = layout(
        title, unit, x=x | {"range": x["range"][::-1]},
        y=log_axis(names[1], *log_range(lost)) if traded.is_log else level, height=PLOT_HEIGHT, how=how,
        revision=traded.title, closest=True, ends=ends, margin=ROOM,
    )  # fmt: skip
    return {"data": data, "layout": drawn}


def _by_rate(
    verdicts: Verdicts, cell: Cell, traded: Traded
) -> tuple[list[dict[str, Any]], list[CurveEnd], np.ndarray]:
    """Return a line and points for each method, the ends of the lines, and all places (n, 2)."""
    study, valid = verdicts.study, losses_of(verdicts.study, verdicts.rows)
    styles, data, ends, every = method_styles(study.compare), [], [], []
    for verdict in verdicts.of(cell):
        style, rates, means = styles[verdict.method], rates_tried(study, cell, verdict.method, valid), {}
        for lr in rates:
            seeds = seeds_of(study, cell, verdict.method, lr, valid)
            if seeds:
                at, lost = (
                    float(values_at(study, cell, verdict.method, [lr], values, seeds).mean())
                    for values in (traded.learned, traded.lost)
                )
                has_place = math.isfinite(lost) and (lost > 0 or not traded.is_log)
                means |= {lr: (at, lost)} if has_place and at <= traded.most else {}
        if not means:
            continue
        best = trade_offs(list(means.values()))
        every += means.values()
        words = {
            lr: f"{style.label} at {compact(lr)}: {traded.learned_words} {x:.3g}, {traded.lost_words} {y:.3g}"
            for lr, (x, y) in means.items()
        }
        hover = {"hovertemplate": HOVER, "name": style.label, "legendgroup": style.label}
        x, y = (plain(np.array(values)) for values in zip(*best, strict=True))
        data.append(line(style, np.array(y), 2.2, x=x, hoverinfo="skip") | {"hovertemplate": None})
        for lr, (at, lost) in means.items():
            is_chosen, beaten = lr == verdict.best_lr, (at, lost) not in best
            edge = {"width": 2, "color": style.color}
            symbol = f"{style.symbol}-open" if is_chosen or beaten else style.symbol
            mark = points(
                plain(np.array([at])), plain(np.array([lost])), style.color, 12 if is_chosen else 7,
                symbol=symbol, edge=edge, text=[words[lr]],
            )  # fmt: skip
            data.append(mark | hover)
        end = math.log10(best[0][1]) if traded.is_log else best[0][1]
        ends.append(CurveEnd.of(style, math.log10(best[0][0]), end))
    return data, ends, np.array(every).reshape(-1, 2)


LOOKS = {IMITATION: ("@ink", "circle"), DPO: ("@mute", "square-open"), REINFORCE: ("@accent", "diamond")}
"""The colour and the mark of each objective; no initialization has these colours."""


def kl_figure(verdicts: Verdicts) -> Figure:
    """Draw every lane's drift on the text to keep against its KL on the task, and the curve of `forgetting_by_kl`.

    That is one parabola, moved up or down for each objective by as much as the claim is judged by.
    """
    study, finding, curves = verdicts.study, judge(verdicts), {}
    names, title = ("KL(base‖lane) on the task, nats per token", AXIS), "Forgotten by the KL to the base on the task"
    unit = f"a point is a lane; {examples(verdicts, None, 'valid')}, {counted(study.seeds, 'seed')}"
    columns = [values_of(verdicts.rows, name) for name in (TASK_DRIFT, "drift")]
    places = {trial: [of[trial] for of in columns] for trial in verdicts.rows if all(of[trial] > 0 for of in columns)}
    if not places:
        return nothing_yet(title, unit, names, finding.words, PLOT_HEIGHT)
    if finding.bars:
        logs = in_common(logs_of(verdicts))
        (moved, explained, parabola), at = fitted(logs), np.linspace(*span_of(logs), 40)
        heights = np.polyval(parabola.mean(0), at) + np.array([0.0, *moved.mean(0)])[:, None]
        curves = {objective: np.exp([at, height]) for objective, height in zip(logs, heights, strict=True)}
        factors = and_([f"{bar.value:.2g} times for {bar.label}" for bar in finding.bars])
        unit += f"; lines: one curve, at {factors}; alone it explains {explained:.0%} of the variance"
    both = zip(names, np.array([*places.values()]).T, strict=True)
    axes = [log_axis(name, *log_range([values])) for name, values in both]
    data, drawn, ends = [], [], []
    for objective in study.values("objective"):
        color, symbol = LOOKS[objective]
        style = LaneStyle(objective, objective, color, color, "solid", symbol)
        of = {trial: place for trial, place in places.items() if objective_of(study, trial.cell) == objective}
        text = [
            f"{objective}, {method_name(t.method)} at {compact(t.lr)}, seed {t.seed}: KL {kl:.3g}, drift {drift:.3g}"
            for t, (kl, drift) in of.items()
        ]
        kl, drift = np.array([*of.values()]).reshape(-1, 2).T
        look = {"symbol": symbol, "opacity": 0.5, "name": objective, "legendgroup": objective}
        data.append(points(plain(kl), plain(drift), color, 6, text=text, hovertemplate=HOVER, **look))
        if objective in curves:
            kl, drift = curves[objective]
            drawn.append(line(style, drift, 2.2, x=plain(kl), hoverinfo="skip"))
        if of:
            ends.append(CurveEnd.of(style, axes[0]["range"][1], math.log10(drift.max())))
    how = (
        "Further right a lane answers the task less as the base does; further up it has changed more on the text to "
        "keep. If what is forgotten were a function of the KL on the task, all objectives would lie on one curve."
    )
    laid = layout(
        title, unit, x=axes[0], y=axes[1], height=PLOT_HEIGHT, how=how, revision="kl", closest=True, ends=ends,
        margin=ROOM,
    )  # fmt: skip
    return {"data": data + drawn, "layout": laid}
