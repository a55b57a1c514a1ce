"""What methods forget beside the reference of a study: at one rate, at best rates and at equal learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from olora_viz.machine.wording import and_
from olora_viz.studies.claims.claim import (
    NOT_MEASURED,
    RATIO,
    WITHIN,
    Bar,
    Finding,
    counted,
    level_means,
    not_measured,
    over_compared,
    over_of,
    ratio_of,
    together,
    where,
)
from olora_viz.studies.deciding import DECIDING_LOOKS
from olora_viz.studies.difference import Difference, MethodRuns, at_one_rate, between, difference, runs_of
from olora_viz.studies.forgetting import EqualLearning, column
from olora_viz.studies.method import method_name
from olora_viz.studies.search import Chosen
from olora_viz.studies.statistics import BETTER, LEAST_SEEDS, UNDECIDED, WORSE, Interval, holm, verdict
from olora_viz.studies.study import Candidate, Cell, Study
from olora_viz.studies.verdicts import Verdicts

ONE_RATE, BEST_RATES, EQUAL_LEARNING = "at one rate", "at best rates", "at equal learning"
"""How methods are compared: all at the one rate that is best for all together, each at its best rate, and each where
it has learned as much as the reference at its best rate, see `EqualLearning`."""

WAYS = (ONE_RATE, BEST_RATES, EQUAL_LEARNING)

LEAST_DRIFT = 1e-9
"""Smaller drifts are rounding; nats per token."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The drift of one method beside the reference's in one cell, in one of the `WAYS`."""

    cell: Cell
    method: str
    way: str
    logs: Difference
    """Of the logarithms of the drifts, the reference's subtracted: by seed."""
    p_value: float
    """Adjusted over the methods (Holm), and over `DECIDING_LOOKS` if there were more seeds than planned."""
    why: str = ""
    """Why nothing can be decided, in words; empty if something can."""

    @property
    def verdict(self) -> str:
        """``better`` if it forgets less, ``worse``, ``level`` or ``undecided``.

        Drift grows about as the rate does, or faster, so that half a step between rates does more to it than the
        margin of level, which is that of all positive numbers. An order counts only if it survives the choice of the
        rates.
        """
        if self.why:
            return UNDECIDED
        word = verdict(self.logs.interval, self.p_value, RATIO, self.logs.seeds)
        return UNDECIDED if word in (BETTER, WORSE) and self.logs.turned_at else word

    @property
    def is_no_more(self) -> bool:
        """Whether its drift is at most `LEVEL_WITHIN` times the reference's, with the whole interval.

        As an order, it has to survive the choice of the rates, unless both are level.
        """
        interval, most = self.logs.interval, self.logs.over_rates[1]
        return not self.why and interval.high < RATIO and (interval.low > -RATIO or most < RATIO)


def compared(verdicts: Verdicts, inits: Sequence[str]) -> list[Compared]:
    """Compare what methods forget with what the reference forgets, in every cell that has run, and in every way."""
    return [each for cell in verdicts.study.cells() for each in _of_cell(verdicts, cell, inits)]


def _of_cell(verdicts: Verdicts, cell: Cell, inits: Sequence[str]) -> Iterator[Compared]:
    study, of_cell = verdicts.study, {each.method: each for each in verdicts.of(cell)}
    equal = {init: each.forgotten.at_equal for init, each in of_cell.items() if init in inits and each.forgotten}
    if not equal:
        return
    runs = {init: _log_drifts(verdicts, cell, init) for init in study.compare}
    theirs, at = runs[study.reference], of_cell[study.reference].shared
    shared = None if at is None else Chosen(at.lr, True, study.seeds, at.tuned)
    every, at_shared = list(runs.values()), {init: replace(of_init, chosen=shared) for init, of_init in runs.items()}
    ways: dict[str, dict[str, Difference]] = {
        ONE_RATE: {
            init: at_one_rate(at_shared[init], at_shared[study.reference], list(at_shared.values())) for init in inits
        },
        BEST_RATES: {init: difference(runs[init], theirs, every) for init in inits},
        EQUAL_LEARNING: {init: _at_equal(each) for init, each in equal.items()},
    }
    for way, by_init in ways.items():
        p_values = holm([logs.interval.p_value for logs in by_init.values()])
        for (init, logs), p_value in zip(by_init.items(), p_values, strict=True):
            looks = DECIDING_LOOKS if logs.seeds > study.seeds else 1
            why = _outside(way, equal[init], runs[init], theirs)
            if not why and (logs.seeds < LEAST_SEEDS or not math.isfinite(logs.interval.mean)):
                why = f"{logs.seeds} of at least {LEAST_SEEDS} seeds {way}"
            yield Compared(cell, init, way, logs, min(1.0, looks * p_value), why)


def _outside(way: str, equal: EqualLearning, ours: MethodRuns, theirs: MethodRuns) -> str:
    """Say that a method lies outside the rates tried; empty if it does not."""
    if way == EQUAL_LEARNING and equal.outside:
        return f"{method_name(ours.method)}: {equal.outside}"
    at_edge = [method_name(runs.method) for runs in (ours, theirs) if runs.chosen and not runs.chosen.is_inside]
    return f"the best rate of {and_(at_edge)} lies at the edge" if way == BEST_RATES and at_edge else ""


def _log_drifts(verdicts: Verdicts, cell: Cell, init: str) -> MethodRuns:
    """Return the runs of a method with the logarithm of the drift of each seed in place of its test losses."""
    runs = runs_of(verdicts.study, cell, init, verdicts.rows)

    def logs(at: Candidate, seeds: int) -> np.ndarray:
        drifts = column(verdicts.rows, verdicts.study.trials(cell, init, [at], seeds), "drift")
        return np.log(np.maximum(drifts, LEAST_DRIFT))[:, None]

    return replace(runs, rates=tuple(replace(each, test=logs(each.candidate, len(each.valid))) for each in runs.rates))


def _at_equal(equal: EqualLearning) -> Difference:
    """Compare at equal learning, by the seeds of the two: methods that are outside the rates tried tell nothing."""
    if equal.outside:
        return between(np.empty((0, 1)), np.empty((0, 1)))
    ours, theirs = (np.log(drifts)[:, None] for drifts in (equal.drifts, equal.reference_drifts))
    return between(ours, theirs)


def without_drift(verdicts: Verdicts) -> Finding | None:
    """Return that a claim was not measured, if the study has no text to keep."""
    if any(each.forgotten for each in verdicts.each):
        return None
    return not_measured("the study has no text to keep, on which forgetting is measured: run one with --keep FILE")


def finding_of(
    verdicts: Verdicts,
    drifts: Sequence[Compared],
    proposition: str,
    judge: Callable[[Compared], str],
    ways: Sequence[str] = WAYS,
    *,
    first: str = "",
    last: str = "",
    more_parts: Sequence[str] = (),
    numbers: Mapping[str, float | Interval] | None = None,
) -> Finding:
    """Return the finding on a claim about what methods forget.

    Where a study runs its rates with fewer seeds than decide anything, equal learning is not measured.

    Args:
        drifts: the comparisons of all methods in every cell and way.
        proposition: what is judged, a clause.
        judge: gives the verdict on the claim from a comparison.
        ways: those that decide; the others stand beside them.
        first, last: further sentences.
        more_parts: further verdicts on the claim.
        numbers: further ones.
    """
    if not drifts:
        return not_measured("the methods that it compares have not run yet")
    study, reference = verdicts.study, method_name(verdicts.study.reference)
    ratios: dict[tuple[str, str], Interval] = {}
    by_init, over = [], ""
    for init in dict.fromkeys(each.method for each in drifts):
        of_ways = []
        for way in WAYS:
            known = [each.logs for each in drifts if (each.method, each.way) == (init, way) and each.logs.seeds > 1]
            if known:
                gaps = [logs.gap[:, 0] for logs in known]
                ratio = ratio_of(over_compared(known))
                over_these, ratios[init, way] = over_of(gaps), ratio
                over = over or over_these
                others = f", {over_these}" if over_these != over else ""
                of_ways.append(f"{ratio.mean:.3g} {way} ({ratio.low:.3g} to {ratio.high:.3g}{others})")
        by_init += [f"{method_name(init)} {', '.join(of_ways)}"] if of_ways else []
    multiples = f"Drift as a multiple of {reference}'s (95% over {over}): {'; '.join(by_init)}." if by_init else ""
    sentences = [first, multiples]
    few = study.first_seeds < LEAST_SEEDS
    parts = {
        way: [NOT_MEASURED if few and way == EQUAL_LEARNING else judge(each) for each in drifts if each.way == way]
        for way in ways
    }
    judged = "; ".join(f"{way} {counted(words, 'comparison')}" for way, words in parts.items())
    every = [*chain(*parts.values())]
    sentences += [f"{proposition}: {judged}.", level_means(every, f"{WITHIN} of {reference}'s drift").strip(), last]
    reasons = dict.fromkeys(_place(study, each) for each in drifts if each.why)
    sentences += [f"Not decided: {'; '.join(reasons)}."] if reasons else []
    return Finding(
        verdict=together([*more_parts, *every]),
        words=" ".join(filter(None, sentences)),
        numbers={
            "cells": len(study.cells()),
            **(numbers or {}),
            **{f"times_{init}_{way.replace(' ', '_')}": ratio for (init, way), ratio in ratios.items()},
        },
        seeds=study.seeds,
        bars=tuple(
            Bar.of(f"{method_name(init)}, {way.removeprefix('at ')}", ratio)
            for (init, way), ratio in sorted(ratios.items(), key=lambda entry: WAYS.index(entry[0][1]))
        ),
        unit=f"times {reference}'s drift",
        over=over,
    )


def _place(study: Study, each: Compared) -> str:
    """Return why nothing is decided, and in which cell."""
    place = where(study, each.cell)
    return f"{each.why} ({place})" if place else each.why
