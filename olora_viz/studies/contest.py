"""Contenders of a race with what was measured of each on every held-out example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from olora_viz.measures.examples import Examples
from olora_viz.races.step import Step
from olora_viz.studies.decision import Pairs, Scores, compare_all
from olora_viz.studies.statistics import LEAST_EXAMPLES
from olora_viz.studies.survival import Results

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
    """Share of right answers of each; for plain text, of tokens."""
    loss: tuple[float, ...]
    """Loss of each on the examples, nats; what of, `loss_name` says."""
    loss_name: str
    """``held-out loss``; ``loss of the deciding tokens`` where answers are mostly boilerplate."""
    pairs: Pairs
    """Comparisons by the places of both entries, by the metric of the race; the p-values are to be
    adjusted, see `olora_viz.studies.decision.adjusted`."""
    by_loss: bool
    """Whether the loss is compared instead of the accuracy."""
    examples: int
    """Number of held-out examples that the comparisons rest on."""
    chosen_on: int
    """Number of other examples on which rates were chosen; 0 if none were."""
    runs: tuple[int, ...]
    """Places of the seeds that are independent runs of every entry."""

    @property
    def seeds(self) -> int:
        """The fewest independent runs of a pair."""
        return min((one.seeds for one in self.pairs.values()), default=1)

    @property
    def values(self) -> tuple[float, ...]:
        """What is compared of each."""
        return self.loss if self.by_loss else self.accuracy


def latest_examples(steps: Sequence[Step]) -> Examples | None:
    """Return the newest results by example; None if there are none."""
    return next((s.eval_examples for s in reversed(steps) if s.eval_examples is not None), None)


def contest(
    entries: Sequence[Entry],
    examples: Examples,
    *,
    by_loss: bool,
    columns: slice = slice(None),
    chosen_on: int = 0,
) -> Contest | None:
    """Compare entries; those with a diverged lane are left out, since a mean would be biased.

    On fewer than `LEAST_EXAMPLES` examples nothing is decided.

    Parameters
    ----------
    entries : all with as many lanes.
    examples : of the race's latest evaluation.
    by_loss : compare losses instead of accuracies.
    columns : the examples to compare on.

    Returns
    -------
    Contest, or None if no entry is left.
    """
    whole = [e for e in entries if np.isfinite(examples.loss[list(e.lanes)]).all()]
    if not whole:
        return None
    scores = {e: scores_of(e.lanes, examples, columns) for e in whole}
    # Seeds that are one run of any entry are one of all, so that the scores are those compared.
    runs = sorted(set.intersection(*(set(s.runs) for s in scores.values())))
    scores = {e: s.of(runs) for e, s in scores.items()}
    accuracy = {
        e: math.nan if s.right is None else float(s.right.mean()) for e, s in scores.items()
    }
    loss = {e: float(s.loss.mean()) for e, s in scores.items()}
    ranked = sorted(whole, key=lambda e: (0.0 if by_loss else -accuracy[e], loss[e]))
    count = scores[ranked[0]].loss.shape[1]
    pairs = compare_all([scores[e] for e in ranked], shares=not by_loss)
    return Contest(
        entries=tuple(ranked),
        accuracy=tuple(accuracy[e] for e in ranked),
        loss=tuple(loss[e] for e in ranked),
        loss_name="held-out loss" if examples.all_decide else "loss of the deciding tokens",
        pairs={
            pair: replace(one, counts=count >= LEAST_EXAMPLES) for pair, one in pairs.items()
        },
        by_loss=by_loss,
        examples=count,
        chosen_on=chosen_on,
        runs=tuple(runs),
    )  # fmt: skip


def scores_of(lanes: Sequence[int], examples: Examples, columns: slice = slice(None)) -> Scores:
    """Return the scores of lanes that differ in their seed alone."""
    rows = list(lanes)
    return Scores(examples.loss[rows][:, columns], examples.right[rows][:, columns])


def results_by_example(
    lanes: Sequence[int], examples: Examples, *, by_loss: bool, columns: slice
) -> Results:
    """Return what rates are chosen and judged by, lower being better: losses, or wrong answers.

    A lane that has diverged has NaN.
    """
    rows = list(lanes)
    loss = examples.loss[rows][:, columns]
    wrong = np.where(np.isfinite(loss), 1.0 - examples.right[rows][:, columns], math.nan)
    return loss if by_loss else wrong


def halves(examples: Examples) -> tuple[slice, slice]:
    """Return the examples to choose a rate on, and those to compare on: all, if they are few."""
    if examples.loss.shape[1] < LEAST_HALVED:
        return slice(None), slice(None)
    return slice(0, None, 2), slice(1, None, 2)


def best_of(
    entries: Sequence[Entry], examples: Examples, columns: slice, *, by_loss: bool
) -> int | None:
    """Return the place of the best entry by its mean, ties by loss; None if all have diverged."""
    means = []
    for entry in entries:
        led, loss = (
            results_by_example(entry.lanes, examples, by_loss=by, columns=columns).mean()
            for by in (by_loss, True)
        )
        means.append((float(led), float(loss)))
    finite = [i for i, (_, loss) in enumerate(means) if math.isfinite(loss)]
    return min(finite, key=lambda i: means[i], default=None)
