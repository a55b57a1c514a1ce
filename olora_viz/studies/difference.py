"""Two methods of a cell compared, each at its best rate: the difference of their test losses, its verdict and why."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import and_, compact
from olora_viz.studies.power import seeds_to_settle
from olora_viz.studies.rows import Rows, losses_by_example, losses_of
from olora_viz.studies.search import Chosen, best, candidates_tried, seeds_of
from olora_viz.studies.seed_variance import SeedVariance, seed_variance
from olora_viz.studies.statistics import (
    BETTER,
    ERROR,
    LEAST_EXAMPLES,
    LEAST_SEEDS,
    UNDECIDED,
    UNKNOWN,
    WORSE,
    Interval,
    holm,
    paired_interval,
    rates_like,
    survives,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Candidate, Cell, Study, Trial

K = TypeVar("K")

DECIDING_LOOKS = 2
"""A method with more seeds than the study has was looked at before: its p-value is multiplied by this (Bonferroni)."""


@dataclass(frozen=True, eq=False)
class RateRuns:
    """The seeds of a method at one candidate; losses in nats, of a diverged run NaN."""

    at: Candidate
    valid: Float[np.ndarray, "k n"]
    test: Float[np.ndarray, "k m"]
    allowed: bool = True
    """Whether no seed forgets more than the study allows."""


@dataclass(frozen=True, eq=False)
class MethodRuns:
    """The runs of one method in one cell, at all candidates that were tried."""

    method: str
    chosen: Chosen | None
    """Its best rate by the mean validation loss; None if each has a diverged or missing run, or forgets too much."""
    rates: tuple[RateRuns, ...]
    """With at least one seed; the lowest rate of each combination of what else is tuned first."""

    @cached_property
    def at_best(self) -> RateRuns | None:
        """The runs at the best rate."""
        return next((runs for runs in self.rates if self.chosen and runs.at == self.chosen.at), None)

    @property
    def is_inside(self) -> bool:
        """Whether it has a best rate, which lies inside the rates tried."""
        return self.chosen is not None and self.chosen.is_inside

    def at(self, candidate: Candidate | None, seeds: int) -> MethodRuns:
        """Return the runs as if a candidate had been chosen."""
        return replace(self, chosen=candidate and Chosen(candidate, True, seeds))

    @property
    def test_loss(self) -> float:
        """The mean test loss at the best rate; NaN if it has none."""
        return float(self.at_best.test.mean()) if self.at_best else math.nan

    def trials(self, cell: Cell) -> list[Trial]:
        """Return the trials at the best rate; none if it has none."""
        if self.chosen is None:
            return []
        lr, tuned = self.chosen.at
        return [Trial(cell, self.method, lr, seed, tuned) for seed in range(self.chosen.seeds)]

    @cached_property
    def like_best(self) -> tuple[RateRuns, ...]:
        """The runs at the rates that the validation results cannot tell from the best one."""
        if self.at_best is None:
            return ()
        places = rates_like([runs.valid for runs in self.rates], self.rates.index(self.at_best))
        return tuple(self.rates[i] for i in places if self.rates[i].allowed)

    @cached_property
    def chosen_without(self) -> Float[np.ndarray, "k m"]:
        """The test losses of each seed, at the rate that the other seeds choose."""
        seeds = self.chosen.seeds if self.chosen else 0
        if seeds < 2:
            return np.empty((0, 0))
        allowed = [runs for runs in self.rates if runs.allowed and len(runs.valid) >= seeds]
        whole = [runs for runs in allowed if np.isfinite(runs.valid).all()]
        others = ([k for k in range(seeds) if k != seed] for seed in range(seeds))
        chosen = (min(whole, key=lambda runs, ks=ks: runs.valid[ks].mean()) for ks in others)
        return np.array([runs.test[seed] for seed, runs in enumerate(chosen)])


@dataclass(frozen=True, eq=False)
class Difference:
    """The test loss of one method minus another's, each at its best rate; nats."""

    gap: Float[np.ndarray, "k m"] = field(repr=False)
    """Of every seed that both have finished, and every test example."""
    over_seeds: SeedVariance
    """How far its mean over the examples scatters from seed to seed, which all methods tell."""
    interval: Interval
    """Of its mean, for other seeds and examples: the union, with the larger p-value, of that at the best rates and
    that in which every seed has the rates that the other seeds choose. The first alone takes the rates for given,
    though the same seeds chose them, and is too narrow if one method varies more from run to run than the other: it
    has more luck to choose from."""
    over_rates: tuple[float, float]
    """The lowest and the highest mean difference over the pairs of rates that the validation results cannot tell from
    the best ones."""
    turned_at: tuple[float, ...] | None
    """The rates of both at which the difference has another sign and is the largest; None if none has, so that it
    survives the choice of the rates."""

    @property
    def seeds(self) -> int:
        """The number of paired differences."""
        return len(self.gap)

    def with_choice(self, again: Difference) -> Difference:
        """Return it with the wider interval: its own, or that with every seed at the rates that the others choose."""
        if again.seeds < 2:
            return self
        (mean, low, high, p_value), other = self.interval, again.interval
        union = Interval(mean, min(low, other.low), max(high, other.high), max(p_value, other.p_value))
        return replace(self, interval=union)


def runs_of(study: Study, cell: Cell, method: str, rows: Rows) -> MethodRuns:
    """Return the runs of a method in a cell."""
    losses = losses_of(study, {trial: row for trial, row in rows.items() if trial.cell == cell})
    rates = []
    for at in candidates_tried(study, cell, method, losses):
        trials = [
            Trial(cell, method, at.lr, seed, at.tuned) for seed in range(seeds_of(study, cell, method, at, losses))
        ]
        of_rate = [rows[trial] for trial in trials]
        if of_rate:
            valid, test = (losses_by_example(of_rate, f"{part}_loss") for part in ("valid", "test"))
            allowed = not any(losses[trial] == math.inf for trial in trials)
            rates.append(RateRuns(at, valid, test, allowed))
    return MethodRuns(method, best(study, cell, method, losses), tuple(rates))


def difference(ours: MethodRuns, theirs: MethodRuns, every: Sequence[MethodRuns]) -> Difference:
    """Compare two methods, each at its best rate, on the test examples, paired by seed and example.

    If one of them has no best rate, nothing is known.

    Args:
        every: all methods that are compared, whose seeds tell how far a difference scatters, see `seed_variance`.
    """
    at_best = at_one_rate(ours, theirs, every)
    if not at_best.seeds:
        return at_best
    (low, *_), (high, *_) = ends = extremes(ours, theirs)
    mean, over_rates, turned_at = at_best.interval.mean, (low, high), None
    if not survives(mean, over_rates):
        turned_at = ends[int(mean < 0)][1:]
    again = between(ours.chosen_without, theirs.chosen_without, [runs.chosen_without for runs in every])
    return replace(at_best.with_choice(again), over_rates=over_rates, turned_at=turned_at)


def extremes(ours: MethodRuns, theirs: MethodRuns) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the lowest and the highest difference over the rates as good as the best, each with the rates of both."""

    def gap(first: RateRuns, second: RateRuns) -> float:
        seeds = min(len(first.test), len(second.test))
        return float((first.test[:seeds] - second.test[:seeds]).mean())

    pairs = itertools.product(ours.like_best, theirs.like_best)
    known = [(gap(first, second), first.at.lr, second.at.lr) for first, second in pairs]
    return min(known), max(known)


def at_one_rate(ours: MethodRuns, theirs: MethodRuns, every: Sequence[MethodRuns]) -> Difference:
    """Compare two methods whose rates are given, so that no other rates matter.

    Args:
        every: see `difference`.
    """
    first, second = (runs.at_best.test if runs.at_best else np.empty((0, 0)) for runs in (ours, theirs))
    return between(first, second, [runs.at_best.test for runs in every if runs.at_best])


def between(
    first: Float[np.ndarray, "_ _"], second: Float[np.ndarray, "_ _"], among: Sequence[Float[np.ndarray, "_ _"]] = ()
) -> Difference:
    """Compare what two methods have for every seed and example, or for every seed alone, (k, 1).

    Args:
        first, second: a loss, or another number of each method; NaN of a diverged run. Their seeds may differ.
        among: the same of all methods that are compared, see `difference`.
    """
    gap = _gap(first, second)
    mean, by_seed = float(gap.mean()) if gap.size else math.nan, [_by_seed(each) for each in (gap, first, second)]
    over_seeds = seed_variance(by_seed[0], (by_seed[1], by_seed[2]), [_by_seed(each) for each in among])
    return Difference(gap, over_seeds, interval_of(gap, over_seeds), (mean, mean), None)


def interval_of(gap: Float[np.ndarray, "k ..."], over_seeds: SeedVariance | None = None) -> Interval:
    """Return the interval of a mean paired difference.

    Args:
        gap: by seed and example; or by seed alone (k,) or (k, 1), if there are no examples or their results were not
            kept.
        over_seeds: its variance over the seeds, where other methods help to tell it.
    """
    if not gap.size:
        return UNKNOWN
    by_seed = gap.ndim == 1 or gap.shape[1] == 1
    if by_seed:
        return t_interval(gap.ravel(), over_seeds)
    return paired_interval(gap, over_seeds=over_seeds)


def _by_seed(values: Float[np.ndarray, "k m"]) -> Float[np.ndarray, " k"]:
    """Return the mean of each seed; none of a method that has no runs."""
    return values.mean(1) if values.size else np.empty(0)


def _gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the paired differences of the seeds that both have finished (k, m)."""
    seeds = min(len(first), len(second))
    gap = first[:seeds] - second[:seeds] if seeds else np.empty((0, 0))
    return gap[np.isfinite(gap).all(1)]


def p_values_of(gaps: Mapping[K, Difference], planned: float = math.inf) -> dict[K, float]:
    """Return the p-values of differences that share an error rate: Holm's, and of those looked at before Bonferroni's.

    Args:
        planned: the seeds that each was to have.
    """
    p_values = holm([gap.interval.p_value for gap in gaps.values()])
    return {
        name: min(1.0, DECIDING_LOOKS * p_value) if gap.seeds > planned else p_value
        for (name, gap), p_value in zip(gaps.items(), p_values, strict=True)
    }


def order(gap: Difference, p_value: float, margin: float, test_examples: int) -> str:
    """Return the verdict on a difference: ``better``, ``worse``, ``level`` or ``undecided``.

    It is level if its interval lies within the margin, which asks nothing of other rates.

    Args:
        p_value: adjusted for the other comparisons that are made with this one.
    """
    if test_examples < LEAST_EXAMPLES:
        return UNDECIDED
    word = verdict(gap.interval, p_value, margin, gap.seeds)
    return UNDECIDED if word in (BETTER, WORSE) and gap.turned_at else word


def explained(
    gap: Difference,
    p_value: float,
    margin: float,
    tests: int,
    runs: Mapping[str, MethodRuns],
    limit: float | None,
    examples: Mapping[str, int],
) -> tuple[str, str]:
    """Return the verdict, undecided where a best rate is not known, and the reason.

    Args:
        p_value: adjusted, see `order`.
        tests: the number of comparisons that share the error rate.
        runs: all that the difference rests on, by name, in the order of `Difference.turned_at`.
        limit: on what may be forgotten, nats.
        examples: how many there are of ``valid`` and ``test``.
    """
    if not gap.seeds:
        return UNDECIDED, _without_rate({name: its for name, its in runs.items() if its.chosen is None}, limit)
    outside = [name for name, its in runs.items() if its.chosen and not its.chosen.is_inside]
    if outside:
        return UNDECIDED, f"the best rate of {and_(outside)} lies at the edge of the rates tried"
    if gap.seeds < LEAST_SEEDS:
        return UNDECIDED, f"too few seeds, {gap.seeds} of at least {LEAST_SEEDS}"
    if examples["test"] < LEAST_EXAMPLES:
        return UNDECIDED, f"too few test examples, {examples['test']} of at least {LEAST_EXAMPLES}"
    word = order(gap, p_value, margin, examples["test"])
    if word != UNDECIDED:
        return word, ""
    if p_value < ERROR and gap.turned_at:
        rates = [f"{name} at {compact(rate)}" for name, rate in zip(runs, gap.turned_at, strict=True)]
        return word, (
            f"the order turns with {and_(rates)}, which the {examples['valid']} validation examples cannot tell from "
            "the best rates"
        )
    needed = seeds_to_settle(gap.gap, gap.over_seeds, margin, tests)
    if needed:
        return word, f"too few seeds: about {needed} would settle it"
    return word, "too few test examples: more seeds would not help"


def _without_rate(runs: Mapping[str, MethodRuns], limit: float | None) -> str:
    """Say why some methods have no best rate: not every seed has run, or one failed at each."""
    names, methods = and_(list(runs)), list(runs.values())
    rates = [rate for its in methods for rate in its.rates]
    fit = [rate for rate in rates if rate.allowed and np.isfinite(rate.valid).all()]
    if fit or not all(its.rates for its in methods):
        return f"no rate of {names} has finished with every seed"
    if limit is None:
        return f"at every rate a run of {names} has diverged"
    return f"{names} forget{'s' * (len(methods) < 2)} more than {limit:g} nats, or diverged, at every rate tried"
