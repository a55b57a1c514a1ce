"""Claim: the comparison of starts does not depend on the base's dtype."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.machine.memory import DTYPES
from olora_viz.machine.text import and_, compact, signed
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    Bar,
    Claim,
    Finding,
    OnStudy,
    apart,
    counted,
    ends,
    level_within,
    not_measured,
    over_of,
    together,
    where,
)
from olora_viz.studies.difference import MethodRuns, interval_of, runs_of
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE, Interval, holm, verdict
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

MAY_DIFFER = ("inits", "lrs", "seeds", "coarse", "margin", "dtype", "threads")
"""Settings in which the studies may differ."""

OF_CHANGE = {LEVEL: HOLDS, BETTER: FAILS, WORSE: FAILS, UNDECIDED: UNDECIDED}
"""The verdict on the claim, by that on the change from one dtype to the other."""


@dataclass(frozen=True, eq=False)
class Change:
    """A comparison with the reference in two dtypes: test losses minus the reference's, nats."""

    cell: Cell
    init: str
    lr: float | None
    """The rate of both; None for each at its best rate."""
    wide: Float[np.ndarray, "k m"]
    narrow: Float[np.ndarray, "k m"]
    verdict: str = UNDECIDED
    """On the claim: whether both are the same."""

    @cached_property
    def difference(self) -> Float[np.ndarray, "k m"]:
        """By how much it changes, of the seeds that ended in both."""
        difference = self.narrow - self.wide
        return difference[np.isfinite(difference).all(1)]

    @cached_property
    def interval(self) -> Interval:
        """Of the mean change."""
        return interval_of(self.difference)

    @property
    def turns(self) -> bool:
        """Whether the order is another one."""
        return self.verdict == FAILS and self.wide.mean() * self.narrow.mean() < 0

    def named(self, cells: str) -> str:
        """Name the start, its rate and, if the study has several cells, the cell."""
        rate = "at best rates" if self.lr is None else f"at {compact(self.lr)}"
        return f"{label_of(self.init)} {rate} {cells}".rstrip()


def judge(studies: Sequence[Verdicts]) -> Finding:
    """Judge every start against the reference, at each rate that was run in both dtypes and at best rates."""
    by_dtype = {each.study.fixed().dtype: each for each in studies}
    if len(by_dtype) < 2:
        return not_measured(
            f"the base is in {', '.join(by_dtype)} throughout: pass to --study two studies that differ in its dtype"
        )
    names = sorted(by_dtype, key=lambda name: -DTYPES[name].itemsize)
    wide, narrow = by_dtype[names[0]], by_dtype[names[-1]]
    study, reference = wide.study, label_of(wide.study.reference)
    if why := apart(study, narrow.study, MAY_DIFFER):
        return not_measured(why)
    margins = {cell: max(each.margin for of in (wide, narrow) for each in of.of(cell)) for cell in study.cells()}
    changes = [change for cell in study.cells() for change in changes_of(wide, narrow, cell, margins[cell])]
    if not changes:
        return not_measured(f"no start has run at one rate with {reference}, in both dtypes")

    def moved(change: Change) -> str:
        before, after = (signed(float(gap.mean()), "+.2g") for gap in (change.wide, change.narrow))
        interval = f"{signed(change.interval.mean, '+.2g')}; {ends(change.interval, over_of([change.difference]))}"
        return f"{change.named(where(study, change.cell))} from {before} to {after} nats ({interval})"

    at_rates = [change for change in changes if change.lr is not None]
    largest = max(at_rates or changes, key=lambda change: abs(change.interval.mean))
    best = "".join(f" {moved(change)}: {change.verdict}." for change in changes if change.lr is None)
    turned = [change.named(where(study, change.cell)) for change in changes if change.turns]
    parts = [change.verdict for change in changes]
    return Finding(
        # It is about every comparison, and their p-values are adjusted together: one that differs is enough.
        verdict=FAILS if FAILS in parts and HOLDS not in parts else together(parts),
        words=(
            f"That a start's test loss minus {reference}'s is the same in {names[-1]} as in {names[0]}, at one rate: "
            f"{counted([change.verdict for change in at_rates], 'comparison')}. The largest change: {moved(largest)}."
            f"{best} {f'The order turns for {and_(turned)}' if turned else 'No order turns'}."
            f"{level_within(study, [LEVEL] * (HOLDS in parts), [margins[largest.cell]] * (HOLDS in parts))}"
        ),
        numbers={
            "comparisons": len(changes), **{word: parts.count(word) for word in (HOLDS, FAILS, UNDECIDED)},
            "largest_change": largest.interval,
        },
        seeds=min(len(change.difference) for change in changes),
        bars=tuple(Bar.of(change.named(where(study, change.cell)), change.interval) for change in changes),
        unit=f"test loss minus {reference}'s, {names[-1]} minus {names[0]}, nats",
        over=over_of([change.difference for change in changes][:1]),
    )  # fmt: skip


def changes_of(wide: Verdicts, narrow: Verdicts, cell: Cell, margin: float) -> list[Change]:
    """Return every comparison of a cell in both dtypes; their p-values are adjusted together (Holm)."""
    study = wide.study
    of_reference = [runs_of(each.study, cell, study.reference, each.rows) for each in (wide, narrow)]
    changes = []
    for init in study.inits:
        if init != study.reference:
            runs = [runs_of(each.study, cell, init, each.rows) for each in (wide, narrow)]
            changes += [Change(cell, init, *gaps) for gaps in _gaps(runs, of_reference)]
    changes = [change for change in changes if change.difference.size]
    adjusted = holm([change.interval.p_value for change in changes])
    return [
        replace(change, verdict=OF_CHANGE[verdict(change.interval, p_value, margin, len(change.difference))])
        for change, p_value in zip(changes, adjusted, strict=True)
    ]


def _gaps(
    ours: Sequence[MethodRuns], theirs: Sequence[MethodRuns]
) -> Iterator[tuple[float | None, Float[np.ndarray, "k m"], Float[np.ndarray, "k m"]]]:
    """Yield the rates of two methods in both dtypes, and the difference of their test losses in each.

    Last, None for best rates, if each lies inside the rates tried.
    """
    methods = [*ours, *theirs]
    by_rate = [{runs.lr: runs.test for runs in method.rates} for method in methods]
    for lr in sorted(set(by_rate[0]).intersection(*by_rate[1:])):
        yield lr, *_differences(*(tests[lr] for tests in by_rate))
    at_best = [each.at_best.test for each in methods if each.at_best and each.chosen and each.chosen.is_inside]
    if len(at_best) == len(methods):
        yield None, *_differences(*at_best)


def _differences(*tests: Float[np.ndarray, "_ m"]) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, "k m"]]:
    """Subtract the reference's losses in both dtypes from the other's, for the seeds that all have."""
    seeds = min(map(len, tests))
    wide, narrow, from_wide, from_narrow = (test[:seeds] for test in tests)
    return wide - from_wide, narrow - from_narrow


CLAIM = Claim(
    number=18,
    name="base-dtype",
    sentence="The comparison of starts does not depend on the base's dtype.",
    source="A question of ours: on a GPU the base is in bfloat16 by default",
    measured=(
        "The test loss of each start minus the reference's in two studies that differ in the dtype of the frozen base "
        "alone: how far that difference changes, paired by seed and example, at each rate and each at its best rate."
    ),
    judge=OnStudy(lambda evidence, study: judge([study, *evidence.others]), inits=(), several=True),
)
