"""How contenders compare: starts at their best rates and at shared ones, or all lanes of a race."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.machine.text import compact
from olora_viz.measures.training import Examples
from olora_viz.races.step import Step
from olora_viz.studies.fields import Field, SeedGroup, fields_of, seed_groups
from olora_viz.studies.pairing import (
    Pairs,
    Results,
    Scores,
    adjusted,
    compare_all,
    range_over_rates,
    rates_like,
    survives,
)
from olora_viz.studies.statistics import LEAST_EXAMPLES

LEAST_HALVED = 8
"""From this many held-out examples on, rates are chosen on one half and compared on the other."""

LARGEST, LOWEST = "largest", "lowest"
"""The ends of the rates that were tried."""


@dataclass(frozen=True)
class Contest:
    """Contenders that are compared on the same seeds and examples."""

    contenders: tuple[SeedGroup, ...]
    """The one that leads by its mean first, even if the comparison is undecided."""
    names: tuple[str, ...]
    """Of the contenders."""
    accuracy: tuple[float, ...]
    """Share of right answers of each; for plain text, of tokens."""
    loss: tuple[float, ...]
    """Loss of each on the examples, nats; what of, `loss_name` says."""
    loss_name: str
    """``held-out loss``; ``loss of the deciding tokens`` where answers are mostly boilerplate."""
    pairs: Pairs
    """Comparisons by the places of both contenders, by the metric of the race."""
    by_loss: bool
    """Whether the loss is compared instead of the accuracy."""
    examples: int
    """Number of held-out examples that the comparisons rest on."""
    chosen_on: int
    """Number of other examples on which rates were chosen; 0 if none were."""
    runs: tuple[int, ...]
    """Places of the seeds that are independent runs of every contender."""
    turns: dict[tuple[int, int], tuple[SeedGroup, ...]]
    """Where a difference between two contenders has the other sign: at rates that the held-out results cannot tell
    from the best ones, of one of the two or of both."""
    field: Field | None = None
    """Whose starts are compared, each at its best rate; None for any other contest."""
    shared: tuple[Contest, ...] = ()
    """The main two starts at every rate that both race at, the lowest first; none where the starts race at one rate,
    and in a race with several fields."""

    @property
    def seeds(self) -> int:
        """The fewest independent runs of a pair."""
        return min((pair.seeds for pair in self.pairs.values()), default=1)

    @property
    def values(self) -> tuple[float, ...]:
        """What is compared of each."""
        return self.loss if self.by_loss else self.accuracy

    @property
    def places(self) -> dict[str, int]:
        """The place of every start."""
        return {group.lane.init: place for place, group in enumerate(self.contenders)}

    @property
    def tried(self) -> dict[str, list[float]]:
        """The rates from which each start's was chosen, the lowest first; none if not starts are compared."""
        return {start: self.field.rates(start) for start in self.places} if self.field else {}

    def at_end(self, end: str) -> list[str]:
        """Return the starts whose rate is the ``largest`` or the ``lowest`` of several tried."""
        place = -1 if end == LARGEST else 0
        return [
            start
            for start, rates in self.tried.items()
            if len(rates) > 1 and self.contenders[self.places[start]].lane.lr == rates[place]
        ]

    @property
    def narrower(self) -> dict[str, list[float]]:
        """The rates of the starts that were not tried at all rates at which others were."""
        every = set().union(*self.tried.values())
        return {start: rates for start, rates in self.tried.items() if set(rates) != every}


def latest_examples(steps: Sequence[Step]) -> Examples | None:
    """Return the newest results by example; None if there are none."""
    return next((s.eval_examples for s in reversed(steps) if s.eval_examples is not None), None)


def contest(
    contenders: Sequence[SeedGroup],
    names: Sequence[str],
    examples: Examples,
    *,
    by_loss: bool,
    columns: slice = slice(None),
    chosen_on: int = 0,
) -> Contest | None:
    """Compare contenders; those with a diverged lane are left out, since a mean would be biased.

    On fewer than `LEAST_EXAMPLES` examples nothing is decided. The p-values are to be adjusted, see
    `olora_viz.studies.pairing.adjusted`.

    Args:
        contenders: all with as many lanes.
        names: of the contenders.
        examples: of the race's latest evaluation.
        by_loss: compare losses instead of accuracies.
        columns: the examples to compare on.
        chosen_on: see `Contest`.

    Returns:
        Contest, or None if no contender is left.
    """
    whole = [i for i, group in enumerate(contenders) if np.isfinite(examples.loss[list(group.lanes)]).all()]
    if not whole:
        return None
    scores = {i: scores_of(contenders[i].lanes, examples, columns) for i in whole}
    # Seeds that are one run of any contender are one of all, so that the scores are those compared.
    runs = sorted(set.intersection(*(set(s.runs) for s in scores.values())))
    scores = {i: s.of(runs) for i, s in scores.items()}
    accuracy = {i: math.nan if s.right is None else float(s.right.mean()) for i, s in scores.items()}
    loss = {i: float(s.loss.mean()) for i, s in scores.items()}
    ranked = sorted(whole, key=lambda i: (0.0 if by_loss else -accuracy[i], loss[i]))
    count = scores[ranked[0]].loss.shape[1]
    pairs = compare_all([scores[i] for i in ranked], shares=not by_loss)
    return Contest(
        contenders=tuple(contenders[i] for i in ranked),
        names=tuple(names[i] for i in ranked),
        accuracy=tuple(accuracy[i] for i in ranked),
        loss=tuple(loss[i] for i in ranked),
        loss_name="held-out loss" if examples.all_decide else "loss of the deciding tokens",
        pairs={places: replace(pair, counts=count >= LEAST_EXAMPLES) for places, pair in pairs.items()},
        by_loss=by_loss,
        examples=count,
        chosen_on=chosen_on,
        runs=tuple(runs),
        turns={},
    )


def scores_of(lanes: Sequence[int], examples: Examples, columns: slice = slice(None)) -> Scores:
    """Return the scores of lanes that differ in their seed alone."""
    rows = list(lanes)
    return Scores(examples.loss[rows][:, columns], examples.right[rows][:, columns])


def results_by_example(lanes: Sequence[int], examples: Examples, *, by_loss: bool, columns: slice) -> Results:
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


def contests_of(lanes: Sequence[Lane], examples: Examples, *, by_loss: bool, most: int) -> list[Contest]:
    """Compare the starts of each field at their best rates, and those of a single field at shared rates.

    If the race has no field, it is one contest of all lanes. All comparisons share one error rate. An order at best
    rates counts only if it is the same at all rates that the results on which they were chosen cannot tell from them.

    Args:
        most: maximum number of fields.
    """
    fields = fields_of(lanes)[:most]
    of_fields = (_at_best_rates(field, examples, by_loss) for field in fields)
    contests = [each for each in of_fields if each] if fields else _of_every_lane(lanes, examples, by_loss)
    shared = _at_shared_rates(fields[0], examples, by_loss) if len(fields) == len(contests) == 1 else []
    every = [*contests, *shared]
    decided = []
    for each, pairs in zip(every, adjusted([each.pairs for each in every]), strict=True):
        left_open = {places: replace(pairs[places], counts=False) for places in each.turns if pairs[places].is_order}
        decided.append(replace(each, pairs=pairs | left_open))
    if not shared:
        return decided
    first, *rest = decided
    return [replace(first, shared=tuple(rest))]


def _of_every_lane(lanes: Sequence[Lane], examples: Examples, by_loss: bool) -> list[Contest]:
    """Compare all lanes, with the seeds as one contender if all have as many.

    One start in several settings or at several rates is compared like that too.
    """
    groups = seed_groups(lanes)
    shown = [replace(group.lane, seed=0) for group in groups]
    if len({len(group.lanes) for group in groups}) > 1:
        groups, shown = tuple(SeedGroup(lane, (k,)) for k, lane in enumerate(lanes)), list(lanes)
    every = contest(groups, display_names(shown), examples, by_loss=by_loss)
    return [every] if every else []


def _at_shared_rates(field: Field, examples: Examples, by_loss: bool) -> list[Contest]:
    """Compare the main two starts at every rate that both race at, on all held-out examples."""
    if field.at_one_rate:
        return []
    at = {(group.lane.init, group.lane.lr): group for group in field.contenders}
    names = [label_of(start) for start in field.roles]
    contests = (
        contest([at[start, rate] for start in field.roles], names, examples, by_loss=by_loss)
        for rate in field.shared_rates
    )
    return [each for each in contests if each and len(each.names) == 2]


def _at_best_rates(field: Field, examples: Examples, by_loss: bool) -> Contest | None:
    """Compare the starts of a field, each at its best rate.

    The rates are chosen on one half of the held-out examples, and compared on the other.
    """
    choose, judge = halves(examples) if field.has_rates else (slice(None), slice(None))
    best = _best_rates(field, examples, choose, by_loss)
    each = contest(
        best,
        [label_of(group.lane.init) + f" ({compact(group.lane.lr)})" * (not field.at_one_rate) for group in best],
        examples,
        by_loss=by_loss,
        columns=judge,
        chosen_on=len(range(examples.loss.shape[1])[choose]) if choose != judge else 0,
    )
    if each is None or len(each.names) < 2:
        return None
    return replace(each, field=field, turns=_turns(field, each, examples, choose, judge) if field.has_rates else {})


def _best_rates(field: Field, examples: Examples, columns: slice, by_loss: bool) -> list[SeedGroup]:
    """Return every start at the rate with the best mean, ties by loss; without those that diverge at every rate."""
    best = []
    for start in field.starts:
        means = {}
        for group in field.of(start):
            led, loss = (
                float(results_by_example(group.lanes, examples, by_loss=by, columns=columns).mean())
                for by in (by_loss, True)
            )
            if math.isfinite(loss):
                means[group] = led, loss
        if means:
            best.append(min(means, key=lambda group: means[group]))
    return best


def _turns(
    field: Field, at_best: Contest, examples: Examples, choose: slice, judge: slice
) -> dict[tuple[int, int], tuple[SeedGroup, ...]]:
    """Return which differences have the other sign at rates as good, and at which of them."""

    def results(lanes: Sequence[int], columns: slice) -> Results:
        return results_by_example(lanes, examples, by_loss=at_best.by_loss, columns=columns)

    as_good: list[dict[SeedGroup, Results]] = []
    for best in at_best.contenders:
        tried = field.of(best.lane.init)
        places = rates_like([results(group.lanes, choose) for group in tried], tried.index(best))
        as_good.append({tried[k]: results([tried[k].lanes[run] for run in at_best.runs], judge) for k in places})
    turns = {}
    for (i, j), comparison in at_best.pairs.items():
        difference = comparison.difference if at_best.by_loss else -comparison.difference
        # Of both, what is not at its best rate.
        elsewhere = [
            tuple(group for group in (first, second) if group not in at_best.contenders)
            for first, ours in as_good[i].items()
            for second, theirs in as_good[j].items()
            if not survives(difference, range_over_rates([ours], [theirs]))
        ]
        if difference and elsewhere:
            turns[i, j] = min(elsewhere, key=len)
    return turns
