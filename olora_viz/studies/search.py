"""What a study still needs to run: candidates, the best of them, and the races of the lanes that are missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from olora_viz.initializers import entry_of
from olora_viz.lanes.lane import MAX_LANES
from olora_viz.machine.wording import rounded
from olora_viz.studies.method import lane_of, own_rate
from olora_viz.studies.rows import Losses, Rows, gain_of
from olora_viz.studies.statistics import choose
from olora_viz.studies.study import RATE_DIGITS, Candidate, Cell, Settings, Study, Trial, as_candidate


def most_trials(study: Study) -> int:
    """Return the lanes of the first candidates and of the rates around each best one.

    Rates added beyond the edges of the grid are not included.
    """
    halves = 2 * study.seeds * len(study.tuned_methods) if len(study.lrs) > 1 else 0
    firsts = sum(len(study.candidates(method)) for method in study.compare) * study.first_seeds
    return len(study.cells()) * (firsts + halves + len(study.compare) * (study.seeds - study.first_seeds))


MOST_EXTENSIONS = 4
"""Maximum number of rates added to the grid of a cell on either side."""

MOST_IN_TIME = 2
"""The same where time is limited: more seeds at the rates known are then worth more than rates ever farther away."""


@dataclass(frozen=True)
class Chosen:
    """The best candidate of one method in one cell."""

    at: Candidate
    is_inside: bool
    """Whether lower and higher rates of the grid were tried as well, or the method has a rate of its own."""
    seeds: int
    """The number of seeds that it was chosen by."""


def needed(study: Study, losses: Losses, rows: Rows | None = None) -> list[Trial]:
    """Return the trials that remain to be run at this stage; none at the end.

    1. The grid: every method at every candidate with every seed, or with those of the first pass.
    2. If the best rate of a method lies at the edge of the grid, one rate beyond it, for all
       methods of the cell without a rate of their own, at most `MOST_EXTENSIONS` times on each side.
    3. Two rates for each method, half a step below and above its best one, with every seed; and
       the best one itself with the seeds that it lacks. What else is tuned stays as it is at the best.

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
                for method, candidates in of_stage.items()
                for trial in study.trials(cell, method, candidates, seeds)
                if trial not in losses
            ]
            for of_stage, seeds in _stages(study, cell, losses, rows)
        )
        wanted += next(filter(None, stages), [])
    return wanted


def _stages(
    study: Study, cell: Cell, losses: Losses, rows: Rows | None
) -> Iterator[tuple[dict[str, list[Candidate]], int]]:
    """Yield the candidates of each method at every stage of a cell, see `needed`, and their number of seeds."""
    yield {method: grid_for(study, cell, method, losses) for method in study.compare}, study.first_seeds
    yield dict.fromkeys(study.tuned_methods, _beyond(study, cell, losses, rows)), study.first_seeds
    yield {method: finalists(study, cell, method, losses) for method in study.compare}, study.seeds


def grid_for(study: Study, cell: Cell, method: str, losses: Collection[Trial]) -> list[Candidate]:
    """Return the candidates that a method of a cell gets: those of all, or those at a rate of its own."""
    return study.candidates(method) if own_rate(method) else whole_grid(study, cell, losses)


def whole_grid(study: Study, cell: Cell, losses: Collection[Trial]) -> list[Candidate]:
    """Return the candidates that all methods of a cell get whose rate is tuned."""
    return [Candidate(lr, tuned) for tuned in study.choices() for lr in grid_of(study, cell, losses, tuned)]


def grid_of(study: Study, cell: Cell, losses: Collection[Trial], tuned: Settings | None = None) -> list[float]:
    """Return the rates that the methods of a cell get, the lowest first: the study's, and those beyond its edges.

    Args:
        tuned: what is tuned beside the rate; by default the first of the study's `choices`.
    """
    tuned = study.choices()[0] if tuned is None else tuned
    return [
        *reversed(_added(study, cell, losses, -1, tuned)),
        *study.lrs_in(cell, tuned),
        *_added(study, cell, losses, 1, tuned),
    ]


def rates_tried(study: Study, cell: Cell, method: str, losses: Losses, tuned: Settings | None = None) -> list[float]:
    """Return the rates that a method ran at: the grid, and half steps around its best.

    Args:
        tuned: what is tuned beside the rate; by default as it is chosen for the method.
    """
    if tuned is None:
        choices = study.choices(method)
        chosen = best(study, cell, method, losses) if len(choices) > 1 else None
        tuned = chosen.at.tuned if chosen else choices[0]
    return [at.lr for at in candidates_tried(study, cell, method, losses) if at.tuned == tuned]


def candidates_tried(study: Study, cell: Cell, method: str, losses: Losses) -> list[Candidate]:
    """Return the candidates from which a method's best is chosen: the grid, and half steps around it."""
    finals = finalists(study, cell, method, losses)
    tried = {at for at in finals if Trial(cell, method, at.lr, 0, at.tuned) in losses}
    grid = grid_for(study, cell, method, losses)
    order = {tuned: place for place, tuned in enumerate(study.choices(method))}
    return sorted({*grid, *tried}, key=lambda at: (order[at.tuned], at.lr))


def best(study: Study, cell: Cell, method: str, losses: Losses) -> Chosen | None:
    """Choose the candidate of a method by its mean validation loss over the seeds, from all tried.

    None if no candidate has finished with every seed. Where some have run with more seeds than the study has, those
    with the most are chosen from: the others were worse before.
    """
    tried = candidates_tried(study, cell, method, losses)
    counts = [seeds_of(study, cell, method, at, losses) for at in tried]
    seeds = max(study.seeds, *counts)
    place = choose(values_at(study, cell, method, tried, losses, seeds))
    if place is None:
        return None
    at = tried[place]
    grid = grid_of(study, cell, losses, at.tuned)
    return Chosen(at, own_rate(method) is not None or grid[0] < at.lr < grid[-1], seeds)


def seeds_of(study: Study, cell: Cell, method: str, at: Candidate | float, trials: Collection[Trial]) -> int:
    """Count the seeds, from 0 on, with which a method has finished at a candidate."""
    lr, tuned = as_candidate(at)
    seed = 0
    while Trial(cell, method, lr, seed, tuned) in trials:
        seed += 1
    return seed


def values_at(
    study: Study,
    cell: Cell,
    method: str,
    candidates: Sequence[Candidate | float],
    values: Mapping[Trial, float],
    seeds: int | None = None,
) -> np.ndarray:
    """Return values of a method's trials (candidates, seeds); NaN where there is none.

    Args:
        seeds: how many, the first ones; by default all.
    """
    numbers = [values.get(trial, math.nan) for trial in study.trials(cell, method, candidates, seeds)]
    return np.array(numbers, dtype=float).reshape(len(candidates), seeds or study.seeds)


def races(study: Study, trials: Sequence[Trial], most: int | None = None) -> list[list[Trial]]:
    """Group trials into races of one cell, rank and batch size, by seed, so that pairs end together.

    Lanes of one seed share their batches in whichever race they run. A race has one rank, since it computes all its
    lanes at the largest one, and the largest ranks, which take longest, race first. Full fine-tuning races apart:
    beside it, the adapters would be padded to its number of parameters. So does a method with a rate of its own, which
    may have its own batch size and length.

    Args:
        most: maximum lanes of a race; by default see `evenly`.
    """
    most = most or evenly(len(trials))

    models, tasks, cells = study.values("model"), study.values("task"), study.cells()
    choices = {method: study.choices(method) for method in study.compare}
    apart = {m: study.compare.index(m) if own_rate(m) else -1 for m in study.compare}

    def place(t: Trial) -> tuple[int, int, int, int, int, bool, int]:
        lane = lane_of(t.method)
        rank = lane.r if t.cell.r is None else t.cell.r
        where = models.index(t.cell.model), tasks.index(t.cell.task), -rank
        dense = entry_of(lane.init).dense
        return *where, cells.index(t.cell), choices[t.method].index(t.tuned), dense, apart[t.method]

    order = sorted(trials, key=lambda t: (place(t), t.seed, t.lr, study.compare.index(t.method)))
    groups: list[list[Trial]] = []
    for _, of_place in itertools.groupby(order, key=place):
        lanes = list(of_place)
        each = math.ceil(len(lanes) / math.ceil(len(lanes) / most))
        groups += [lanes[at : at + each] for at in range(0, len(lanes), each)]
    return groups


def evenly(lanes: int) -> int:
    """Return the maximum lanes of a race with which two workers have about as much to do.

    It does not depend on the number of workers, so that the races do not either.

    >>> evenly(240), evenly(40), evenly(5)
    (60, 20, 3)
    """
    return max(1, math.ceil(lanes / (2 * math.ceil(max(1, lanes) / (2 * MAX_LANES)))))


def _added(study: Study, cell: Cell, known: Collection[Trial], side: int, tuned: Settings) -> list[float]:
    """Return the rates beyond one edge that were run for any method, the nearest first."""

    def was_run(lr: float) -> bool:
        return any(Trial(cell, method, lr, 0, tuned) in known for method in study.tuned_methods)

    return list(itertools.takewhile(was_run, _outside(study.lrs_in(cell, tuned), side)))


def _outside(lrs: Sequence[float], side: int) -> list[float]:
    """Return the rates that may be added beyond one edge of those tried at first, the nearest first."""
    if len(lrs) < 2:
        return []
    edge, inner = (lrs[-1], lrs[-2]) if side > 0 else lrs[:2]
    factor = edge / inner
    return [rounded(edge * factor**n, RATE_DIGITS) for n in range(1, MOST_EXTENSIONS + 1)]


def _beyond(study: Study, cell: Cell, losses: Losses, rows: Rows | None) -> list[Candidate]:
    """Return the candidates to add to a grid: one rate beyond each edge at which some method is best.

    Where time is limited, an edge is extended only while that can matter. A lower rate trains less, until the loss is
    the untrained model's: below a rate at which it cannot be told from that, nothing changes any more.
    """
    bests = {method: _best_of_grid(study, cell, method, losses) for method in study.tuned_methods}
    more = []
    for tuned in study.choices():
        grid = grid_of(study, cell, losses, tuned)
        for side, edge in ((-1, grid[0]), (1, grid[-1])):
            outside = _outside(study.lrs_in(cell, tuned), side)[: MOST_EXTENSIONS if rows is None else MOST_IN_TIME]
            at_edge = [method for method, at in bests.items() if at == Candidate(edge, tuned)]
            if rows is not None and side < 0:
                edges = [Candidate(edge, tuned)]
                trials = {method: study.trials(cell, method, edges, study.first_seeds) for method in at_edge}
                gains = {name: gain_of([rows[trial] for trial in its]) for name, its in trials.items()}
                at_edge = [method for method, (gain, error) in gains.items() if abs(gain) > error]
            if at_edge:
                more += [Candidate(lr, tuned) for lr in outside if lr not in grid][:1]
    return more


def _best_of_grid(study: Study, cell: Cell, method: str, losses: Losses) -> Candidate | None:
    """Return the best candidate of the grid; if all forget too much, one of the lowest rate, which forgets least."""
    grid = grid_for(study, cell, method, losses)
    values = values_at(study, cell, method, grid, losses, study.first_seeds)
    place, over = choose(values), np.flatnonzero(values.mean(1) == math.inf)
    if place is None:
        return min((grid[at] for at in over), key=lambda at: at.lr, default=None)
    return grid[place]


def finalists(study: Study, cell: Cell, method: str, losses: Losses) -> list[Candidate]:
    """Return the candidates that race with every seed: the best of the grid, and half steps of the rate around it.

    Of a method with a rate of its own it is the best alone. The lowest first; empty if each candidate of the grid has
    a diverged run.
    """
    at = _best_of_grid(study, cell, method, losses)
    if at is None:
        return []
    if own_rate(method):
        return [at]
    lr, tuned = at
    grid = grid_of(study, cell, losses, tuned)
    near = grid[max(0, grid.index(lr) - 1) : grid.index(lr) + 2]
    halves = (rounded(math.sqrt(low * high), RATE_DIGITS) for low, high in itertools.pairwise(near))
    return [Candidate(rate, tuned) for rate in sorted([lr, *halves])]


def complete_seeds(study: Study, losses: Losses) -> int:
    """Return the number of seeds that every method has finished at its best candidate and around it."""
    methods = itertools.product(study.cells(), study.compare)
    trials = (study.trials(*method, finalists(study, *method, losses)) for method in methods)
    return min((trial.seed for trial in itertools.chain(*trials) if trial not in losses), default=study.seeds)
