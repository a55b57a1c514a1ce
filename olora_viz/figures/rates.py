"""Losses and measurements over the learning rate, of a race and of a study; pure functions, see `figures.layout`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    axis,
    band_edges,
    crosses,
    layout,
    line,
    linear_range,
    log_axis,
    log_range,
    nothing_yet,
    points,
)
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.machine.tables import plain
from olora_viz.machine.wording import and_, compact, counted
from olora_viz.measures.training import loss_unit
from olora_viz.races.fields import DPO
from olora_viz.races.step import Step, held_out_count
from olora_viz.studies.contest import Setting
from olora_viz.studies.method import lane_of, method_name
from olora_viz.studies.objectives import SAMPLED, objective_of
from olora_viz.studies.rewards import LATE, late
from olora_viz.studies.rows import losses_of, unit_of, values_of
from olora_viz.studies.search import grid_of, rates_tried, values_at
from olora_viz.studies.statistics import expected_best
from olora_viz.studies.story import Point, RateCurve, curves_of, rate_curves
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdicts

PLOT_HEIGHT = 250
"""Height of the plot area in pixels."""

STUDY_HEIGHT = 230
"""The same of a curve of a study, of which there are more."""

LOSS_AXIS = 2.0
"""The loss axis ends at this multiple of the loss before the race; losses above are marked at its upper end."""

FAR = 30.0
"""Rates beyond this multiple of the highest one with a loss are drawn at the right end."""

MOST_TICKS = 9
"""Maximum number of tick labels on the axis of rates."""

LOSS_TITLES = {"final": "Final held-out loss", "best": "Best held-out loss"}

PAIRS = "test_accuracy"

SHARES = {SAMPLED: "Probability of the right test answer", PAIRS: "Test pairs ranked right"}
"""The columns of `reward_figure`, under rewards and under preferences, in words."""

AXES = ("learning rate", "held-out loss, nats")

BUDGET = (
    "The best loss to expect if only n of the rates had been tried. A method whose curve is low from the start is "
    "easy to tune."
)


def rate_figure(
    curves: Sequence[RateCurve],
    measure: str = "final",
    *,
    start_loss: float | None = None,
    plain_text: bool = False,
    examples: int = 0,
    run: str = "",
    chosen: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a curve for every start, its optimum, and its seeds as a band, on log axes.

    Rates at which a seed diverged or the loss is off the scale are crosses at the top.

    Args:
        curves: of `rate_curves`, by the same measure, one of `LOSS_TITLES`.
        start_loss: held-out loss before the race, nats.
        examples: number of held-out examples; 0 if unknown.
        run: changes with the race, see `measure_figure`.
        chosen: the rates to mark, by the curves' labels; None for those of the optima.
    """
    if chosen is None:
        chosen = {curve.label: curve.optimum.lr for curve in curves if curve.optimum}
    title = f"{LOSS_TITLES[measure]} against learning rate"
    nats = loss_unit(plain_text) + (f", {counted(examples, 'held-out example')}" if examples else "")
    seeds = max((curve.seeds for curve in curves), default=1)
    unit = f"{nats}{f'; mean and range of {seeds} seeds' if seeds > 1 else ''}; ○ optimum, × diverged"
    tried = [point for curve in curves for point in curve.points]
    ceiling = math.inf if start_loss is None else LOSS_AXIS * start_loss
    losses = [loss for point in tried for loss in point.known if loss <= ceiling]
    if not losses and not any(point.diverged for point in tried):
        return nothing_yet(title, unit, AXES, "Nothing is evaluated yet.", PLOT_HEIGHT)
    low, high = log_range([np.array(losses)])
    high += 0.09 * (high - low)  # for the crosses
    rates = sorted({point.lr for point in tried})
    most = FAR * max((point.lr for point in tried if _on_scale(point, ceiling)), default=rates[0])
    data, ends = _traces(curves, ceiling, chosen, math.log10)
    off_scale = _crosses(curves, curve_styles(curves), ceiling, (low, high), most)
    how = (
        "Too low a rate learns slowly, too high a rate diverges. Compare the lowest points of the curves, not their "
        "values at one rate."
    )
    drawn = layout(
        title, unit, x=_rates_axis(rates, most), y=log_axis(AXES[1], low, high), height=PLOT_HEIGHT, how=how,
        revision=run or "rates", closest=True, ends=ends,
    )  # fmt: skip
    return {"data": data + off_scale, "layout": drawn}


def _rates_axis(rates: Sequence[float], most: float = math.inf) -> dict[str, Any]:
    """Return the axis of rates, the lowest first, up to the highest that is drawn."""
    first, last = log_range([np.minimum(rates, most)])
    ticks = [rate for rate in rates if rate <= most]
    ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]  # all that were tried, or every second one, and so on
    axis = log_axis(AXES[0], min(first, math.log10(min(rates[0], most)) - 0.08), last + 0.05)
    return axis | {"tickvals": ticks, "ticktext": _apart(ticks)}


def _traces(
    curves: Sequence[RateCurve], ceiling: float, chosen: Mapping[str, float], place: Callable[[float], float]
) -> tuple[list[dict[str, Any]], list[CurveEnd]]:
    """Return the bands and the curves above them, and the ends of these, whose height is the place of a mean."""
    bands, data, ends = [], [], []
    for curve, style in zip(curves, curve_styles(curves).values(), strict=True):
        bands += _band(curve, style, ceiling)
        data += _curve(curve, style, ceiling, chosen.get(curve.label))
        if shown := [point for point in curve.points if _on_scale(point, ceiling)]:
            ends.append(CurveEnd.of(style, round(math.log10(shown[-1].lr), 4), place(shown[-1].mean)))
    return bands + data, ends


def curve_styles(curves: Sequence[RateCurve]) -> dict[str, LaneStyle]:
    """Return the style of every curve by its label."""
    styles = lane_styles([curve.lane for curve in curves])
    return {curve.label: style for curve, style in zip(curves, styles, strict=True)}


def _on_scale(point: Point, ceiling: float) -> bool:
    return point.mean <= ceiling  # not where it is NaN


def _band(curve: RateCurve, style: LaneStyle, ceiling: float) -> list[dict[str, Any]]:
    """Return the edges of the band of a curve's seeds, and the seeds."""
    if curve.seeds == 1:
        return []
    low, high = (
        np.array([end(p.known) if _on_scale(p, ceiling) else math.nan for p in curve.points]) for end in (min, max)
    )
    edges = band_edges(style, [point.lr for point in curve.points], low, high)
    losses = [(p.lr, loss) for p in curve.points for loss in p.known if loss <= ceiling]
    y = plain(np.array([loss for _, loss in losses]))
    common = {"name": style.label, "legendgroup": style.label, "line": {"color": style.color, "width": 0}}
    seeds = points([lr for lr, _ in losses], y, style.color, 3.5, opacity=0.45, hoverinfo="skip", **common)
    return [*edges, seeds]


def _curve(curve: RateCurve, style: LaneStyle, ceiling: float, chosen: float | None) -> list[dict[str, Any]]:
    """Return the means of a curve, and a ring around one of them."""
    means = np.array([p.mean if _on_scale(p, ceiling) else math.nan for p in curve.points])
    drawn = [line(style, means, 2.2, marks=6, x=[point.lr for point in curve.points], **_hover(curve, curve.points))]
    best = next((point for point in curve.points if point.lr == chosen), None)
    if best is not None and _on_scale(best, ceiling):
        common = {"name": style.label, "legendgroup": style.label, "hoverinfo": "skip"}
        y = plain(np.array([best.mean]))
        drawn.append(points([best.lr], y, style.color, 15, symbol="circle-open", edge={"width": 2}, **common))
    return drawn


def _crosses(
    curves: Sequence[RateCurve], styles: dict[str, LaneStyle], ceiling: float, bounds: tuple[float, float], most: float
) -> list[dict[str, Any]]:
    """Return a cross at the top for every rate that does not fit on the scale."""
    low, high = bounds
    above: Counter[float] = Counter()  # the crosses at a rate
    traces = []
    for curve in curves:
        off = [p for p in curve.points if p.diverged or p.mean > ceiling]
        if not off:
            continue
        places = []
        for point in off:
            places.append(10 ** (high - (0.03 + 0.055 * above[point.lr]) * (high - low)))
            above[point.lr] += 1
        style = styles[curve.label]
        x, y = [min(point.lr, most) for point in off], plain(np.array(places))
        traces.append(crosses(style, x, y, name=f"{style.label}, off the scale", **_hover(curve, off)))
    return traces


def _hover(curve: RateCurve, points: Sequence[Point]) -> dict[str, Any]:
    """Return the hover texts of points."""
    words = []
    for point in points:
        count = len(point.lanes)
        if point.diverged:
            what = f"{'' if count == 1 else f'{point.diverged} of {count} seeds '}diverged"
        else:
            what = f"{point.mean:.3g}"
            what += f" ({min(point.known):.3g} to {max(point.known):.3g})" if count > 1 and point.known else ""
        words.append(f"{curve.label} at {compact(point.lr)}: {what}")
    return {"text": words, "hovertemplate": "%{text}<extra></extra>"}


def _apart(rates: Sequence[float]) -> list[str]:
    """Return the tick labels: blank where they would meet on a narrow screen, the longest first.

    >>> _apart([1e-4, 3e-4, 1e-3, 1.73e-3, 3e-3, 5.48e-3, 1e-2])
    ['1e-4', '3e-4', '1e-3', '', '3e-3', '', '1e-2']
    """
    if not rates:
        return []
    gap = math.log10(max(rates) / min(rates)) / 7
    named: list[float] = []
    for rate in sorted(rates, key=lambda rate: (len(compact(rate)), rate)):
        if all(abs(math.log10(rate / other)) >= gap for other in named):
            named.append(rate)
    return [compact(rate) if rate in named else "" for rate in rates]


def _curves_of(verdicts: Verdicts, cell: Cell, key: str) -> tuple[list[RateCurve], dict[str, float], str]:
    """Return a curve of a column for every method, the rate that validation chose for each, and the seeds in words."""
    study = verdicts.study
    valid, known = losses_of(study, verdicts.rows), values_of(verdicts.rows, key)
    most = max([study.seeds, *(len(verdict.valid_losses) for verdict in verdicts.of(cell))])
    curves = []
    for init in study.compare:
        points = []
        for lr in rates_tried(study, cell, init, valid):
            values = tuple(known[trial] for trial in study.trials(cell, init, [lr], most) if trial in known)
            if values:
                diverged = sum(not math.isfinite(value) for value in values)
                points.append(Point(lr, tuple(range(len(values))), values, diverged))
        if points:
            lane = replace(study.lane_in(cell, init), lr=1.0)
            curves.append(RateCurve(method_name(init), lane, Setting.of(lane), tuple(points)))
    chosen = {method_name(verdict.method): verdict.best_lr for verdict in verdicts.of(cell) if verdict.best_lr}
    return curves, chosen, f"{_range_of(most, study.first_seeds)}; ○ chosen by validation loss"


def study_rates_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the test loss against the learning rate, and mark the rates that validation chose."""
    curves, chosen, seeds = _curves_of(verdicts, cell, "test_loss")
    figure, nats = (
        rate_figure(curves, start_loss=_before(verdicts, cell, "test"), chosen=chosen),
        unit_of(verdicts.study),
    )
    figure["layout"]["meta"] |= {
        "title": f"Test loss by learning rate: {cell.words()}",
        "unit": f"{nats}, {examples(verdicts, cell, 'test')}, {seeds}; × diverged",
    }
    figure["layout"]["yaxis"]["title"]["text"] = f"test loss, {nats}"
    return figure


def measured_rates_figure(verdicts: Verdicts, cell: Cell, key: str) -> Figure:
    """Draw a column at the end of each run against the learning rate, and mark the rates that validation chose.

    Args:
        key: one of `Verdicts.own_measures` or of `SHARES`.
    """
    title = SHARES.get(key) or verdicts.own_measures[key]
    curves, chosen, seeds = _curves_of(verdicts, cell, key)
    of, form = (examples(verdicts, cell, "test"), {"tickformat": ".0%"}) if key in SHARES else ("at the end", {})
    head, unit = f"{title} by learning rate: {cell.words()}", f"{of}, {seeds}"
    if not any(point.known for curve in curves for point in curve.points):
        return nothing_yet(head, unit, (AXES[0], title), "No run of this cell has it.", STUDY_HEIGHT)
    return _linear_figure(curves, head, unit, axis(title, **form), chosen, key)


def _linear_figure(
    curves: Sequence[RateCurve], title: str, unit: str, y: dict[str, Any], chosen: Mapping[str, float], revision: str
) -> Figure:
    """Draw a curve for every start, with its seeds as a band, on an axis that is not logarithmic."""
    known = [np.array(point.known) for curve in curves for point in curve.points]
    data, ends = _traces(curves, math.inf, chosen, float)
    x, y = _rates_axis(sorted({point.lr for curve in curves for point in curve.points})), dict(y)
    y["range"] = [*linear_range(known)]
    drawn = layout(title, unit, x=x, y=y, height=STUDY_HEIGHT, revision=revision, closest=True, ends=ends)
    return {"data": data, "layout": drawn}


def reward_by_rate_figure(lanes: Sequence[Lane], steps: Sequence[Step], run: str = "") -> Figure:
    """Draw the reward of a race's last steps against the learning rate.

    Args:
        lanes: all of the race.
        steps: those so far, at least one.
        run: changes with the race, see `measure_figure`.
    """
    curves = curves_of(lanes, late(steps, "reward"), steps[-1].out)
    chosen = {curve.label: curve.optimum.lr for curve in rate_curves(lanes, steps) if curve.optimum}
    seeds, last = max(curve.seeds for curve in curves), counted(min(LATE, len(steps)), "step")
    examples = counted(held_out_count(steps), "held-out example")
    unit = f"mean of the last {last}; {_range_of(seeds, seeds)}; ○ lowest loss, {examples}"
    return _linear_figure(curves, "Reward against learning rate", unit, axis("reward"), chosen, run or "rewards")


def reward_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw what lanes get better at under rewards, or under preferences, against the learning rate."""
    return measured_rates_figure(verdicts, cell, PAIRS if objective_of(verdicts.study, cell) == DPO else SAMPLED)


def _before(verdicts: Verdicts, cell: Cell, part: str) -> float | None:
    """Return the base model's loss; None if no run of the cell has ended."""
    return next((row[f"base_{part}_loss"] for trial, row in verdicts.rows.items() if trial.cell == cell), None)


def _range_of(seeds: int, least: int) -> str:
    """Return over how many seeds a curve goes, in words."""
    return f"mean and range of {up_to(seeds, least)}" if seeds > 1 else "1 seed"


def up_to(seeds: int, least: int) -> str:
    """Return a number of seeds in words, of which some may have only the least."""
    return f"{'up to ' if least < seeds else ''}{counted(seeds, 'seed')}"


def budget_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the expected lowest validation loss against the number of rates that are tried.

    Each seed has a curve, over the rates that all methods got. Their mean is drawn, with a band over their range.
    """
    study, best = verdicts.study, budgets(verdicts, cell)
    title = f"What a larger budget of learning rates buys: {cell.words()}"
    over = f"{examples(verdicts, cell, 'valid')}, {_range_of(study.seeds, study.seeds)}"
    unit = f"expected lowest of random rates, {unit_of(study)}, {over}{absent(study, best)}"
    names = "number of rates tried", f"expected best validation loss, {unit_of(study)}"
    if not best:
        why = "No rate has finished with every method and seed, or each has diverged."
        return nothing_yet(title, unit, names, why, STUDY_HEIGHT)
    ceiling = LOSS_AXIS * (_before(verdicts, cell, "valid") or math.inf)
    low, high = log_range([np.minimum(curves, ceiling) for curves in best.values()])
    styles = method_styles(best)
    most = next(iter(best.values())).shape[1]
    at = list(range(1, most + 1))
    bands: list[dict[str, Any]] = []
    data, ends = [], []
    for init, curves in best.items():
        style, mean = styles[init], curves.mean(0)
        bands += band_edges(style, at, curves.min(0), curves.max(0)) if len(curves) > 1 else []
        data.append(line(style, mean, 2.2, marks=5, x=at))
        end = min(max(math.log10(mean[-1]), low), high) if mean[-1] > 0 else low
        ends.append(CurveEnd.of(style, most, end))
    x = axis(names[0], range=[0.9, most + 0.1], tickvals=at, ticktext=[str(n) for n in at])
    y = log_axis(names[1], low, high)
    drawn = layout(title, unit, x=x, y=y, height=STUDY_HEIGHT, how=BUDGET, revision="budget", ends=ends)
    return {"data": bands + data, "layout": drawn}


def budgets(verdicts: Verdicts, cell: Cell) -> dict[str, np.ndarray]:
    """Return the expected best validation loss of each method, (seeds, budgets 1, 2, …).

    Only rates that every method has run with every seed count. Methods with a seed that always diverged are left out,
    and those that keep their own rate.
    """
    study, valid = verdicts.study, values_of(verdicts.rows, "valid_loss")
    grid = [
        lr
        for lr in grid_of(study, cell, valid)
        if all(trial in valid for init in study.tuned_methods for trial in study.trials(cell, init, [lr]))
    ]
    losses = {init: values_at(study, cell, init, grid, valid) for init in study.tuned_methods}
    return {
        init: np.array([[expected_best(of_seed, n) for n in range(1, len(grid) + 1)] for of_seed in of_method.T])
        for init, of_method in losses.items()
        if len(grid) and np.isfinite(of_method).any(0).all()
    }


def method_styles(methods: Sequence[str] | Mapping[str, Any]) -> dict[str, LaneStyle]:
    """Return the style of every method."""
    lanes, names = [lane_of(method) for method in methods], [method_name(method) for method in methods]
    return dict(zip(methods, lane_styles(lanes, names), strict=True))


def examples(verdicts: Verdicts, cell: Cell | None, part: str) -> str:
    """Return on how many examples the losses of a part, ``valid`` or ``test``, rest: of one cell, or of all."""
    rows = (row for trial, row in verdicts.rows.items() if cell in (None, trial.cell))
    counts = [row.get(f"{part}_examples") or math.nan for row in rows]
    counts = [int(count) for count in counts if math.isfinite(count)]
    noun = {"valid": "validation example", "test": "test example"}[part]
    if not counts:
        return f"{noun}s"
    low, high = min(counts), max(counts)
    return f"{'' if low == high else f'{low} to '}{high} {noun}{'s' * (high != 1)}"


def absent(study: Study, drawn: Mapping[str, Any]) -> str:
    """Name the methods without a curve, if others have one."""
    absent = [method_name(init) for init in study.compare if init not in drawn]
    return f"; no rate finished: {and_(absent)}" if drawn and absent else ""
