"""The verdict on a difference of test losses, and why it is undecided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from olora_viz.machine.wording import and_, compact
from olora_viz.studies.difference import Difference, MethodRuns
from olora_viz.studies.power import seeds_to_settle
from olora_viz.studies.statistics import BETTER, ERROR, LEAST_EXAMPLES, LEAST_SEEDS, UNDECIDED, WORSE, holm, verdict

K = TypeVar("K")

DECIDING_LOOKS = 2
"""A method with more seeds than the study has was looked at before: its p-value is multiplied by this (Bonferroni)."""


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
