"""Figures of a study: curves over rates, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    axis,
    band_edges,
    end_labels,
    layout,
    line,
    log_axis,
    log_range,
    nothing_yet,
    steps_axis,
)
from olora_viz.figures.rates import HIGHEST, rate_figure
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.studies.contest import Setting
from olora_viz.studies.sentences import and_
from olora_viz.studies.statistics import expected_best, performance_profile
from olora_viz.studies.story import Point, RateCurve
from olora_viz.studies.study import Cell, Study, Trial, grid_of, rates_tried, values_at, values_of
from olora_viz.studies.verdicts import Verdicts

BUDGET = (
    "The best loss to expect if only n of the rates had been tried. A method whose curve is low "
    "from the start is easy to tune."
)
TARGET = (
    "The share of seeds that had reached the final loss of the reference's run of the same seed by "
    "each step. Further left "
    "is faster; a curve that stays below 100% has seeds that never reached it."
)
PROFILE = (
    "The share of cells and seeds in which a method reached the target within a factor of the "
    "fastest one's steps. Higher and further left is better; a run that never reaches it counts as "
    "infinite."
)
"""How to read the charts."""

HEIGHT = 230
"""Height of the plot area in pixels."""

SHARES = (-0.04, 1.04)
"""The range of an axis of shares."""

FARTHEST = 16.0
"""The largest factor that is drawn."""


def rates_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the test loss against the learning rate, and mark the rates that validation chose."""
    study = verdicts.study
    valid, test = values_of(verdicts.rows, "valid_loss"), values_of(verdicts.rows, "test_loss")
    curves = [
        curve
        for init in study.inits
        if (curve := _rate_curve(study, cell, init, rates_tried(study, cell, init, valid), test))
    ]
    chosen = {label_of(verdict.init): verdict.best_lr for verdict in verdicts.of(cell) if verdict.best_lr}
    figure = rate_figure(curves, start_loss=_before(verdicts, cell, "test"), chosen=chosen)
    unit = f"nats, {examples(verdicts, cell, 'test')}, {_seeds(study, whole=False)}"
    figure["layout"]["meta"] |= {
        "title": f"Test loss by learning rate: {name_of(cell)}",
        "unit": f"{unit}; ○ chosen by validation loss; × diverged",
    }
    figure["layout"]["yaxis"]["title"]["text"] = "test loss, nats"
    return figure


def _before(verdicts: Verdicts, cell: Cell, part: str) -> float | None:
    """Return the base model's loss; None if no run of the cell has ended."""
    return next((row[f"base_{part}_loss"] for trial, row in verdicts.rows.items() if trial.cell == cell), None)


def _seeds(study: Study, *, whole: bool = True) -> str:
    """Return over how many seeds a curve goes, in words; unless it is whole, its rates may have had fewer."""
    seeds = f"{'' if whole or study.first_seeds == study.seeds else 'up to '}{many(study.seeds, 'seed')}"
    return f"mean and range of {seeds}" if study.seeds > 1 else seeds


def budget_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the expected lowest validation loss against the number of rates that are tried.

    One curve is made for each seed, over the rates that all methods got. Their mean is drawn, with a band from the
    lowest to the highest.
    """
    study, best = verdicts.study, budgets(verdicts, cell)
    title = f"What a larger budget of learning rates buys: {name_of(cell)}"
    unit = f"expected lowest of random rates, nats, {examples(verdicts, cell, 'valid')}, {_seeds(study)}"
    unit += _absent(study, best)
    names = "number of rates tried", "expected best validation loss, nats"
    if not best:
        why = "No rate has finished with every method and seed, or each has diverged."
        return nothing_yet(title, unit, names, why, HEIGHT)
    ceiling = HIGHEST * (_before(verdicts, cell, "valid") or math.inf)
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
    drawn = layout(
        title,
        unit,
        x=axis(names[0], range=[0.9, most + 0.1], tickvals=at, ticktext=[str(n) for n in at]),
        y=log_axis(names[1], low, high),
        height=HEIGHT,
        badge="log",
        how=BUDGET,
        revision="budget",
        labels=end_labels(ends, bounds=(low, high), height=HEIGHT),
    )
    return {"data": bands + data, "layout": drawn}


def budgets(verdicts: Verdicts, cell: Cell) -> dict[str, np.ndarray]:
    """Return the expected best validation loss of each method, (seeds, budgets 1, 2, …).

    Only rates that every method has run with every seed count; methods of which a seed diverged at each of them are
    left out.
    """
    study, valid = verdicts.study, values_of(verdicts.rows, "valid_loss")
    grid = [
        lr
        for lr in grid_of(study, cell, valid)
        if all(trial in valid for init in study.inits for trial in study.trials(cell, init, [lr]))
    ]
    losses = {init: values_at(study, cell, init, grid, valid) for init in study.inits}
    return {
        init: np.array([[expected_best(of_seed, n) for n in range(1, len(grid) + 1)] for of_seed in of_method.T])
        for init, of_method in losses.items()
        if len(grid) and np.isfinite(of_method).any(0).all()
    }


def target_figure(verdicts: Verdicts, cell: Cell) -> Figure:
    """Draw the share of seeds that have reached the reference's final loss, against the step.

    Each method races at its best rate. A seed that never gets there keeps its curve below 100%.
    """
    study = verdicts.study
    who = label_of(study.reference)
    title = f"When each method reaches {who}'s final validation loss: {name_of(cell)}"
    reached = {verdict.init: np.array(verdict.reached_at) for verdict in verdicts.of(cell) if verdict.reached_at}
    unit = (
        f"share of {many(study.seeds, 'seed')}, each method at its best rate, against {who}'s run "
        f"of the same seed; {examples(verdicts, cell, 'valid')}{_absent(study, reached)}"
    )
    names = "step", "share of seeds that got there"
    if not reached:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, HEIGHT)
    corners = {init: stairs(times, study.steps) for init, times in reached.items()}
    counts = {init: f": {int(np.isfinite(times).sum())} of {len(times)}" for init, times in reached.items()}
    return _shares(title, unit, steps_axis(study.steps), names[1], corners, counts, how=TARGET, revision="target")


def _shares(
    title: str,
    unit: str,
    x: dict[str, Any],
    name: str,
    corners: Mapping[str, tuple[Sequence[float], Any]],
    counts: Mapping[str, str],
    **more: Any,
) -> Figure:
    """Draw the share of runs that got there, as stairs, a curve for every method.

    Args:
        x: the horizontal axis.
        name: of the vertical axis.
        corners: of each method's stairs.
        counts: what stands after its name.
    """
    styles, data, ends = method_styles(corners), [], []
    for init, (at, shares) in corners.items():
        data.append(line(styles[init], np.array(shares), 2.2, x=list(at), hovertemplate="%{y:.0%}"))
        last = math.log10(at[-1]) if x.get("type") == "log" else at[-1]
        ends.append(CurveEnd.of(styles[init], last, float(shares[-1]), counts[init]))
    ticks = [0, 0.25, 0.5, 0.75, 1]
    y = axis(name, range=list(SHARES), tickformat=".0%", tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks])
    labels = end_labels(ends, bounds=SHARES, height=HEIGHT)
    return {"data": data, "layout": layout(title, unit, x=x, y=y, height=HEIGHT, labels=labels, **more)}


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


def method_styles(inits: Sequence[str] | Mapping[str, Any]) -> dict[str, LaneStyle]:
    """Return the style of every method."""
    return dict(zip(inits, lane_styles([Lane(init) for init in inits]), strict=True))


def name_of(cell: Cell, names: Sequence[str] = ("model", "task", "r")) -> str:
    """Return a cell in words; a task that is a file by its name.

    Args:
        names: the parts to give; without any, all of them.

    >>> name_of(Cell("glassllm", "sentiment", 8))
    'glassllm, sentiment, rank 8'
    """
    words = {"model": cell.model, "task": Path(cell.task).name, "r": f"rank {cell.r}"}
    return ", ".join(words[name] for name in names or words)


def many(count: int, noun: str) -> str:
    """Count something in words.

    >>> many(1, "seed"), many(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def examples(verdicts: Verdicts, cell: Cell | None, part: str) -> str:
    """Return on how many examples the losses rest: of one cell, or the range over all.

    Args:
        part: ``valid`` or ``test``.
    """
    counts = {
        int(count)
        for trial, row in verdicts.rows.items()
        if cell in (None, trial.cell) and math.isfinite(count := row.get(f"{part}_examples") or math.nan)
    }
    noun = {"valid": "validation example", "test": "test example"}[part]
    if not counts:
        return f"{noun}s"
    low, high = min(counts), max(counts)
    return many(high, noun) if low == high else f"{low} to {many(high, noun)}"


def _absent(study: Study, drawn: Mapping[str, Any]) -> str:
    """Name the methods without a curve, if others have one."""
    absent = [label_of(init) for init in study.inits if init not in drawn]
    return f"; no rate finished: {and_(absent)}" if drawn and absent else ""


def _rate_curve(
    study: Study, cell: Cell, init: str, rates: Sequence[float], values: Mapping[Trial, float]
) -> RateCurve | None:
    """Return a method's losses over its rates; None if no run of it has ended."""
    lane = replace(Lane(init, lr=1.0, r=cell.r), alpha=study.alpha)
    points = []
    for lr in rates:
        losses = tuple(values[trial] for trial in study.trials(cell, init, [lr]) if trial in values)
        if losses:
            out = sum(not math.isfinite(loss) for loss in losses)
            points.append(Point(lr, tuple(range(len(losses))), losses, out))
    return RateCurve(label_of(init), lane, Setting.of(lane), tuple(points)) if points else None


def profile_figure(verdicts: Verdicts) -> Figure:
    """Draw the share of all runs in which a method took at most some multiple of the fastest's steps to the
    reference's final loss, each at its best rate.

    A run that never gets there keeps its method's curve below 100%.
    """
    study, who = verdicts.study, label_of(verdicts.study.reference)
    times = times_to_target(verdicts)
    runs = next(iter(times.values())).size
    title = f"How often each method is among the fastest to {who}'s final validation loss"
    unit = (
        f"share of {many(runs, 'run')}: {many(study.seeds, 'seed')} in each of "
        f"{many(runs // study.seeds, 'cell')}, {examples(verdicts, None, 'valid')}; best rates; "
        "never there: infinite"
    )
    names = "steps, as a multiple of the fastest method's", "share of runs"
    if not runs:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, HEIGHT)
    stacked = np.array(list(times.values()))
    factors = _corners(stacked)
    corners = {
        init: (np.repeat(factors, 2)[1:].tolist(), np.repeat(shares, 2)[:-1])
        for init, shares in zip(times, performance_profile(stacked, factors), strict=True)
    }
    counts = {init: f": {int(np.isfinite(at).sum())} of {runs}" for init, at in times.items()}
    x = log_axis(names[0], -0.005, math.log10(float(factors[-1])) + 0.005)
    return _shares(title, unit, x, names[1], corners, counts, badge="log", how=PROFILE, revision="profile")


def times_to_target(verdicts: Verdicts) -> dict[str, np.ndarray]:
    """Return when each method reached the reference's final loss, over all cells and seeds.

    A method without a rate never does; cells without a final loss of the reference are left out.
    """
    study = verdicts.study
    cells = [cell for cell in study.cells() if any(verdict.reached_at for verdict in verdicts.of(cell))]
    never = [math.inf] * study.seeds  # of seeds that did not run
    reached = {(each.cell, each.init): (*each.reached_at, *never)[: study.seeds] for each in verdicts.each}
    return {init: np.array([at for cell in cells for at in reached[cell, init]], dtype=float) for init in study.inits}


def _corners(times: np.ndarray) -> np.ndarray:
    """Return the factors at which some method's share changes, from 1 to the end of the axis."""
    fastest = times.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # at step 0, or never
        ratios = (times / fastest).ravel()
    inside = ratios[np.isfinite(ratios) & (ratios >= 1) & (ratios <= FARTHEST)]
    return np.unique([1.0, *inside, min(FARTHEST, 1.1 * inside.max(initial=1.0))])
