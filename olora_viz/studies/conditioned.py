"""Which start is better conditioned: tangent-kernel condition numbers compared over batches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from olora_viz.machine.numbers import compact, rounded
from olora_viz.studies.decision import (
    AHEAD,
    BEHIND,
    Comparison,
    Pairs,
    Scores,
    adjusted,
    compare_all,
)
from olora_viz.studies.statistics import LEVEL, LEVEL_WITHIN
from olora_viz.studies.words import Sentence

MARGIN = math.log(LEVEL_WITHIN)
"""Condition numbers are about equal if the interval of their log ratio lies within this of zero."""


def compare_conditions(conditions: Float[np.ndarray, "K n"]) -> Pairs:
    """Compare the log condition numbers of every pair of lanes, paired by batch.

    A condition number is a ratio that does not depend on the scale of the loss, so logarithms are
    compared. Lanes with a condition number that is not finite are left out.
    """
    lanes = np.flatnonzero(np.isfinite(conditions).all(1))
    if not len(lanes):
        return {}
    every = compare_all([Scores(np.log(conditions[k])[None]) for k in lanes])
    (by_loss,) = adjusted([every])
    return {
        (int(lanes[i]), int(lanes[j])): replace(found, margin=MARGIN)
        for (i, j), found in by_loss.items()
    }


def compared_conditions(
    conditions: Float[np.ndarray, "K n"], lane: int, other: int, name: str, its_name: str
) -> Sentence:
    """Describe which of two lanes is better conditioned, if this holds over the batches.

    Parameters
    ----------
    conditions : of all lanes on every batch, see `Conditioning.conditions`.
    lane, other : the lanes to compare.
    name, its_name : their names.
    """
    mine, theirs = conditions[lane], conditions[other]
    n = len(mine)
    found = compare_conditions(conditions).get((lane, other))
    if found is None:
        singular, values = (its_name, theirs) if np.isfinite(mine).all() else (name, mine)
        count = int((~np.isfinite(values)).sum())
        return Sentence(
            f"The tangent kernel of {singular} has no condition number:",
            f"on {count} of {n} batches its smallest eigenvalue is zero to rounding.",
        )
    values = f"{_range(mine)} against {_range(theirs)}"
    if n == 1:
        return Sentence(
            "One batch does not tell which is better conditioned:",
            f"there the condition number of {name}'s tangent kernel is {values} for {its_name}'s.",
        )
    lead = _LEADS.get(found.in_these_runs)
    number = f"over {n} batches the condition number of {name}'s tangent kernel"
    if lead:
        return Sentence(
            f"With this seed {name} is {lead} {its_name}:",
            f"{number} is {_ratio(found)} times {its_name}'s, with a median of {values}.",
        )
    lower = int((mine < theirs).sum())
    told = "differs by batch" if 0 < lower < n else f"is not decided by {n} batches"
    return Sentence(
        f"Which is better conditioned {told}:",
        f"{number} has a median of {values} for {its_name}'s; it is lower on {lower} of {n}.",
    )


_LEADS = {
    AHEAD: "better conditioned than",
    BEHIND: "worse conditioned than",
    LEVEL: "about as well conditioned as",
}


def _ratio(found: Comparison) -> str:
    """Return the ratio of two condition numbers, with its 95% interval."""
    ratio, low, high = (math.exp(x) for x in (found.difference, found.low, found.high))
    return f"{ratio:.2g} (95% interval {low:.2g} to {high:.2g})"


def _range(values: np.ndarray) -> str:
    """Return the median of several values with their range, or the single one."""
    if len(values) == 1:
        return _figures(values[0])
    low, median, high = map(_figures, (values.min(), np.median(values), values.max()))
    return f"{median} ({low} to {high})"


def _figures(value: float) -> str:
    return compact(rounded(float(value), 3))
