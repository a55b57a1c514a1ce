"""A contest of methods, at their best rates and at shared ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from itertools import groupby

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.machine.text import compact, nats, percent
from olora_viz.measures.training import Examples
from olora_viz.races.step import Step
from olora_viz.studies.fields import Contender, Field, seed_groups
from olora_viz.studies.pairing import (
    AHEAD,
    BEHIND,
    Comparison,
    Pairs,
    Results,
    Scores,
    adjusted,
    compare_all,
    range_over_rates,
    rates_like,
    survives,
)
from olora_viz.studies.sentences import NAMED, SAME, Basis, Sentence, Statement, and_, kind_of
from olora_viz.studies.statistics import LEAST_EXAMPLES

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
    """Comparisons by the places of both entries, by the metric of the race; the p-values are to be adjusted, see
    `olora_viz.studies.pairing.adjusted`."""
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
    entries: Sequence[Entry], examples: Examples, *, by_loss: bool, columns: slice = slice(None), chosen_on: int = 0
) -> Contest | None:
    """Compare entries; those with a diverged lane are left out, since a mean would be biased.

    On fewer than `LEAST_EXAMPLES` examples nothing is decided.

    Args:
        entries: all with as many lanes.
        examples: of the race's latest evaluation.
        by_loss: compare losses instead of accuracies.
        columns: the examples to compare on.

    Returns:
        Contest, or None if no entry is left.
    """
    whole = [e for e in entries if np.isfinite(examples.loss[list(e.lanes)]).all()]
    if not whole:
        return None
    scores = {e: scores_of(e.lanes, examples, columns) for e in whole}
    # Seeds that are one run of any entry are one of all, so that the scores are those compared.
    runs = sorted(set.intersection(*(set(s.runs) for s in scores.values())))
    scores = {e: s.of(runs) for e, s in scores.items()}
    accuracy = {e: math.nan if s.right is None else float(s.right.mean()) for e, s in scores.items()}
    loss = {e: float(s.loss.mean()) for e, s in scores.items()}
    ranked = sorted(whole, key=lambda e: (0.0 if by_loss else -accuracy[e], loss[e]))
    count = scores[ranked[0]].loss.shape[1]
    pairs = compare_all([scores[e] for e in ranked], shares=not by_loss)
    return Contest(
        entries=tuple(ranked),
        accuracy=tuple(accuracy[e] for e in ranked),
        loss=tuple(loss[e] for e in ranked),
        loss_name="held-out loss" if examples.all_decide else "loss of the deciding tokens",
        pairs={pair: replace(one, counts=count >= LEAST_EXAMPLES) for pair, one in pairs.items()},
        by_loss=by_loss,
        examples=count,
        chosen_on=chosen_on,
        runs=tuple(runs),
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


def best_of(entries: Sequence[Entry], examples: Examples, columns: slice, *, by_loss: bool) -> int | None:
    """Return the place of the best entry by its mean, ties by loss; None if all have diverged."""
    means = []
    for entry in entries:
        led, loss = (
            results_by_example(entry.lanes, examples, by_loss=by, columns=columns).mean() for by in (by_loss, True)
        )
        means.append((float(led), float(loss)))
    finite = [i for i, (_, loss) in enumerate(means) if math.isfinite(loss)]
    return min(finite, key=lambda i: means[i], default=None)


LARGEST, LOWEST = "largest", "lowest"
"""The ends of the rates that were tried."""


@dataclass(frozen=True)
class Match:
    """A contest, and who in it is spoken of."""

    where: str
    """Where it holds, such as "Each at its best rate,"; may be empty."""
    held: Contest
    names: tuple[str, ...]
    """Of the entries, in the contest's order; the first is compared with all others."""
    rates: dict[str, tuple[float, list[float]]] = field_of(default_factory=dict)
    """The chosen rate and those tried, rising, of every start whose rates were chosen from."""
    turns: dict[tuple[int, int], str] = field_of(default_factory=dict)
    """The rates, in words, at which a difference between two entries has the other sign, though the held-out results
    cannot tell these rates from the chosen ones."""

    @property
    def statement(self) -> Statement:
        """How the first entry stands to all others."""
        return self.between(0, *range(1, len(self.names)))

    def between(self, about: int, *others: int) -> Statement:
        """Return how an entry stands to some others, by their places."""
        held, order = self.held, (about, *others)
        return Statement(
            tuple(self.names[i] for i in order), tuple(held.values[i] for i in order),
            tuple(held.pairs[about, j] for j in others),
            Basis(held.seeds, held.examples, chosen_on=held.chosen_on),
            score=held.loss_name if held.by_loss else "accuracy", where=self.where,
        )  # fmt: skip

    @property
    def turned(self) -> list[Sentence]:
        """What to say if an order is left open, since it does not hold at rates as good."""
        pairs = [(0, j) for j in range(1, len(self.names)) if (0, j) in self.turns]
        orders = {pair: replace(self.held.pairs[pair], counts=True) for pair in pairs}
        found = dict.fromkeys(self.turns[pair] for pair in pairs if is_order(orders[pair]))
        if not found or self.held.examples < LEAST_EXAMPLES:
            return []
        words = " or ".join(found)
        rest = f"with {words}, as good for all the held-out results say, the order turns."
        return [Sentence("But", rest)]

    @property
    def few(self) -> list[Sentence]:
        """What to say if it rests on too few examples."""
        n = self.held.examples
        if n >= LEAST_EXAMPLES or len(self.names) < 2:
            return []
        were = "example was" if n == 1 else "examples were"
        rest = f"{n} held-out {were} compared: fewer than {LEAST_EXAMPLES} decide nothing."
        return [Sentence("Only", rest)]

    def at_end(self, end: str) -> list[str]:
        """Return the starts whose rate is the ``largest`` or the ``lowest`` of several tried."""
        place = -1 if end == LARGEST else 0
        return [
            start
            for start in self._starts
            if len(self.rates[start][1]) > 1 and self.rates[start][0] == self.rates[start][1][place]
        ]

    @property
    def narrower(self) -> dict[str, list[float]]:
        """The rates of the starts that were not tried at all rates at which others were."""
        tried = {start: self.rates[start][1] for start in self._starts}
        every = set().union(*tried.values())
        return {start: rates for start, rates in tried.items() if set(rates) != every}

    @property
    def beyond(self) -> list[Sentence]:
        """What to say if rates that were not tried may suit a start better."""
        said = []
        for end, more in ((LARGEST, "larger"), (LOWEST, "lower")):
            names = [label_of(start) for start in self.at_end(end)]
            if len(names) == 1:
                said.append(f"{names[0]}'s rate is the {end} one tried: a {more} one may suit it better.")
            elif names:
                said.append(f"The rates of {and_(names)} are the {end} ones tried: {more} ones may suit them better.")
        if self.narrower:
            only = [
                f"{label_of(start)} only at {and_([compact(rate) for rate in rates])}"
                for start, rates in self.narrower.items()
            ]
            said.append(f"Not all were tried at the same rates: {'; '.join(only)}.")
        return [Sentence("", one) for one in said]

    @property
    def _starts(self) -> list[str]:
        """The starts whose rates are known, in the contest's order."""
        return [entry.name for entry in self.held.entries if entry.name in self.rates]


@dataclass(frozen=True)
class AtOneRate:
    """The main two starts of a field, compared at every rate that both race at."""

    names: tuple[str, str]
    rates: tuple[float, ...]
    """Rising."""
    found: tuple[Comparison, ...]
    """The first against the second at each."""
    values: tuple[tuple[float, float], ...]
    """What is compared of both at each."""
    basis: Basis
    loss_name: str
    """See `Contest.loss_name`."""

    def at(self, rate: float) -> Statement:
        """Return how they compare at one of the rates."""
        k = self.rates.index(rate)
        score = "accuracy" if self.found[k].shares else self.loss_name
        return Statement(self.names, self.values[k], (self.found[k],), self.basis, score)

    @property
    def sentence(self) -> Sentence:
        """The clause with its numbers, and what they rest on; of many rates without numbers."""
        clause = str(self.clause).removesuffix(".")
        if len(self.rates) > NAMED:
            return Sentence("", f"{clause} ({self.basis}).")
        form = percent if self.found[0].shares else nats
        each = [
            f"{form(first)} against {form(second)} at {compact(rate)}"
            for (first, second), rate in zip(self.values, self.rates, strict=True)
        ]
        unit = "of answers right" if self.found[0].shares else "nats"
        return Sentence(f"{clause}:", f"{', '.join(each)} {unit} ({self.basis}).")

    @property
    def clause(self) -> Sentence:
        """What holds at every rate, in one clause."""
        one_run = self.basis.seeds == 1
        words = {SAME: "the same"} | ({AHEAD: "better", BEHIND: "worse"} if one_run else {})
        kinds = [words.get(kind, kind) for kind in map(kind_of, self.found)]
        runs = [
            (kind, [compact(rate) for rate, _ in group])
            for kind, group in groupby(zip(self.rates, kinds, strict=True), key=lambda one: one[1])
        ]
        if len(runs) <= NAMED:
            parts = [f"{kind} {_at(rates)}" for kind, rates in runs]
        else:
            counts = {kind: kinds.count(kind) for kind in kinds}
            parts = [f"{kind} at {count} of {len(kinds)} rates" for kind, count in counts.items()]
        where = f"{'in this run, ' * one_run}at one rate"
        return Sentence("", f"{self.names[0]} against {self.names[1]} {where}: {', '.join(parts)}.")


@dataclass(frozen=True)
class Told:
    """What is told of a field: the starts at their best rates, the main two at every shared one."""

    field: Field
    best: Match
    shared: AtOneRate | None
    """None where the starts race at one rate, and in a race with several fields."""

    @property
    def main(self) -> Statement | None:
        """The main two starts at the only rate of a field, if the best match does not tell."""
        places = {entry.name: k for k, entry in enumerate(self.best.held.entries)}
        pair = [places.get(start, 0) for start in self.field.roles]
        if not self.field.at_one_rate or 0 in pair:
            return None
        return replace(self.best.between(*pair), where="")


def compared(fields: Sequence[Field], examples: Examples, *, by_loss: bool, at: Sequence[str] = ()) -> list[Told]:
    """Compare the starts of fields at their best rates, and those of a single one at shared rates.

    All comparisons share one error rate. An order at best rates counts only if it is the same at all rates that the
    results on which they were chosen cannot tell from them.

    Args:
        at: what each field differs in from others of the race, in words; none for a single one.
    """
    words = at or [""] * len(fields)
    found = [
        (field, match)
        for field, where in zip(fields, words, strict=True)
        if (match := _at_best_rates(field, examples, by_loss, where))
    ]
    single = [field for field, _ in found if len(fields) == 1 and not field.at_one_rate]
    held = [one for field in single for one in _at_shared_rates(field, examples, by_loss)]
    families = adjusted([m.held.pairs for _, m in found] + [one.pairs for _, one in held])
    told = []
    for (field, match), pairs in zip(found, families, strict=False):
        decided = {
            pair: replace(one, counts=one.counts and not (pair in match.turns and is_order(one)))
            for pair, one in pairs.items()
        }
        best = replace(match, held=replace(match.held, pairs=decided))
        told.append(Told(field, best, None))
    if held:
        hero, rival = single[0].roles
        # The entries of a contest are in the order of their means.
        order = [(0, 1) if one.entries[0].name == hero else (1, 0) for _, one in held]
        families = families[len(found) :]
        found_at = [pairs[pair] for pairs, pair in zip(families, order, strict=True)]
        values = [(one.values[i], one.values[j]) for (_, one), (i, j) in zip(held, order, strict=True)]
        basis = Basis(min(one.seeds for _, one in held), held[0][1].examples)
        rates = tuple(rate for rate, _ in held)
        names = label_of(hero), label_of(rival)
        told[0] = replace(
            told[0], shared=AtOneRate(names, rates, tuple(found_at), tuple(values), basis, held[0][1].loss_name)
        )
    return told


def is_order(one: Comparison) -> bool:
    """Return whether a comparison orders the two."""
    return one.in_these_runs in (AHEAD, BEHIND)


def of_every_lane(lanes: Sequence[Lane], examples: Examples, *, by_loss: bool) -> Match | None:
    """Compare all lanes, of which no two starts may be compared; seeds are one contender.

    One start in several settings or at several rates is compared like that too.
    """
    groups = seed_groups(lanes)
    counts = {len(group.lanes) for group in groups}
    shown = [replace(group.lane, seed=0) for group in groups] if len(counts) == 1 else lanes
    places = [g.lanes for g in groups] if len(counts) == 1 else [(k,) for k in range(len(lanes))]
    entries = [Entry(n, ks) for n, ks in zip(display_names(shown), places, strict=True)]
    held = contest(entries, examples, by_loss=by_loss)
    if held is None:
        return None
    (pairs,) = adjusted([held.pairs])
    return Match("", replace(held, pairs=pairs), tuple(entry.name for entry in held.entries))


def _at_shared_rates(field: Field, examples: Examples, by_loss: bool) -> list[tuple[float, Contest]]:
    """Compare the main two starts at every rate that both race at, on all held-out examples."""
    places = {(one.init, one.lr): one.lanes for one in field.contenders}
    found = []
    for rate in field.shared_rates:
        entries = [Entry(start, places[start, rate]) for start in field.roles]
        held = contest(entries, examples, by_loss=by_loss)
        if held is not None and len(held.entries) == 2:
            found.append((rate, held))
    return found


def _at_best_rates(field: Field, examples: Examples, by_loss: bool, at: str) -> Match | None:
    """Compare the starts of a field, each at its best rate.

    The rates are chosen on one half of the held-out examples, and compared on the other.
    """
    rates = {start: field.rates(start) for start in field.starts}
    several = max(map(len, rates.values())) > 1
    choose, judge = halves(examples) if several else (slice(None), slice(None))
    best = _chosen(field, examples, choose, by_loss)
    chosen_on = len(range(examples.loss.shape[1])[choose]) if choose != judge else 0
    held = contest(
        [Entry(one.init, one.lanes) for one in best.values()], examples,
        by_loss=by_loss, columns=judge, chosen_on=chosen_on,
    )  # fmt: skip
    if held is None or len(held.entries) < 2:
        return None
    named = [label_of(e.name) + ("" if field.at_one_rate else f" ({compact(best[e.name].lr)})") for e in held.entries]
    chosen = {start: (best[start].lr, rates[start]) for start in best}
    turns = _turns(field, held, best, examples, (choose, judge)) if several else {}
    return Match(_where(field, at, several), held, tuple(named), chosen, turns)


def _where(field: Field, at: str, several: bool) -> str:
    if field.at_one_rate:
        where = at or f"at one rate ({compact(field.contenders[0].lr)})"
    else:
        how = "each at its best rate" if several else "each at its only rate"
        where = ", ".join(part for part in (at, how) if part)
    comma = "," * (bool(at) or not field.at_one_rate)
    return f"{where[:1].upper()}{where[1:]}{comma}"


def _turns(
    field: Field, held: Contest, best: dict[str, Contender], examples: Examples, parts: tuple[slice, slice]
) -> dict[tuple[int, int], str]:
    """Return which differences have the other sign at rates as good, and at which, in words."""
    choose, judge = parts
    like: dict[str, list[tuple[Contender, Results]]] = {}
    for entry in held.entries:
        tried = [one for one in field.contenders if one.init == entry.name]
        at = tried.index(best[entry.name])
        chosen_on = [results_by_example(one.lanes, examples, by_loss=held.by_loss, columns=choose) for one in tried]
        as_good = [tried[k] for k in rates_like(chosen_on, at)]
        like[entry.name] = []
        for one in as_good:
            lanes = [one.lanes[run] for run in held.runs]
            results = results_by_example(lanes, examples, by_loss=held.by_loss, columns=judge)
            like[entry.name].append((one, results))
    turns = {}
    for (i, j), one in held.pairs.items():
        difference = one.difference if held.by_loss else -one.difference
        turned = [
            (first, second)
            for first, a in like[held.entries[i].name]
            for second, b in like[held.entries[j].name]
            if not survives(difference, range_over_rates([a], [b]))
        ]
        if difference and turned:
            turns[i, j] = _other_rates(*min(turned, key=lambda two: _changed(two, best)), best)
    return turns


def _changed(two: tuple[Contender, Contender], best: dict[str, Contender]) -> int:
    """Return how many of two contenders are not at their best rate."""
    return sum(one != best[one.init] for one in two)


def _other_rates(first: Contender, second: Contender, best: dict[str, Contender]) -> str:
    """Name the contenders that are not at their best rate, with the rates."""
    others = [one for one in (first, second) if one != best[one.init]]
    return and_([f"{label_of(one.init)} at {compact(one.lr)}" for one in others])


def _chosen(field: Field, examples: Examples, choose: slice, by_loss: bool) -> dict[str, Contender]:
    """Return every start at its best rate on some examples, if any is whole."""
    found: dict[str, Contender] = {}
    for start in field.starts:
        tried = [one for one in field.contenders if one.init == start]
        entries = [Entry(start, one.lanes) for one in tried]
        k = best_of(entries, examples, choose, by_loss=by_loss)
        if k is not None:
            found[start] = tried[k]
    return found


def _at(rates: Sequence[str]) -> str:
    """Name neighbouring rates: all of two, the ends of more."""
    return f"from {rates[0]} to {rates[-1]}" if len(rates) > 2 else f"at {and_(rates)}"
