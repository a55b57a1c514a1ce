"""What the contenders of a race are compared by: one metric, fixed before the race.

It is the accuracy where answers are right or wrong, and the loss for plain text. Only at the end of
a race may the accuracies force the loss: if no lane does better than guessing, or if all
contenders, each at its best rate, are right in at most 5% or in at least 95%. What is said in the
middle of a race never goes from one metric to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import percent
from olora_viz.measures.examples import Examples
from olora_viz.studies.comparison import Setting, fields_of
from olora_viz.studies.decision import MARGIN_OF_SHARES
from olora_viz.studies.seed_groups import seed_groups

ACCURACY, LOSS = "accuracy", "loss"
"""The metrics."""

FLOOR, CEILING = MARGIN_OF_SHARES, 1 - MARGIN_OF_SHARES
"""Accuracies up to the one, or from the other on, cannot differ by more than what is level."""


@dataclass(frozen=True)
class Metric:
    """What contenders are compared by."""

    name: str
    """``accuracy`` or ``loss``."""
    why: str = ""
    """Why the loss takes the place of the accuracy, as a sentence; empty if it does not."""

    @property
    def by_loss(self) -> bool:
        """Whether it is the loss."""
        return self.name == LOSS

    @property
    def order(self) -> str:
        """What a table is sorted by, in words."""
        return "by loss" if self.by_loss else "by accuracy, ties by loss"


def metric_of(
    lanes: Sequence[Lane],
    examples: Examples | None,
    *,
    plain_text: bool,
    ended: bool = False,
    guessing: bool = False,
) -> Metric:
    """Return the metric of a race.

    Parameters
    ----------
    examples : results by example at the latest evaluation; None if there are none.
    plain_text : whether every token is judged, so that no answer is right or wrong.
    ended : whether it is the last evaluation of the race.
    guessing : whether no lane does better than guessing, see `is_guessing`.
    """
    if plain_text:
        return Metric(LOSS)
    if ended and guessing:
        return Metric(LOSS, "By loss, as no lane does better than guessing.")
    best = _best_accuracies(lanes, examples) if ended and examples is not None else []
    if best and (min(best) >= CEILING or max(best) <= FLOOR):
        high = min(best) >= CEILING
        share = f"{percent(CEILING)} or more" if high else f"{percent(FLOOR)} or less"
        return Metric(LOSS, f"By loss, as all are right in {share}.")
    return Metric(ACCURACY)


def _best_accuracies(lanes: Sequence[Lane], examples: Examples) -> list[float]:
    """Return the accuracy of each contender that is left: of a start, at its best rate."""
    several = any(len(field.starts) > 1 for field in fields_of(lanes))
    best: dict[object, float] = {}
    for group in seed_groups(lanes):
        lane, rows = group.lane, list(group.lanes)
        if not np.isfinite(examples.loss[rows]).all():
            continue
        contender = (lane.init, Setting.of(lane)) if several else group
        share = float(examples.right[rows].mean())
        best[contender] = max(best.get(contender, -math.inf), share)
    return list(best.values())
