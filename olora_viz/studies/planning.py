"""What a study still has to run: its grid, rates beyond its edges, and half steps around the best.

All of it follows from the set-up and the results so far, so the same functions continue a study
that was killed, extended or moved to another machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import MAX_LANES
from olora_viz.studies.statistics import choose
from olora_viz.studies.study import Cell, Study, Trial

MOST_EXTENSIONS = 4
"""Maximum number of rates added to the grid of a cell on either side."""

Losses = Mapping[Trial, float]
"""The validation loss of each finished trial; NaN if it has diverged."""


@dataclass(frozen=True)
class Chosen:
    """The best rate of one method in one cell."""

    lr: float
    is_inside: bool
    """Whether lower and higher rates of the grid were tried as well."""
    seeds: int
    """The number of seeds that it was chosen by."""


def needed(study: Study, losses: Losses) -> list[Trial]:
    """Return the trials that remain to be run at this stage; none at the end.

    1. The grid: every method at every rate with every seed, or with those of the first pass.
    2. If the best rate of a method lies at the edge of the grid, one rate beyond it, for all
       methods of the cell, at most `MOST_EXTENSIONS` times on each side.
    3. Two rates for each method, half a step below and above its best one, with every seed; and
       the best one itself with the seeds that it lacks.

    Parameters
    ----------
    losses : of all trials so far.
    """
    wanted: list[Trial] = []
    for cell in study.cells():
        missing = [
            trial
            for init in study.inits
            for trial in study.trials(cell, init, grid_of(study, cell, losses), study.first_seeds)
            if trial not in losses
        ]
        wanted += missing or _beyond(study, cell, losses) or _refined(study, cell, losses)
    return wanted


def grid_of(study: Study, cell: Cell, losses: Collection[Trial]) -> list[float]:
    """Return the rates that all methods of a cell get, the lowest first: the study's own, and those
    that were added beyond its edges.
    """
    return [*reversed(_added(study, cell, losses, -1)), *study.lrs, *_added(study, cell, losses, 1)]


def rates_tried(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates from which a method's best is chosen: the grid, and half steps around it."""
    halves = _halves(study, cell, init, losses)
    tried = [lr for lr in halves if Trial(cell, init, lr, 0) in losses]
    return sorted([*grid_of(study, cell, losses), *tried])


def best(study: Study, cell: Cell, init: str, losses: Losses) -> Chosen | None:
    """Choose the rate of a method by its mean validation loss over the seeds, from all tried.

    None if no rate has finished with every seed. Where some rates have run with more seeds than the
    study has, those with the most are chosen from: the others were worse before.
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
    study: Study, cell: Cell, init: str, lrs: Sequence[float], values: Mapping[Trial, float],
    seeds: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Return values of a method's trials (rates, seeds); NaN where there is none.

    Parameters
    ----------
    seeds : how many, the first ones; by default all.
    """
    found = [values.get(trial, math.nan) for trial in study.trials(cell, init, lrs, seeds)]
    return np.array(found, dtype=float).reshape(len(lrs), seeds or study.seeds)


def races(study: Study, trials: Sequence[Trial], most: int | None = None) -> list[list[Trial]]:
    """Group trials into races of one model, task and rank, by seed, so that pairs end together.

    Lanes of one seed share their batches in whichever race they run. A race has one rank, since it
    computes all its lanes at the largest one, and the largest ranks, which take longest, race
    first. Full fine-tuning races apart: beside it, the adapters would be padded to its number of
    parameters.

    Parameters
    ----------
    most : maximum lanes of a race; by default see `evenly`.
    """
    most = most or evenly(len(trials))

    def place(t: Trial) -> tuple[int, int, int, bool]:
        dense = INITIALIZERS[t.init].dense
        return study.models.index(t.cell.model), study.tasks.index(t.cell.task), -t.cell.r, dense

    order = sorted(trials, key=lambda t: (place(t), t.seed, t.lr, study.inits.index(t.init)))
    made: list[list[Trial]] = []
    for _, of_place in itertools.groupby(order, key=place):
        its = list(of_place)
        each = math.ceil(len(its) / math.ceil(len(its) / most))
        made += [its[at : at + each] for at in range(0, len(its), each)]
    return made


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
    found: list[float] = []
    for lr in _outside(study, side):
        if not any(Trial(cell, init, lr, 0) in known for init in study.inits):
            break
        found.append(lr)
    return found


def _outside(study: Study, side: int) -> list[float]:
    """Return the rates that may be added beyond one edge of the grid, the nearest first."""
    if len(study.lrs) < 2:
        return []
    edge, inner = (study.lrs[-1], study.lrs[-2]) if side > 0 else study.lrs[:2]
    factor = edge / inner
    return [rounded(edge * factor**n) for n in range(1, MOST_EXTENSIONS + 1)]


def _beyond(study: Study, cell: Cell, losses: Losses) -> list[Trial]:
    """Return the trials one rate beyond the edges at which some method is best."""
    grid = grid_of(study, cell, losses)
    more: list[float] = []
    for side, edge in ((-1, grid[0]), (1, grid[-1])):
        left = [lr for lr in _outside(study, side) if lr not in grid]
        at_edge = [init for init in study.inits if _best_of_grid(study, cell, init, losses) == edge]
        more += left[:1] if at_edge else []
    return [
        trial
        for init in study.inits
        for trial in study.trials(cell, init, more, study.first_seeds)
        if trial not in losses
    ]


def _best_of_grid(study: Study, cell: Cell, init: str, losses: Losses) -> float | None:
    grid = grid_of(study, cell, losses)
    at = choose(values_at(study, cell, init, grid, losses, study.first_seeds))
    return None if at is None else grid[at]


def finalists(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates that race with every seed: the best of the grid, and half steps around it.

    The lowest first; empty if each rate of the grid has a diverged run.
    """
    lr = _best_of_grid(study, cell, init, losses)
    return [] if lr is None else sorted([lr, *_halves(study, cell, init, losses)])


def _halves(study: Study, cell: Cell, init: str, losses: Losses) -> list[float]:
    """Return the rates half a step below and above the best one of the grid."""
    grid, lr = grid_of(study, cell, losses), _best_of_grid(study, cell, init, losses)
    if lr is None or len(grid) < 2:
        return []
    at = grid.index(lr)
    pairs = [(grid[i], grid[i + 1]) for i in (at - 1, at) if 0 <= i < len(grid) - 1]
    return [rounded(math.sqrt(low * high)) for low, high in pairs]


def _refined(study: Study, cell: Cell, losses: Losses) -> list[Trial]:
    """Return the missing trials at each method's best rate, and half a step around it."""
    return [
        trial
        for init in study.inits
        for trial in study.trials(cell, init, finalists(study, cell, init, losses))
        if trial not in losses
    ]


def rounded(lr: float) -> float:
    """Round a rate to three digits, so that it reads well and is equal when it is derived again.

    >>> rounded(0.0017320508)
    0.00173
    """
    return float(f"{lr:.3g}")
