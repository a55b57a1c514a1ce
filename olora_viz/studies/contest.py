"""Who races whom: the lanes of a method over rates and seeds, the metric that counts, and how contenders compare."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, Targets, display_names
from olora_viz.machine.wording import Sentence, compact, counted, percent
from olora_viz.measures.training import Examples
from olora_viz.races.step import Step
from olora_viz.studies.statistics import (
    LEAST_EXAMPLES,
    MARGIN_OF_SHARES,
    Pairs,
    Results,
    Scores,
    adjusted,
    compare_all,
    interval_of_share,
    rates_like,
    survives,
)
from olora_viz.tasks.evaluation import HeldOut

ACCURACY, LOSS = "accuracy", "loss"

FLOOR, CEILING = MARGIN_OF_SHARES, 1 - MARGIN_OF_SHARES
"""Accuracies up to the first, or from the second on, cannot differ by more than what does not matter."""


@dataclass(frozen=True)
class Metric:
    """What contenders are compared by."""

    name: str
    why: str = ""
    """Why the loss takes the place of the accuracy, as a sentence; empty if it does not."""
    unlearned: Sentence | None = None
    """That no lane has learned the task, with what the best one gets; None if one has."""

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
    held_out: HeldOut | None = None,
) -> Metric:
    """Return the metric of a race: accuracy, where right answers tell something, and else the loss.

    Args:
        examples: results by example at the latest evaluation; None if there are none.
        plain_text: whether every token is judged, so that no answer is right or wrong.
        ended: whether it is the last evaluation of the race.
        held_out: with what guessing gets; None while unknown.
    """
    if plain_text or examples is None:
        return Metric(LOSS if plain_text else ACCURACY)
    best = _best_accuracies(lanes, examples)
    count = examples.loss.shape[1]
    if best and (unlearned := _unlearned(max(best), count, ended, held_out)):
        return Metric(LOSS, "By loss, as no lane has learned the task.", unlearned)
    if count < LEAST_EXAMPLES:
        return Metric(LOSS, "By loss, since of so few answers a single one might decide.")
    if ended and best and min(best) >= CEILING:
        return Metric(LOSS, f"By loss, as all are right in {percent(CEILING)} or more at their best.")
    return Metric(ACCURACY)


def _unlearned(best: float, examples: int, ended: bool, held_out: HeldOut | None) -> Sentence | None:
    """Say that not even the best accuracy is clearly above what guessing gets, if that is so.

    Where no guess is known, as there are many different answers, it is to be above `FLOOR`.
    """
    guess = held_out.guess if held_out else None
    low, _ = interval_of_share(best, np.empty(0), examples)
    if low > (FLOOR if guess is None else guess):
        return None
    lane = "No lane" if ended else "So far no lane"
    right = f"the best is right in {percent(best)} of {counted(examples, 'answer')}"
    if guess is None or held_out is None:
        return Sentence(f"{lane} has learned the task:", f"{right}.")
    return Sentence(
        f"{lane} is clearly better than guessing:", f"{right}, and {held_out.guess_words} in {percent(guess)}."
    )


def _best_accuracies(lanes: Sequence[Lane], examples: Examples) -> list[float]:
    """Return the accuracy of each contender that is left: of a start, at its best rate."""
    by_start = bool(fields_of(lanes))
    best: dict[object, float] = {}
    for group in seed_groups(lanes):
        lane, rows = group.lane, list(group.lanes)
        if not np.isfinite(examples.loss[rows]).all():
            continue
        contender = (lane.init, Setting.of(lane)) if by_start else group
        share = float(examples.right[rows].mean())
        best[contender] = max(best.get(contender, -math.inf), share)
    return list(best.values())


@dataclass(frozen=True)
class SeedGroup:
    """One contender with all its seeds."""

    lane: Lane
    """The first lane of the group."""
    lanes: tuple[int, ...]


def seed_groups(lanes: Sequence[Lane]) -> tuple[SeedGroup, ...]:
    """Group lanes that differ only in their seed."""
    groups: dict[tuple[Lane, int], list[int]] = {}
    copies: Counter[Lane] = Counter()
    for k, lane in enumerate(lanes):
        # A duplicate lane, including its seed, is not a repetition: it forms a group of its own.
        groups.setdefault((replace(lane, seed=0) if lane.seed else lane, copies[lane]), []).append(k)
        copies[lane] += 1
    return tuple(SeedGroup(lanes[ks[0]], tuple(ks)) for ks in groups.values())


SETTINGS = (
    "rank", "scaling", "weight decay", "clipping", "betas", "LoRA+ ratio", "dropout", "targets", "schedule", "warm-up",
    "directions", "replay", "optimizer", "objective", "weights read", "ranks", "DoRA",
)  # fmt: skip
"""The names of what a `Setting` holds, in its order."""


class Setting(NamedTuple):
    """The settings that comparable lanes share."""

    r: int
    scale: float
    weight_decay: float
    clip: float | None
    betas: tuple[float, float]
    lora_plus: float
    dropout: float
    targets: Targets
    schedule: str | None
    warmup: int | float | None
    dim: int | None
    replay: str
    optimizer: str
    objective: str
    start_from: str
    ranks: str
    dora: bool

    @classmethod
    def of(cls, lane: Lane) -> Setting:
        """Return a lane's setting."""
        return cls(
            lane.r, lane.scale, lane.weight_decay, lane.clip, (lane.beta1, lane.beta2),
            lane.lora_plus, lane.dropout, lane.targets, lane.schedule, lane.warmup, lane.dim,
            lane.replay_words if lane.replays else "", lane.words("opt", "momentum", "damping"),
            lane.words("beta", "kl", "advantage"), lane.words("start_from", "iterations"), lane.words("rank_by"),
            lane.dora,
        )  # fmt: skip


@dataclass(frozen=True)
class Field:
    """Lanes that can be compared."""

    setting: Setting
    seeds: tuple[int, ...]
    contenders: tuple[SeedGroup, ...]
    """Each start at each rate, over the field's seeds; in the race's order."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The distinct starts, in the race's order."""
        return tuple(dict.fromkeys(group.lane.init for group in self.contenders))

    @property
    def lanes(self) -> list[int]:
        """The indices of all lanes in the field."""
        return [k for group in self.contenders for k in group.lanes]

    @property
    def roles(self) -> tuple[str, str]:
        """The pair to compare first: OLoRA and LoRA if present, otherwise the first two starts.

        With one start, both are the same.
        """
        starts = self.starts
        rivals = [init for init in ("lora", *starts) if init in starts and init != "olora"]
        rival = rivals[0] if rivals else starts[0]
        heroes = [init for init in ("olora", *starts) if init in starts and init != rival]
        return (heroes[0] if heroes else rival), rival

    @property
    def has_rates(self) -> bool:
        """Whether a start races at several rates."""
        return len(self.contenders) > len(self.starts)

    @property
    def at_one_rate(self) -> bool:
        """Whether all contenders race at the same rate."""
        return len({group.lane.lr for group in self.contenders}) == 1

    def of(self, init: str) -> list[SeedGroup]:
        """Return a start at all its rates."""
        return [group for group in self.contenders if group.lane.init == init]

    def rates(self, init: str) -> list[float]:
        """Return the rates that were tried with a start, the lowest first."""
        return sorted(group.lane.lr for group in self.of(init))


def fields_of(lanes: Sequence[Lane]) -> list[Field]:
    """Return the fields of a race, each of two starts or more: those with both OLoRA and LoRA first, then the largest.

    Each setting has one field, with the seeds for which the most starts race at the most rates.

    >>> fields_of([Lane("lora", r=2), Lane("olora", r=64), Lane("pissa", r=64)])[0].starts
    ('olora', 'pissa')
    >>> lanes = [Lane(init, seed=seed) for init in ("lora", "olora") for seed in (0, 1)]
    >>> fields_of(lanes)[0].seeds
    (0, 1)
    """
    entered: dict[tuple[Setting, int], dict[tuple[str, float], int]] = {}
    for k, lane in enumerate(lanes):
        # Of identical lanes only the first is used.
        entered.setdefault((Setting.of(lane), lane.seed), {}).setdefault((lane.init, lane.lr), k)
    same: dict[tuple[Setting, frozenset[tuple[str, float]]], list[int]] = {}
    for (setting, seed), entries in entered.items():
        same.setdefault((setting, frozenset(entries)), []).append(seed)

    def worth(key: tuple[Setting, frozenset[tuple[str, float]]]) -> tuple[bool, int, int, int]:
        starts = {init for init, _ in key[1]}
        return {"lora", "olora"} <= starts, len(starts), len(key[1]), len(same[key])

    fields: dict[Setting, Field] = {}
    for setting, entries in sorted(same, key=worth, reverse=True):
        if setting not in fields:
            seeds = tuple(sorted(same[setting, entries]))
            over_seeds = [tuple(entered[setting, seed][entry] for seed in seeds) for entry in entries]
            groups = (SeedGroup(lanes[ks[0]], ks) for ks in sorted(over_seeds, key=min))
            fields[setting] = Field(setting, seeds, tuple(groups))
    return [field for field in fields.values() if len(field.starts) > 1]


def differences(lanes: Sequence[Lane]) -> list[str]:
    """Name the settings in which the lanes differ.

    >>> differences([Lane("lora", r=2), Lane("olora", r=64)])
    ['start', 'rank']
    """
    names = ("start", "rate", *SETTINGS, "seed")
    values = zip(*((lane.init, lane.lr, *Setting.of(lane), lane.seed) for lane in lanes), strict=True)
    return [name for name, column in zip(names, values, strict=False) if len(set(column)) > 1]


LEAST_HALVED = 8
"""From this many held-out examples on, rates are chosen on one half and compared on the other."""

LARGEST, LOWEST = "largest", "lowest"
"""The ends of the rates that were tried."""


@dataclass(frozen=True)
class Contest:
    """Contenders that are compared on the same seeds and examples."""

    contenders: tuple[SeedGroup, ...]
    """The one with the best mean first, even if the comparison is undecided."""
    names: tuple[str, ...]
    accuracy: tuple[float, ...]
    """Share of right answers, or of tokens of plain text, of each over all its seeds and all held-out examples, as in
    the ranking."""
    loss: tuple[float, ...]
    """Held-out loss of each, over the same, nats."""
    pairs: Pairs
    """Comparisons by the places of both contenders, by the metric of the race."""
    by_loss: bool
    examples: int
    """Number of held-out examples that the comparisons rest on."""
    chosen_on: int
    """Number of other examples on which rates were chosen; 0 if none were."""
    runs: tuple[int, ...]
    """Places of the seeds that are independent runs of every contender."""
    turns: dict[tuple[int, int], tuple[SeedGroup, ...]]
    """Where a difference between two contenders has the other sign: at rates that the held-out results cannot tell
    from the best ones, of one of the two or of both; none if in the means over all seeds and examples."""
    as_good: tuple[tuple[SeedGroup, ...], ...] = ()
    """Each contender at all rates that the results cannot tell from its best one; none if none were chosen."""
    field: Field | None = None
    """Whose starts are compared, each at its best rate; None for any other contest."""
    entered: tuple[int, ...] = ()
    """All lanes from which the contenders were chosen, or which they are."""
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


def latest_drift(steps: Sequence[Step]) -> np.ndarray | None:
    """Return the newest drifts of the lanes (K,); None if there are none."""
    return next((s.drift for s in reversed(steps) if s.drift is not None), None)


def contest(
    contenders: Sequence[SeedGroup],
    names: Sequence[str],
    examples: Examples,
    *,
    by_loss: bool,
    columns: slice = slice(None),
    chosen_on: int = 0,
    others: Sequence[SeedGroup] = (),
) -> Contest | None:
    """Compare contenders; those with a diverged lane are left out, since a mean would be biased.

    On fewer than `LEAST_EXAMPLES` examples nothing is decided. The p-values are to be adjusted, see
    `olora_viz.studies.statistics.adjusted`.

    Args:
        contenders: all with as many lanes.
        others: with as many lanes, which help to tell how far the seeds scatter, see `compare_all`.

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
    accuracy, loss = (
        {i: float(of_lane[list(contenders[i].lanes)].mean()) for i in whole}
        for of_lane in (examples.right, examples.loss)
    )
    ranked = sorted(whole, key=lambda i: (0.0 if by_loss else -accuracy[i], loss[i]))
    count = scores[ranked[0]].loss.shape[1]
    lending = [scores_of(group.lanes, examples, columns).of(runs) for group in others]
    pairs = compare_all([scores[i] for i in ranked], lending, shares=not by_loss)
    means = [loss[i] if by_loss else accuracy[i] for i in ranked]
    turns: dict[tuple[int, int], tuple[SeedGroup, ...]] = {
        (i, j): () for (i, j), pair in pairs.items() if (means[i] - means[j]) * pair.difference <= 0
    }
    return Contest(
        contenders=tuple(contenders[i] for i in ranked), names=tuple(names[i] for i in ranked),
        accuracy=tuple(accuracy[i] for i in ranked), loss=tuple(loss[i] for i in ranked),
        pairs={places: replace(pair, counts=count >= LEAST_EXAMPLES) for places, pair in pairs.items()},
        by_loss=by_loss, examples=count, chosen_on=chosen_on, runs=tuple(runs), turns=turns,
        entered=tuple(k for group in contenders for k in group.lanes),
    )  # fmt: skip


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
    return loss if by_loss else np.where(np.isfinite(loss), 1.0 - examples.right[rows][:, columns], math.nan)


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

    One start in several settings or at several rates is compared like that too; in several settings at several rates,
    the settings are, each at its best rate.
    """
    groups = seed_groups(lanes)
    if len({len(group.lanes) for group in groups}) > 1:
        groups = tuple(SeedGroup(lane, (k,)) for k, lane in enumerate(lanes))
        every = contest(groups, display_names(lanes), examples, by_loss=by_loss)
        return [every] if every else []
    methods: dict[Lane, list[SeedGroup]] = {}
    for group in groups:
        methods.setdefault(replace(group.lane, lr=1.0, seed=0), []).append(group)
    if not 1 < len(methods) < len(groups):
        every = contest(groups, names_of(groups), examples, by_loss=by_loss)
        return [every] if every else []
    every = _each_at_best(list(methods.values()), names_of, examples, by_loss)
    return [replace(every, entered=tuple(range(len(lanes))))] if every else []


def names_of(groups: Sequence[SeedGroup]) -> tuple[str, ...]:
    """Return the display names of groups, without their seeds."""
    return display_names([replace(group.lane, seed=0) for group in groups])


def _at_shared_rates(field: Field, examples: Examples, by_loss: bool) -> list[Contest]:
    """Compare the main two starts at every rate that both race at, on all held-out examples.

    The other starts at that rate help to tell how far the seeds scatter.
    """
    if field.at_one_rate:
        return []
    names, rates, contests = [label_of(start) for start in field.roles], map(set, map(field.rates, field.roles)), []
    for rate in sorted(set.intersection(*rates)):
        at = {group.lane.init: group for group in field.contenders if group.lane.lr == rate}
        main, others = [at[start] for start in field.roles], [at[start] for start in at if start not in field.roles]
        contests.append(contest(main, names, examples, by_loss=by_loss, others=others))
    return [each for each in contests if each and len(each.names) == 2]


def _at_best_rates(field: Field, examples: Examples, by_loss: bool) -> Contest | None:
    """Compare the starts of a field, each at its best rate.

    The rates are chosen on one half of the held-out examples, and compared on the other.
    """

    def named(best: Sequence[SeedGroup]) -> list[str]:
        return [label_of(group.lane.init) + f" ({compact(group.lane.lr)})" * (not field.at_one_rate) for group in best]

    each = _each_at_best([field.of(start) for start in field.starts], named, examples, by_loss)
    return replace(each, field=field, entered=tuple(field.lanes)) if each else None


def _each_at_best(
    methods: Sequence[Sequence[SeedGroup]],
    named: Callable[[Sequence[SeedGroup]], Sequence[str]],
    examples: Examples,
    by_loss: bool,
) -> Contest | None:
    """Compare methods, each given at all its rates, at their best ones; None if fewer than two are left.

    Args:
        named: returns the names of the methods at their best rates.
    """
    have_rates = any(len(tried) > 1 for tried in methods)
    choose, judge = halves(examples) if have_rates else (slice(None), slice(None))
    best = [of for tried in methods if (of := _best_rate(tried, examples, choose, by_loss))]
    each = contest(
        best, named(best), examples, by_loss=by_loss, columns=judge,
        chosen_on=len(range(examples.loss.shape[1])[choose]) if choose != judge else 0,
    )  # fmt: skip
    if each is None or len(each.names) < 2:
        return None
    if not have_rates:
        return each
    tried_with = {group: tried for tried in methods for group in tried}
    as_good = tuple(_as_good(tried_with[of], of, examples, choose, by_loss) for of in each.contenders)
    each = replace(each, as_good=as_good)
    return replace(each, turns=_turns(each, examples, judge) | each.turns)


def _as_good(
    tried: Sequence[SeedGroup], best: SeedGroup, examples: Examples, columns: slice, by_loss: bool
) -> tuple[SeedGroup, ...]:
    """Return a method at all rates that the results cannot tell from its best one, itself included."""
    results = [results_by_example(group.lanes, examples, by_loss=by_loss, columns=columns) for group in tried]
    return tuple(tried[k] for k in rates_like(results, tried.index(best)))


def _best_rate(tried: Sequence[SeedGroup], examples: Examples, columns: slice, by_loss: bool) -> SeedGroup | None:
    """Return a method at the rate with the best mean, ties by loss; None if it diverges at every rate."""
    means = {}
    for group in tried:
        led, loss = (
            float(results_by_example(group.lanes, examples, by_loss=by, columns=columns).mean())
            for by in (by_loss, True)
        )
        if math.isfinite(loss):
            means[group] = led, loss
    return min(means, key=lambda group: means[group], default=None)


def _turns(at_best: Contest, examples: Examples, judge: slice) -> dict[tuple[int, int], tuple[SeedGroup, ...]]:
    """Return which differences have the other sign at rates as good, and at which of them."""
    every: list[SeedGroup] = []
    as_good: list[range] = []
    for groups in at_best.as_good:
        as_good.append(range(len(every), len(every) + len(groups)))
        every += groups
    by_loss, lanes = at_best.by_loss, [[group.lanes[run] for run in at_best.runs] for group in every]
    scores = np.array([results_by_example(each, examples, by_loss=by_loss, columns=judge) for each in lanes])
    gaps = np.array([(of_group - scores).mean((1, 2)) for of_group in scores])
    turns = {}
    for (i, j), comparison in at_best.pairs.items():
        difference = comparison.difference if at_best.by_loss else -comparison.difference
        # Of both, what is not at its best rate.
        elsewhere = [
            tuple(every[k] for k in (a, b) if every[k] not in at_best.contenders)
            for a, b in itertools.product(as_good[i], as_good[j])
            if not survives(difference, (gaps[a, b], gaps[a, b]))
        ]
        if difference and elsewhere:
            turns[i, j] = min(elsewhere, key=len)
    return turns
