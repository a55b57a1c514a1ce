"""Contenders of a race with what was measured of each on every held-out example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from olora_viz.measures.examples import Examples
from olora_viz.races.step import Step
from olora_viz.studies.decision import Comparison, Pairs, Scores, compare_all
from olora_viz.studies.statistics import LEVEL, UNDECIDED

LEAST_HALVED = 8
"""From this many held-out examples on, rates are chosen on one half and compared on the other."""


@dataclass(frozen=True)
class Entry:
    """A contender: lanes that differ in their seed alone."""

    name: str
    lanes: tuple[int, ...]
    """Indices of the lanes, in the order of their seeds."""


@dataclass(frozen=True)
class Contest:
    """Entries that are compared on the same seeds and examples."""

    entries: tuple[Entry, ...]
    """The one that leads by its mean first, whether or not the difference can be told."""
    accuracy: tuple[float, ...]
    """Share of right answers of each; NaN for plain text."""
    loss: tuple[float, ...]
    """Loss of each on the examples, nats; what of, `loss_name` says."""
    loss_name: str
    """``held-out loss``; ``loss of the deciding tokens`` where answers are mostly boilerplate."""
    by_accuracy: Pairs
    """Comparisons by the places of both entries; empty for plain text."""
    by_loss: Pairs
    examples: int
    """Number of held-out examples that the comparisons rest on."""
    chosen_on: int
    """Number of other examples on which rates were chosen; 0 if none were."""

    @property
    def seeds(self) -> int:
        """The fewest independent runs of a pair."""
        return min((one.seeds for one in self.by_loss.values()), default=1)

    def between(self, i: int, j: int) -> Comparison:
        """Return what leads in a comparison of two entries: accuracy, or the loss of plain text."""
        if (i, j) in self.by_accuracy:
            return self.by_accuracy[i, j]
        return self.by_loss[i, j]

    def loss_decides(self, i: int, j: int) -> Comparison | None:
        """Return the comparison by loss if it orders two entries that accuracy does not."""
        if (i, j) not in self.by_accuracy:
            return None
        ordered = (
            one.in_these_runs not in (LEVEL, UNDECIDED)
            for one in (self.by_accuracy[i, j], self.by_loss[i, j])
        )
        return self.by_loss[i, j] if tuple(ordered) == (False, True) else None


def latest_examples(steps: Sequence[Step]) -> Examples | None:
    """Return the newest results by example; None if there are none."""
    return next((s.eval_examples for s in reversed(steps) if s.eval_examples is not None), None)


def contest(
    entries: Sequence[Entry],
    examples: Examples,
    *,
    plain_text: bool,
    columns: slice = slice(None),
    chosen_on: int = 0,
    told: int = 1,
) -> Contest | None:
    """Compare entries; those with a diverged lane are left out, since a mean would be biased.

    Parameters
    ----------
    entries : all with as many lanes.
    examples : of the race's latest evaluation.
    columns : the examples to compare on.
    told : number of such contests that are told of together, and share one error rate.

    Returns
    -------
    Contest, or None if no entry is left.
    """
    whole = [e for e in entries if np.isfinite(examples.loss[list(e.lanes)]).all()]
    if not whole:
        return None
    scores = {
        e: scores_of(e.lanes, examples, plain_text=plain_text, columns=columns) for e in whole
    }
    # Seeds that are one run of any entry are one of all, so that the scores are those compared.
    runs = sorted(set.intersection(*(set(s.runs) for s in scores.values())))
    scores = {e: s.of(runs) for e, s in scores.items()}
    accuracy = {
        e: math.nan if s.right is None else float(s.right.mean()) for e, s in scores.items()
    }
    loss = {e: float(s.loss.mean()) for e, s in scores.items()}
    ranked = sorted(whole, key=lambda e: (0.0 if plain_text else -accuracy[e], loss[e]))
    by_loss, by_accuracy = compare_all([scores[e] for e in ranked], told=told)
    return Contest(
        entries=tuple(ranked),
        accuracy=tuple(accuracy[e] for e in ranked),
        loss=tuple(loss[e] for e in ranked),
        loss_name="held-out loss" if examples.all_decide else "loss of the deciding tokens",
        by_accuracy=by_accuracy,
        by_loss=by_loss,
        examples=scores[ranked[0]].loss.shape[1],
        chosen_on=chosen_on,
    )


def scores_of(
    lanes: Sequence[int],
    examples: Examples,
    *,
    plain_text: bool,
    columns: slice = slice(None),
) -> Scores:
    """Return the scores of lanes that differ in their seed alone."""
    rows = list(lanes)
    right = None if plain_text else examples.right[rows][:, columns]
    return Scores(examples.loss[rows][:, columns], right)


def halves(examples: Examples) -> tuple[slice, slice]:
    """Return the examples to choose a rate on, and those to compare on: all, if they are few."""
    if examples.loss.shape[1] < LEAST_HALVED:
        return slice(None), slice(None)
    return slice(0, None, 2), slice(1, None, 2)


def best_of(entries: Sequence[Entry], examples: Examples, columns: slice) -> int | None:
    """Return the place of the entry with the lowest mean loss; None if all have diverged."""
    means = [float(examples.loss[list(e.lanes)][:, columns].mean()) for e in entries]
    finite = [i for i, mean in enumerate(means) if math.isfinite(mean)]
    return min(finite, key=lambda i: means[i], default=None)
