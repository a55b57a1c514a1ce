"""The runs of one method in one cell of a study, and the paired comparison of two methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from olora_viz.races.state import DIVERGED
from olora_viz.studies.planning import Chosen, best, rates_tried, seeds_of
from olora_viz.studies.statistics import Interval, paired_interval, t_interval
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.survival import range_over_rates, rates_like, survives

Row = Mapping[str, Any]
"""The columns of `race_rows.COLUMNS` and `race_rows.BY_EXAMPLE` by name."""

NOTHING = Interval(math.nan, -math.inf, math.inf, 1.0)
"""The interval of a difference of which nothing is known."""


@dataclass(frozen=True, eq=False)
class RateRuns:
    """The seeds of a method at one rate; losses in nats, of a diverged run NaN."""

    lr: float
    valid: Float[np.ndarray, "k n"]
    """Losses on the validation examples."""
    test: Float[np.ndarray, "k m"]
    """Losses on the test examples."""


@dataclass(frozen=True, eq=False)
class MethodRuns:
    """The runs of one method in one cell, at all rates that were tried."""

    init: str
    chosen: Chosen | None
    """Its best rate by the mean validation loss; None if each has a diverged or missing run."""
    rates: tuple[RateRuns, ...]
    """With at least one seed; the lowest rate first."""

    @cached_property
    def at_best(self) -> RateRuns | None:
        """The runs at the best rate."""
        return next((one for one in self.rates if self.chosen and one.lr == self.chosen.lr), None)

    @cached_property
    def like_best(self) -> tuple[RateRuns, ...]:
        """The runs at the rates that the validation results cannot tell from the best one."""
        best_one = self.at_best
        if best_one is None:
            return ()
        held_out = [one.valid for one in self.rates]
        at = rates_like(held_out, self.rates.index(best_one))
        return tuple(self.rates[i] for i in at)

    @cached_property
    def chosen_without(self) -> Float[np.ndarray, "k m"]:
        """The test losses of each seed, at the rate that the other seeds choose."""
        seeds = self.chosen.seeds if self.chosen else 0
        if seeds < 2:
            return np.empty((0, 0))
        whole = [
            one for one in self.rates if len(one.valid) >= seeds and np.isfinite(one.valid).all()
        ]
        rows = []
        for seed in range(seeds):
            others = [k for k in range(seeds) if k != seed]
            rate = min(whole, key=lambda one: one.valid[others].mean())
            rows.append(rate.test[seed])
        return np.array(rows)


@dataclass(frozen=True, eq=False)
class Difference:
    """The test loss of one method minus another's, each at its best rate; nats."""

    gap: Float[np.ndarray, "k m"]
    """Of every seed that both have finished, and every test example."""
    interval: Interval
    """Of its mean, for other seeds and examples: the union, with the larger p-value, of that at the
    best rates and that in which every seed has the rates that the other seeds choose. The first
    alone takes the rates for given, though the same seeds chose them, and is too narrow if one
    method varies more from run to run than the other: it has more luck to choose from."""
    over_rates: tuple[float, float]
    """The lowest and the highest mean difference over the pairs of rates that the validation
    results cannot tell from the best ones."""
    turned_at: tuple[float, float] | None
    """The rates of both at which the difference has another sign and is the largest; None if none
    has, so that it survives the choice of the rates."""

    @property
    def seeds(self) -> int:
        """The number of paired differences."""
        return len(self.gap)

    @property
    def by_seed(self) -> Float[np.ndarray, " k"]:
        """The mean difference of each seed."""
        return self.gap.mean(1) if self.gap.size else np.empty(0)


def runs_of(study: Study, cell: Cell, init: str, rows: Mapping[Trial, Row]) -> MethodRuns:
    """Return the runs of a method in a cell.

    Parameters
    ----------
    rows : of all finished trials.
    """
    losses = {trial: _loss(rows[trial], "valid") for trial in rows if trial.cell == cell}
    rates = []
    for lr in rates_tried(study, cell, init, losses):
        seeds = range(seeds_of(study, cell, init, lr, losses))
        of_rate = [rows[Trial(cell, init, lr, seed)] for seed in seeds]
        if of_rate:
            rates.append(RateRuns(lr, _by_example(of_rate, "valid"), _by_example(of_rate, "test")))
    return MethodRuns(init, best(study, cell, init, losses), tuple(rates))


def difference(ours: MethodRuns, theirs: MethodRuns) -> Difference:
    """Compare two methods, each at its best rate, on the test examples, paired by seed and example.

    If one of them has no best rate, nothing is known.
    """
    found = at_one_rate(ours, theirs)
    if not found.seeds:
        return found
    over_rates = range_over_rates(
        [one.test for one in ours.like_best], [one.test for one in theirs.like_best]
    )
    mean, turned = found.interval.mean, None
    if not survives(mean, over_rates):
        pairs = [(a, b) for a in ours.like_best for b in theirs.like_best]
        a, b = min(pairs, key=lambda pair: math.copysign(1.0, mean) * _gap(*pair).mean())
        turned = a.lr, b.lr
    return replace(
        found, interval=_with_choice(found.interval, ours, theirs), over_rates=over_rates,
        turned_at=turned,
    )  # fmt: skip


def _with_choice(found: Interval, ours: MethodRuns, theirs: MethodRuns) -> Interval:
    """Widen an interval at best rates for their choice, see `Difference.interval`."""
    first, second = ours.chosen_without, theirs.chosen_without
    seeds = min(len(first), len(second))
    if seeds < 2:
        return found
    again = interval_of(first[:seeds] - second[:seeds])
    return Interval(
        found.mean, min(found.low, again.low), max(found.high, again.high),
        max(found.p_value, again.p_value),
    )  # fmt: skip


def at_one_rate(ours: MethodRuns, theirs: MethodRuns) -> Difference:
    """Compare two methods whose rates are given, so that no other rates matter."""
    first, second = ours.at_best, theirs.at_best
    gap = np.empty((0, 0)) if first is None or second is None else _gap(first, second)
    mean = float(gap.mean()) if gap.size else math.nan
    return Difference(gap, interval_of(gap), (mean, mean), None)


def interval_of(gap: Float[np.ndarray, "k ..."]) -> Interval:
    """Return the interval of a mean paired difference.

    Parameters
    ----------
    gap : by seed and example; or by seed alone (k,) or (k, 1), if there are no examples or their
        results were not kept.
    """
    if not gap.size:
        return NOTHING
    by_seed = gap.ndim == 1 or gap.shape[1] == 1
    return t_interval(gap.ravel()) if by_seed else paired_interval(gap)


def _gap(first: RateRuns, second: RateRuns) -> np.ndarray:
    """Return the paired differences of the seeds that both have finished (k, m)."""
    seeds = min(len(first.test), len(second.test))
    gap = first.test[:seeds] - second.test[:seeds]
    return gap[np.isfinite(gap).all(1)]


def _loss(row: Row, part: str) -> float:
    loss = row[f"{part}_loss"]
    return math.nan if row["status"] == DIVERGED or loss is None else float(loss)


def _by_example(rows: Sequence[Row], part: str) -> np.ndarray:
    """Return the losses of runs by example (k, n); their means (k, 1) where only these are kept."""
    kept = by_example(rows, f"{part}_loss_by_example")
    return np.array([[_loss(row, part)] for row in rows]) if kept is None else kept


def by_example(rows: Sequence[Row], name: str) -> np.ndarray | None:
    """Return a column of the runs' results by example (k, n), NaN where a run has diverged.

    None where earlier versions did not keep it.

    Parameters
    ----------
    name : one of `race_rows.BY_EXAMPLE`.
    """
    kept = [np.asarray(row.get(name, ()), dtype=float) for row in rows]
    if len(sizes := {len(each) for each in kept}) > 1 or sizes == {0}:
        return None
    diverged = np.array([row["status"] == DIVERGED for row in rows])
    return np.where(diverged[:, None], math.nan, np.array(kept))
