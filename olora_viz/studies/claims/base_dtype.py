"""Claim: the comparison of starts does not depend on the base's dtype."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from olora_viz.machine.devices import DTYPES
from olora_viz.machine.wording import and_, compact, signed
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OF_LEVEL,
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
    rise,
    together,
    where,
)
from olora_viz.studies.difference import Difference, between, p_values_of
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import LEVEL, UNDECIDED, Interval, verdict
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

MAY_DIFFER = ("compare", "lr", "seeds", "coarse", "margin", "dtype", "threads")
"""Settings in which the studies may differ."""


@dataclass(frozen=True, eq=False)
class Change:
    """A comparison with the reference in two dtypes: test losses minus the reference's, nats."""

    cell: Cell
    method: str
    lr: float | None
    """The rate of both; None for each at its best rate."""
    wide: Difference
    narrow: Difference
    change: Difference
    """By how much it changes, of the seeds that ended in both."""
    verdict: str = UNDECIDED
    """On the claim: whether both are the same."""

    @property
    def interval(self) -> Interval:
        """Of the mean change."""
        return self.change.interval

    @property
    def turns(self) -> bool:
        """Whether the order is another one."""
        return self.verdict == FAILS and self.wide.interval.mean * self.narrow.interval.mean < 0

    def named(self, cells: str) -> str:
        """Name the start, its rate and, if the study has several cells, the cell."""
        rate = "at best rates" if self.lr is None else f"at {compact(self.lr)}"
        return f"{method_name(self.method)} {rate} {cells}".rstrip()


def judge(studies: Sequence[Verdicts]) -> Finding:
    """Judge every start against the reference, at each rate that was run in both dtypes and at best rates."""
    by_dtype = {each.study.fixed().race.dtype: each for each in studies}
    if len(by_dtype) < 2:
        return not_measured(
            f"the base is in {', '.join(by_dtype)} throughout: pass to --study two studies that differ in its dtype"
        )
    names = sorted(by_dtype, key=lambda name: -DTYPES[name].itemsize)
    wide, narrow = by_dtype[names[0]], by_dtype[names[-1]]
    study, reference = wide.study, method_name(wide.study.reference)
    if why := apart(study, narrow.study, MAY_DIFFER):
        return not_measured(why)
    margins = {cell: max(each.margin for of in (wide, narrow) for each in of.of(cell)) for cell in study.cells()}
    changes = [change for cell in study.cells() for change in changes_of(wide, narrow, cell, margins[cell])]
    if not changes:
        return not_measured(f"no start has run at one rate with {reference}, in both dtypes")

    def moved(change: Change) -> str:
        before, after = (signed(each.interval.mean, "+.2g") for each in (change.wide, change.narrow))
        interval = f"{signed(change.interval.mean, '+.2g')}; {ends(change.interval, over_of([change.change.gap]))}"
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
        seeds=min(change.change.seeds for change in changes),
        bars=tuple(Bar.of(change.named(where(study, change.cell)), change.interval) for change in changes),
        unit=f"test loss minus {reference}'s, {names[-1]} minus {names[0]}, nats",
        over=over_of([changes[0].change.gap]),
    )  # fmt: skip


def changes_of(wide: Verdicts, narrow: Verdicts, cell: Cell, margin: float) -> list[Change]:
    """Return every comparison of a cell in both dtypes; their p-values are adjusted together (Holm)."""
    both = [init for init in wide.study.compare if init in narrow.study.compare]
    tests = {init: _tests(wide, narrow, cell, init) for init in both}
    theirs = tests.get(wide.study.reference, {})
    changes = []
    for init, ours in tests.items():
        for lr in ours if ours is not theirs else ():
            if lr in theirs:
                in_wide, in_narrow = (between(a, b) for a, b in zip(ours[lr], theirs[lr], strict=True))
                among = [rise(*of_init[lr]) for of_init in tests.values() if lr in of_init]
                changes.append(
                    Change(cell, init, lr, in_wide, in_narrow, between(rise(*ours[lr]), rise(*theirs[lr]), among))
                )
    changes = [change for change in changes if change.change.seeds]
    p_values = p_values_of({at: change.change for at, change in enumerate(changes)})
    return [
        replace(change, verdict=OF_LEVEL[verdict(change.interval, p_values[at], margin, change.change.seeds)])
        for at, change in enumerate(changes)
    ]


def _tests(wide: Verdicts, narrow: Verdicts, cell: Cell, init: str) -> dict[float | None, tuple[np.ndarray, ...]]:
    """Return the test losses of a method in both dtypes, at every rate that it has run in both.

    Last, None for best rates, if each lies inside the rates tried.
    """
    both = [each.runs[cell, init] for each in (wide, narrow)]
    by_rate = [{runs.at.lr: runs.test for runs in method.rates} for method in both]
    tests: dict[float | None, tuple[np.ndarray, ...]] = {
        lr: tuple(each[lr] for each in by_rate) for lr in sorted(by_rate[0].keys() & by_rate[1].keys())
    }
    at_best = tuple(each.at_best.test for each in both if each.at_best and each.is_inside)
    return tests | {None: at_best} if len(at_best) == len(both) else tests


CLAIM = Claim(
    number=18,
    name="base-dtype",
    sentence="The comparison of starts does not depend on the base's dtype.",
    source="A question of ours: on a GPU the base is in bfloat16 by default",
    measured=(
        "The test loss of each start minus the reference's in two studies that differ in the dtype of the frozen base "
        "alone: how far that difference changes, paired by seed and example, at each rate and each at its best rate."
    ),
    judge=OnStudy(lambda evidence, study: judge([study, *evidence.others]), methods=(), several=True),
)
