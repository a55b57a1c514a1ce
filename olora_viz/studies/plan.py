"""The plan of a study: its races, and how long they take."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.calibration import calibration_bytes
from olora_viz.lanes.lane import MAX_LANES
from olora_viz.lanes.memory import Footprint, adapter_bytes, largest_pass
from olora_viz.machine.memory import available_memory, bytes_words
from olora_viz.machine.process import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, RaceData, task_of
from olora_viz.races.race import Race
from olora_viz.races.step import DIVERGED
from olora_viz.studies.statistics import choose, smallest_difference
from olora_viz.studies.study import Cell, Study, Trial

TIMED_STEPS = 4
"""The first warms up, the second and the last are evaluated."""

SHORT_SETUP = 10.0
"""A set-up that takes fewer seconds is timed again, since the first one of a process is slower."""

SLOW_STEP = 2.0
"""A first step of more seconds is the plain one: its warm-up is a small part of it."""

TIMED_EXAMPLES = 16
"""Maximum held-out examples for which an evaluation is timed."""

TIMED_LANES = 8
"""Maximum lanes that are timed, so that the plan takes a small part of the study's time."""

CPU = torch.device("cpu")

LIBRARIES = 450 * 10**6
"""Memory of a process with Python, torch and the other libraries, without a model; bytes."""


@dataclass(frozen=True)
class Timing:
    """The time of each part of a race, in seconds, and its memory."""

    setup: float
    """Of the race: loading, the starts, the base model's evaluation."""
    step: float
    """Of one lane beside others."""
    example: float
    """Of evaluating one lane on one example."""
    data: str
    """The number of examples in each part, also of those that are too long, in words."""
    held_out: int
    """Number of held-out examples that were evaluated."""
    test: int
    """Number of test examples, at most ``test_size``."""
    memory: float = 0.0
    """Of the race and its process, at most; bytes."""
    device: torch.device = CPU
    """Where it computes."""
    alone: float = 0.0
    """A step of a race of one lane, at most; 0 if it is that of a lane beside others."""

    def of_race(self, test: int) -> float:
        """Return the seconds of a race beside its lanes: its set-up and the base model's test."""
        return self.setup + self.example * test

    def of_lane(self, steps: int, examples: int) -> float:
        """Return the seconds of one lane that is evaluated on so many examples in all."""
        return self.step * steps + self.example * examples


@dataclass(frozen=True)
class Estimate:
    """What some races take, extrapolated from the first of each model."""

    races: int
    lanes: int
    seconds: float
    """Of all races, one after the other."""
    memory: float
    """Of one race and its process, at most; bytes."""
    device: torch.device
    """Where they compute."""
    smallest: float
    """The smallest difference that is detected with a power of 80%, in standard deviations of the paired
    differences."""
    data: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The number of examples in each part, as in `Timing`, by model and task."""

    def check_fits(self, workers: int) -> None:
        """Check that so many races at once fit into the free memory.

        Raises:
            ValueError: they do not; the message says how many do.
        """
        free = available_memory(self.device)
        if free is None or workers * self.memory <= free:
            return
        most = int(free // self.memory)
        fits = f"{most} would fit" if most else "not even one fits"
        raise ValueError(
            f"{workers} race{'s' * (workers > 1)} at once may need {bytes_words(workers * self.memory)} of memory, "
            f"but only {bytes_words(free)} are free: {fits}"
        )


def estimate(study: Study, trials: Sequence[Trial], progress: Progress | None = None) -> Estimate:
    """Time the first steps of lanes of the first race of each model, and of full fine-tuning on it.

    Args:
        trials: at least one.

    Raises:
        ValueError: a race cannot be set up.
    """
    groups = races(study, trials)
    evaluations = math.ceil(study.steps / (study.eval_every or study.steps))
    total, timings, data, cache = 0.0, [], {}, ModelCache()
    for group in alike(groups):
        largest = max(group, key=lambda race: (race[0].cell.r, len(race)))  # by their memory
        timing = timing_of(study.config(group[0][:TIMED_LANES]), progress, study.config(largest), cache)
        of_lane = timing.of_lane(study.steps, evaluations * timing.held_out + timing.test)
        total += timing.of_race(timing.test) * len(group) + of_lane * sum(map(len, group))
        timings.append(timing)
        for cell, trial in {race[0].cell: race[0] for race in group}.items():
            if (cell.model, cell.task) not in data:
                config = study.config([trial])
                race_data = RaceData(config, task_of(config), *cache.load(config), cache)
                data[cell.model, cell.task] = " ".join([race_data.about_held_out.parts, *race_data.too_long])
    return Estimate(
        races=len(groups),
        lanes=len(trials),
        seconds=total,
        memory=max(timing.memory for timing in timings),
        device=timings[0].device,
        smallest=smallest_difference(1.0, study.seeds, len(study.inits) - 1),
        data=data,
    )


def timing_of(
    config: RaceConfig,
    progress: Progress | None = None,
    largest: RaceConfig | None = None,
    cache: ModelCache | None = None,
) -> Timing:
    """Time the first steps of a race.

    Args:
        largest: a race on the same model whose memory is estimated; None for this one's.
        cache: of earlier races of this process, and for later ones.

    Raises:
        ValueError: the race cannot be set up.
    """
    short = replace(
        config,
        steps=min(TIMED_STEPS, config.steps),
        warmup=0,
        eval_every=2,
        eval_size=min(TIMED_EXAMPLES, config.eval_size),
    )
    cache = cache or ModelCache()
    racing, setup = _set_up(short, progress, cache)
    if setup < SHORT_SETUP:
        racing.lanes.detach()
        racing, setup = _set_up(short, progress, cache)
    data, (test, racing.data.test) = racing.data, (racing.data.test, ())
    judged = len(data.held_out)
    held_out = min(len(racing.task.held_out) - data.held_out_left_out, config.eval_size)
    ends = [time.perf_counter()]
    for step in racing:
        ends.append(time.perf_counter())
        if progress:
            progress(step.step / short.steps, f"timing the first steps on {config.model}")
        if step.step == 2 and ends[1] - ends[0] > SLOW_STEP:
            break
    racing.lanes.detach()
    data.test = test
    took = [end - start for start, end in itertools.pairwise(ends)]
    plain = took[2] if len(took) > 2 else took[0]
    evaluation = max(0.0, took[1] - plain) if len(took) > 1 else 0.0
    example = evaluation / judged / len(config.lanes)
    return Timing(
        setup=setup + example * (held_out - judged),
        step=plain / len(config.lanes),
        example=example,
        data=" ".join([replace(data.about_held_out, examples=held_out).parts, *data.too_long]),
        held_out=held_out,
        test=len(test),
        memory=_bytes(racing, largest or config),
        device=racing.device,
    )


def _bytes(racing: Race, config: RaceConfig) -> float:
    """Return the memory of a race on the model and task of another one, whose lanes are gone."""
    plan = racing.lanes.plan.with_lanes(config.lanes)
    data, rows = racing.data, racing.config.rows
    footprint = Footprint.of(plan, branching=data.branching)
    weights = sum(each.numel() * each.element_size() for each in racing.model.parameters())
    largest = max(
        largest_pass(plan, footprint.training.bytes(data.trained_with(rows))),
        largest_pass(plan, footprint.evaluation.bytes(data.judged_size)),
    )
    return LIBRARIES + weights + adapter_bytes(plan) + calibration_bytes(plan) + largest


def _set_up(config: RaceConfig, progress: Progress | None, cache: ModelCache) -> tuple[Race, float]:
    """Set up a race; return the seconds it took as well."""
    began = time.perf_counter()
    racing = Race(config, progress=progress, cache=cache)
    return racing, time.perf_counter() - began


def most_trials(study: Study) -> int:
    """Return the lanes of the grid and of the rates around each best one.

    Rates added beyond the edges of the grid are not included.
    """
    halves = 2 if len(study.lrs) > 1 else 0
    finals = halves * study.seeds + study.seeds - study.first_seeds
    each = len(study.lrs) * study.first_seeds + finals
    return len(study.cells()) * len(study.inits) * each


MOST_EXTENSIONS = 4
"""Maximum number of rates added to the grid of a cell on either side."""

MOST_IN_TIME = 2
"""The same where time is limited: more seeds at the rates known are then worth more than rates ever farther away."""

Losses = Mapping[Trial, float]
"""The validation loss of each finished trial; NaN if it has diverged."""

Rows = Mapping[Trial, Mapping[str, Any]]
"""The results of each finished trial, with the columns `folder.COLUMNS` and `folder.BY_EXAMPLE`."""


@dataclass(frozen=True)
class Chosen:
    """The best rate of one method in one cell."""

    lr: float
    is_inside: bool
    """Whether lower and higher rates of the grid were tried as well."""
    seeds: int
    """The number of seeds that it was chosen by."""


def needed(study: Study, losses: Losses, rows: Rows | None = None) -> list[Trial]:
    """Return the trials that remain to be run at this stage; none at the end.

    1. The grid: every method at every rate with every seed, or with those of the first pass.
    2. If the best rate of a method lies at the edge of the grid, one rate beyond it, for all
       methods of the cell, at most `MOST_EXTENSIONS` times on each side.
    3. Two rates for each method, half a step below and above its best one, with every seed; and
       the best one itself with the seeds that it lacks.

    Args:
        losses: of all trials so far.
        rows: the results of the same trials, where time is limited, as in a decision: an edge is then extended only
            while that can matter, at most `MOST_IN_TIME` times, see `_beyond`.
    """
    wanted: list[Trial] = []
    for cell in study.cells():
        stages = (
            [
                trial
                for init, lrs in rates.items()
                for trial in study.trials(cell, init, lrs, seeds)
                if trial not in losses
            ]
            for rates, seeds in _stages(study, cell, losses, rows)
        )
        wanted += next(filter(None, stages), [])
    return wanted


def _stages(
    study: Study, cell: Cell, losses: Losses, rows: Rows | None
) -> Iterator[tuple[dict[str, list[float]], int]]:
    """Yield the rates of each method at every stage of a cell, see `needed`, and their number of seeds."""
    yield dict.fromkeys(study.inits, grid_of(study, cell, losses)), study.first_seeds
    yield dict.fromkeys(study.inits, _beyond(study, cell, losses, rows)), study.first_seeds
    yield {init: finalists(study, cell, init, losses) for init in study.inits}, study.seeds


def grid_of(study: Study, cell: Cell, losses: Collection[Trial]) -> list[float]:
    """Return the rates that all methods of a cell get, the lowest first: the study's own, and those that were added
    beyond its edges.
    """
    return [*reversed(_added(study, cell, losses, -1)), *study.lrs, *_added(study, cell, losses, 1)]


def rates_tried(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates from which a method's best is chosen: the grid, and half steps around it."""
    tried = [lr for lr in finalists(study, cell, init, losses) if Trial(cell, init, lr, 0) in losses]
    return sorted({*grid_of(study, cell, losses), *tried})


def best(study: Study, cell: Cell, init: str, losses: Losses) -> Chosen | None:
    """Choose the rate of a method by its mean validation loss over the seeds, from all tried.

    None if no rate has finished with every seed. Where some rates have run with more seeds than the study has, those
    with the most are chosen from: the others were worse before.
    """
    grid, tried = grid_of(study, cell, losses), rates_tried(study, cell, init, losses)
    counts = [seeds_of(study, cell, init, lr, losses) for lr in tried]
    seeds = max(study.seeds, *counts)
    at = choose(values_at(study, cell, init, tried, losses, seeds))
    if at is None:
        return None
    return Chosen(tried[at], grid[0] < tried[at] < grid[-1], seeds)


def seeds_of(study: Study, cell: Cell, init: str, lr: float, trials: Collection[Trial]) -> int:
    """Count the seeds, from 0 on, with which a method has finished at a rate."""
    seed = 0
    while Trial(cell, init, lr, seed) in trials:
        seed += 1
    return seed


def values_at(
    study: Study, cell: Cell, init: str, lrs: Sequence[float], values: Mapping[Trial, float], seeds: int | None = None
) -> np.ndarray:
    """Return values of a method's trials (rates, seeds); NaN where there is none.

    Args:
        seeds: how many, the first ones; by default all.
    """
    numbers = [values.get(trial, math.nan) for trial in study.trials(cell, init, lrs, seeds)]
    return np.array(numbers, dtype=float).reshape(len(lrs), seeds or study.seeds)


def races(study: Study, trials: Sequence[Trial], most: int | None = None) -> list[list[Trial]]:
    """Group trials into races of one model, task and rank, by seed, so that pairs end together.

    Lanes of one seed share their batches in whichever race they run. A race has one rank, since it computes all its
    lanes at the largest one, and the largest ranks, which take longest, race first. Full fine-tuning races apart:
    beside it, the adapters would be padded to its number of parameters.

    Args:
        most: maximum lanes of a race; by default see `evenly`.
    """
    most = most or evenly(len(trials))

    def place(t: Trial) -> tuple[int, int, int, bool]:
        dense = INITIALIZERS[t.init].dense
        return study.models.index(t.cell.model), study.tasks.index(t.cell.task), -t.cell.r, dense

    order = sorted(trials, key=lambda t: (place(t), t.seed, t.lr, study.inits.index(t.init)))
    groups: list[list[Trial]] = []
    for _, of_place in itertools.groupby(order, key=place):
        lanes = list(of_place)
        each = math.ceil(len(lanes) / math.ceil(len(lanes) / most))
        groups += [lanes[at : at + each] for at in range(0, len(lanes), each)]
    return groups


def alike(groups: Sequence[list[Trial]]) -> list[list[list[Trial]]]:
    """Put together the races whose lanes take about as long: of one model and rank, or dense."""
    by_kind: dict[tuple[str, int, bool], list[list[Trial]]] = {}
    for group in groups:
        first, dense = group[0].cell, INITIALIZERS[group[0].init].dense
        by_kind.setdefault((first.model, 0 if dense else first.r, dense), []).append(group)
    return list(by_kind.values())


def evenly(lanes: int) -> int:
    """Return the maximum lanes of a race with which two workers have about as much to do.

    It does not depend on the number of workers, so that the races do not either.

    >>> evenly(240), evenly(40), evenly(5)
    (60, 20, 3)
    """
    return max(1, math.ceil(lanes / (2 * math.ceil(max(1, lanes) / (2 * MAX_LANES)))))


def _added(study: Study, cell: Cell, known: Collection[Trial], side: int) -> list[float]:
    """Return the rates beyond one edge that were run for any method, the nearest first."""

    def was_run(lr: float) -> bool:
        return any(Trial(cell, init, lr, 0) in known for init in study.inits)

    return list(itertools.takewhile(was_run, _outside(study, side)))


def _outside(study: Study, side: int) -> list[float]:
    """Return the rates that may be added beyond one edge of the grid, the nearest first."""
    if len(study.lrs) < 2:
        return []
    edge, inner = (study.lrs[-1], study.lrs[-2]) if side > 0 else study.lrs[:2]
    factor = edge / inner
    return [rounded(edge * factor**n) for n in range(1, MOST_EXTENSIONS + 1)]


def _beyond(study: Study, cell: Cell, losses: Losses, rows: Rows | None) -> list[float]:
    """Return the rates to add to a grid: one beyond each edge at which some method is best.

    Where time is limited, an edge is extended only while that can matter. A lower rate trains less, until the loss is
    the untrained model's: below a rate at which it cannot be told from that, nothing changes any more.
    """
    grid, more = grid_of(study, cell, losses), []
    for side, edge in ((-1, grid[0]), (1, grid[-1])):
        outside = _outside(study, side)[: MOST_EXTENSIONS if rows is None else MOST_IN_TIME]
        at_edge = [init for init in study.inits if _best_of_grid(study, cell, init, losses) == edge]
        if rows is not None and side < 0:
            gains = [_gain(rows, study.trials(cell, init, [edge], study.first_seeds)) for init in at_edge]
            at_edge = [init for init, (gain, error) in zip(at_edge, gains, strict=True) if abs(gain) > error]
        if at_edge:
            more += [lr for lr in outside if lr not in grid][:1]
    return more


def beats_untrained(rows: Rows, trials: Iterable[Trial]) -> bool:
    """Whether the held-out loss of a method is below the untrained model's by more than one standard error.

    Args:
        trials: the seeds of a method at one rate; if there are none, or one has diverged, it is not better.
    """
    gain, error = _gain(rows, trials)
    return gain > error


def _gain(rows: Rows, trials: Iterable[Trial]) -> tuple[float, float]:
    """Return by how much training lowers the held-out loss, and the standard error of that over the examples.

    The differences to the untrained model are paired by example; to its mean, where its losses by example are not
    known. Without a run, or with a diverged one, training raises the loss without limit.
    """
    at_rate = [rows[trial] for trial in trials]
    if not at_rate or any(row["status"] == DIVERGED for row in at_rate):
        return -math.inf, 0.0
    gain = np.mean([_by_example(row, "base_valid_loss") - _by_example(row, "valid_loss") for row in at_rate], axis=0)
    error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return float(gain.mean()), float(error)


def _by_example(row: Mapping[str, Any], name: str) -> np.ndarray:
    """Return a loss by example (n,), or its mean alone (1,) where no more is known."""
    losses = np.asarray(row.get(f"{name}_by_example", ()), float)
    return losses if losses.size else np.array([row[name]], float)


def _best_of_grid(study: Study, cell: Cell, init: str, losses: Losses) -> float | None:
    grid = grid_of(study, cell, losses)
    at = choose(values_at(study, cell, init, grid, losses, study.first_seeds))
    return None if at is None else grid[at]


def finalists(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates that race with every seed: the best of the grid, and half steps around it.

    The lowest first; empty if each rate of the grid has a diverged run.
    """
    grid, lr = grid_of(study, cell, losses), _best_of_grid(study, cell, init, losses)
    if lr is None:
        return []
    near = grid[max(0, grid.index(lr) - 1) : grid.index(lr) + 2]
    return sorted([lr, *(rounded(math.sqrt(low * high)) for low, high in itertools.pairwise(near))])


def rounded(lr: float) -> float:
    """Round a rate to three digits, so that it reads well and is equal when it is derived again.

    >>> rounded(0.0017320508)
    0.00173
    """
    return float(f"{lr:.3g}")
