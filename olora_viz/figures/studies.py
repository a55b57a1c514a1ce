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
    annotate,
    axis,
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
from olora_viz.machine.text import plain
from olora_viz.studies.fields import Setting
from olora_viz.studies.plan import grid_of, rates_tried, values_at
from olora_viz.studies.sentences import and_
from olora_viz.studies.statistics import expected_best, performance_profile
from olora_viz.studies.story import Point, RateCurve
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts, values_of

BUDGET = (
    "The best loss to expect if only n of the rates had been tried. A method whose curve is low "
    "from the start is easy to tune."
)
TARGET = (
    "The share of seeds that had reached the final loss of the reference's run of the same seed by "
    "each step. Further left "
    "is faster; a curve that stays below 100% has seeds that never reached it."
)
"""How to read the two charts."""

HEIGHT = 230
"""Height of the plot area in pixels."""


def rates_figure(found: Verdicts, cell: Cell) -> Figure:
    """Draw the test loss against the learning rate, and mark the rates that validation chose."""
    study, its = found.study, found.of(cell)
    valid, test = values_of(found.rows, "valid_loss"), values_of(found.rows, "test_loss")
    curves = [
        curve
        for init in study.inits
        if (curve := _rate_curve(study, cell, init, rates_tried(study, cell, init, valid), test))
    ]
    base = [row["base_test_loss"] for trial, row in found.rows.items() if trial.cell == cell]
    chosen = {label_of(one.init): one.best_lr for one in its if one.best_lr}
    made = rate_figure(curves, start_loss=base[0] if base else None, chosen=chosen)
    title = f"Test loss by learning rate: {name_of(cell)}"
    seeds = f"{'up to ' if study.first_seeds < study.seeds else ''}{many(study.seeds, 'seed')}"
    unit = (
        f"nats, {examples(found, cell, 'test')}, "
        f"{f'mean and range of {seeds}' if study.seeds > 1 else seeds}; "
        "○ chosen by validation loss; × diverged"
    )
    made["layout"]["meta"] |= {"title": title, "unit": unit}
    made["layout"]["yaxis"]["title"]["text"] = "test loss, nats"
    return made


def budget_figure(found: Verdicts, cell: Cell) -> Figure:
    """Draw the expected lowest validation loss against the number of rates that are tried.

    One curve is made for each seed, over the rates that all methods got. Their mean is drawn, with a band from the
    lowest to the highest.
    """
    study, best = found.study, budgets(found, cell)
    title = f"What a larger budget of learning rates buys: {name_of(cell)}"
    seeds = many(study.seeds, "seed")
    unit = (
        f"expected lowest of random rates, nats, {examples(found, cell, 'valid')}, "
        f"{f'mean and range of {seeds}' if study.seeds > 1 else seeds}{_absent(study, best)}"
    )
    names = "number of rates tried", "expected best validation loss, nats"
    if not best:
        why = "No rate has finished with every method and seed, or each has diverged."
        return nothing_yet(title, unit, names, why, HEIGHT)
    base = [row["base_valid_loss"] for trial, row in found.rows.items() if trial.cell == cell]
    low, high = log_range([np.minimum(curves, HIGHEST * base[0]) for curves in best.values()])
    styles = method_styles(best)
    most = next(iter(best.values())).shape[1]
    at = list(range(1, most + 1))
    data: list[dict[str, Any]] = []
    for init, curves in best.items():
        data += _band(styles[init], at, curves) if len(curves) > 1 else []
    ends = []
    for init, curves in best.items():
        style, mean = styles[init], curves.mean(0)
        mark = {"color": style.color, "size": 5, "symbol": style.symbol}
        data.append(
            line(style, mean, 2.2, x=at, name=style.label, legendgroup=style.label, mode="lines+markers", marker=mark)
        )
        ends.append(CurveEnd(style.label, init, style.text, most, _on(mean[-1], low, high)))
    x = axis(names[0], range=[0.9, most + 0.1], tickvals=at, ticktext=[str(n) for n in at])
    made = layout(
        title, unit, x=x, y=log_axis(names[1], low, high), height=HEIGHT, badge="log", how=BUDGET, revision="budget"
    )
    annotate(made, end_labels(ends, bounds=(low, high), height=HEIGHT))
    return {"data": data, "layout": made}


def budgets(found: Verdicts, cell: Cell) -> dict[str, np.ndarray]:
    """Return the expected best validation loss of each method, (seeds, budgets 1, 2, …).

    Only rates that every method has run with every seed count; methods of which a seed diverged at each of them are
    left out.
    """
    study, valid = found.study, values_of(found.rows, "valid_loss")
    grid = [
        lr
        for lr in grid_of(study, cell, valid)
        if all(one in valid for init in study.inits for one in study.trials(cell, init, [lr]))
    ]
    losses = {init: values_at(study, cell, init, grid, valid) for init in study.inits}
    return {
        init: np.array([[expected_best(each, n) for n in range(1, len(grid) + 1)] for each in its.T])
        for init, its in losses.items()
        if len(grid) and np.isfinite(its).any(0).all()
    }


def target_figure(found: Verdicts, cell: Cell) -> Figure:
    """Draw the share of seeds that have reached the reference's final loss, against the step.

    Each method races at its best rate. A seed that never gets there keeps its curve below 100%.
    """
    study, its = found.study, found.of(cell)
    who = label_of(study.reference)
    title = f"When each method reaches {who}'s final validation loss: {name_of(cell)}"
    reached = {one.init: np.array(one.reached_at) for one in its if one.reached_at}
    unit = (
        f"share of {many(study.seeds, 'seed')}, each method at its best rate, against {who}'s run "
        f"of the same seed; {examples(found, cell, 'valid')}{_absent(study, reached)}"
    )
    names = "step", "share of seeds that got there"
    if not reached:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, HEIGHT)
    styles, data, ends = method_styles(reached), [], []
    for init, times in reached.items():
        style = styles[init]
        x, y = stairs(times, study.steps)
        name = {"name": style.label, "legendgroup": style.label}
        data.append(line(style, np.array(y), 2.2, x=x, hovertemplate="%{y:.0%}", **name))
        got = f": {int(np.isfinite(times).sum())} of {len(times)}"
        ends.append(CurveEnd(style.label, init, style.text, study.steps, y[-1], got))
    bounds = (-0.04, 1.04)
    y_axis = axis(names[1], range=list(bounds), tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    y_axis["ticktext"] = ["0%", "25%", "50%", "75%", "100%"]
    made = layout(title, unit, x=steps_axis(study.steps), y=y_axis, height=HEIGHT, how=TARGET, revision="target")
    annotate(made, end_labels(ends, bounds=bounds, height=HEIGHT))
    return {"data": data, "layout": made}


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


def examples(found: Verdicts, cell: Cell | None, part: str) -> str:
    """Return on how many examples the losses rest: of one cell, or the range over all.

    Args:
        part: ``valid`` or ``test``.
    """
    counts = {
        int(count)
        for trial, row in found.rows.items()
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
        run = [one for one in study.trials(cell, init, [lr]) if one in values]
        losses = tuple(values[one] for one in run)
        if run:
            out = sum(not math.isfinite(loss) for loss in losses)
            points.append(Point(lr, tuple(range(len(run))), losses, out))
    return RateCurve(label_of(init), lane, Setting.of(lane), tuple(points)) if points else None


def _band(style: LaneStyle, at: Sequence[int], curves: np.ndarray) -> list[dict[str, Any]]:
    """Return the lowest and the highest of some curves, filled between."""
    edge = {
        "type": "scatter", "mode": "lines", "x": list(at), "name": style.label,
        "legendgroup": style.label, "line": {"color": style.color, "width": 0},
        "hoverinfo": "skip",
    }  # fmt: skip
    fill = {"fill": "tonexty", "fillcolor": f"{style.color}-band"}
    return [{**edge, "y": plain(curves.min(0))}, {**edge, "y": plain(curves.max(0)), **fill}]


def _on(value: float, low: float, high: float) -> float:
    """Return where a value stands on a log axis, at its end if it lies beyond."""
    return min(max(math.log10(value), low), high) if value > 0 else low


FARTHEST = 16.0
"""The largest factor that is drawn."""

SHARES = {"range": [-0.04, 1.04], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]}
"""The vertical axis."""


PROFILE = (
    "The share of cells and seeds in which a method reached the target within a factor of the "
    "fastest one's steps. Higher and further left is better; a run that never reaches it counts as "
    "infinite."
)
"""How to read the chart."""


def profile_figure(found: Verdicts) -> Figure:
    """Draw the share of all runs in which a method took at most some multiple of the fastest's steps to the
    reference's final loss, each at its best rate.

    A run that never gets there keeps its method's curve below 100%.
    """
    study, who = found.study, label_of(found.study.reference)
    times = times_to_target(found)
    runs = next(iter(times.values())).size
    title = f"How often each method is among the fastest to {who}'s final validation loss"
    unit = (
        f"share of {many(runs, 'run')}: {many(study.seeds, 'seed')} in each of "
        f"{many(runs // study.seeds, 'cell')}, {examples(found, None, 'valid')}; best rates; "
        "never there: infinite"
    )
    names = "steps, as a multiple of the fastest method's", "share of runs"
    if not runs:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, HEIGHT)
    stacked = np.array(list(times.values()))
    factors = _corners(stacked)
    shares = performance_profile(stacked, factors)
    styles, data, ends = method_styles(times), [], []
    last = float(factors[-1])
    for init, its in zip(times, shares, strict=True):
        style = styles[init]
        name: dict[str, Any] = {"name": style.label, "legendgroup": style.label}
        stair = np.repeat(its, 2)[:-1]
        x = np.repeat(factors, 2)[1:].tolist()
        data.append(line(style, stair, 2.2, x=x, hovertemplate="%{y:.0%}", **name))
        got = int(np.isfinite(times[init]).sum())
        end = CurveEnd(style.label, init, style.text, math.log10(last), float(its[-1]), f": {got} of {runs}")
        ends.append(end)
    x_axis = log_axis(names[0], -0.005, math.log10(last) + 0.005)
    y_axis = axis(names[1], **SHARES, ticktext=["0%", "25%", "50%", "75%", "100%"])
    made = layout(title, unit, x=x_axis, y=y_axis, height=HEIGHT, badge="log", how=PROFILE, revision="profile")
    annotate(made, end_labels(ends, bounds=(-0.04, 1.04), height=HEIGHT))
    return {"data": data, "layout": made}


def times_to_target(found: Verdicts) -> dict[str, np.ndarray]:
    """Return when each method reached the reference's final loss, over all cells and seeds.

    A method without a rate never does; cells without a final loss of the reference are left out.
    """
    study = found.study
    cells = [cell for cell in study.cells() if any(one.reached_at for one in found.of(cell))]
    of = {(one.cell, one.init): _padded(one.reached_at, study.seeds) for one in found.each}
    return {init: np.array([at for cell in cells for at in of[cell, init]], dtype=float) for init in study.inits}


def _padded(times: tuple[float, ...], seeds: int) -> tuple[float, ...]:
    """Return the times of the first seeds; those that did not run never get there."""
    return (*times, *[math.inf] * seeds)[:seeds]


def _corners(times: np.ndarray) -> np.ndarray:
    """Return the factors at which some method's share changes, from 1 to the end of the axis."""
    fastest = times.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # at step 0, or never
        ratios = (times / fastest).ravel()
    inside = ratios[np.isfinite(ratios) & (ratios >= 1) & (ratios <= FARTHEST)]
    return np.unique([1.0, *inside, min(FARTHEST, 1.1 * inside.max(initial=1.0))])
