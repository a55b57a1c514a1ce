"""What the loss tells of contenders that are compared by right answers, where it tells something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from olora_viz.measures.training import Examples
from olora_viz.studies.contest import Contest, halves, scores_of
from olora_viz.studies.sentences import Statement, statement_of
from olora_viz.studies.statistics import AHEAD, LEAST_EXAMPLES, adjusted, compare_all

LOOKS = 2
"""The loss is a second look at the same runs: its p-values are multiplied by this (Bonferroni)."""


def by_loss_too(contest: Contest, examples: Examples) -> list[Statement]:
    """Return how the contenders stand by loss, if it orders others than right answers do; they keep their rates.

    The metric that was named first decides; this is said beside it.

    Args:
        examples: on which the contenders were compared.
    """
    if contest.by_loss or len(contest.names) < 2:
        return []
    _, judge = halves(examples) if contest.chosen_on else (None, slice(None))
    scores = [scores_of(group.lanes, examples, judge).of([*contest.runs]) for group in contest.contenders]
    (pairs,) = adjusted([compare_all(scores)])
    loss = contest.loss
    by_loss = {
        (i, j): replace(
            pair, p_value=min(1.0, LOOKS * pair.p_value),
            counts=pair.examples >= LEAST_EXAMPLES and (loss[i] - loss[j]) * pair.difference > 0,
        )
        for (i, j), pair in pairs.items()
    }  # fmt: skip
    orders = [{at for at, pair in each.items() if pair.in_these_runs == AHEAD} for each in (contest.pairs, by_loss)]
    if orders[0] == orders[1]:
        return []
    first, *others = np.argsort(loss).tolist()
    other = replace(contest, pairs=by_loss, by_loss=True)
    return [statement_of(other, first, *others, where="By loss,")]
