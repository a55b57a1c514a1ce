"""The sentence that says who leads, and on what that rests: the only place that words it.

With one seed it speaks of this run alone. Nobody leads whose difference has an interval with zero
in it, and only a study, which is many races, calls anybody better.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.machine.numbers import nats, percent, signed
from olora_viz.studies.decision import AHEAD, BEHIND, Comparison
from olora_viz.studies.statistics import BETTER, LEAST_SEEDS, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.words import NAMED, Sentence, and_, listed

SAME = "same"
"""The kind of a comparison of equal results, beside those of `Comparison.in_these_runs`."""

KINDS = (AHEAD, BEHIND, SAME, LEVEL, UNDECIDED)
"""All kinds, in the order in which a sentence names them."""

MOST_DECIMALS = 6
"""Decimals of an interval that excludes zero: as many as its ends need to differ from zero."""


@dataclass(frozen=True)
class Basis:
    """What a comparison rests on.

    >>> print(Basis(seeds=1, examples=32, chosen_on=32))
    32 held-out examples, rates chosen on 32 others; one seed
    """

    seeds: int
    """Independent runs of each contender."""
    examples: int
    """Examples on which all were compared."""
    part: str = "held-out"
    """Which examples: ``held-out`` or ``test``."""
    chosen_on: int = 0
    """Number of other examples on which rates were chosen; 0 if none were."""
    study: bool = False
    """Whether a study decided it, with as many rates and seeds for every method."""

    def __str__(self) -> str:
        """Return it in words."""
        chosen = f", rates chosen on {self.chosen_on} others" * bool(self.chosen_on)
        examples = f"{self.examples} {self.part} example{'s' * (self.examples != 1)}{chosen}"
        return f"{examples}; {'one seed' if self.seeds == 1 else f'{self.seeds} seeds'}"


@dataclass(frozen=True)
class Statement:
    """Whom a contender leads, trails, is level with, and cannot be told apart from.

    Raises
    ------
    ValueError : there is nobody to compare with, or not one value and one comparison for each.
    """

    names: tuple[str, ...]
    """Of the contenders, first the one that it is about."""
    values: tuple[float, ...]
    """The mean score of each: a share of right answers, or a loss in nats."""
    found: tuple[Comparison, ...]
    """The comparison of the first with each of the others."""
    basis: Basis
    """What they rest on."""
    score: str = "held-out loss"
    """What is compared, in words; may be empty where `where` says it."""
    where: str = ""
    """Where it holds, such as "At one rate (1e-3)"; may be empty."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if not self.found or not len(self.names) == len(self.values) == len(self.found) + 1:
            raise ValueError(
                f"{len(self.names)} names, {len(self.values)} values and {len(self.found)} "
                "comparisons: give one contender, at least one other, and a comparison with each "
                "other"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """``ahead``, ``behind``, ``level``, ``undecided`` or ``same`` for each of the others."""
        return tuple(map(kind_of, self.found))

    @property
    def lead(self) -> str:
        """What holds, without its numbers."""
        return f"{self.where} {self.names[0]} {self.relations}".lstrip()

    @property
    def sentence(self) -> Sentence:
        """All of it, with the interval of a pair and the basis."""
        pair = len(self.found) == 1
        numbers = _pair(self.values, self.found[0], self.score) if pair else self._each()
        return Sentence(f"{self.lead}:", f"{numbers} ({self.basis}).")

    @property
    def scores(self) -> str:
        """The scores alone: ``94% right against 67%``; of several with names, without rates."""
        one, *others = self.found
        if others:
            return replace(self, names=tuple(n.partition(" (")[0] for n in self.names))._each()
        first, second = map(percent if one.shares else nats, self.values)
        if one.shares:
            return f"{first} right against {second}"
        return f"{self.score} {first} against {second} nats".lstrip()

    @property
    def relations(self) -> str:
        """What may be said of the first and the others, in one part for each kind."""
        kinds, others = self.kinds, self.names[1:]
        of = {k: [n for n, its in zip(others, kinds, strict=True) if its == k] for k in kinds}
        found = zip(self.found, kinds, strict=True)
        margins = [one.margin for one, its in found if its == LEVEL]
        within = _amount(max(margins, default=0.0), self.found[0])
        return and_(
            [
                f"{relation(kind, self.basis)} {listed(of[kind])}"
                + f" within {within}" * (kind == LEVEL)
                for kind in KINDS
                if kind in of
            ]
        )

    def _each(self) -> str:
        """Return the values of the first few."""
        shares = self.found[0].shares
        form = percent if shares else nats
        told = [
            f"{name} {form(value)}" for name, value in zip(self.names, self.values, strict=True)
        ]
        return f"{', '.join(told[:NAMED])} {'of answers right' if shares else 'nats'}"


def who_leads(
    names: Sequence[str],
    values: Sequence[float],
    found: Sequence[Comparison],
    basis: Basis | None = None,
    *,
    score: str = "held-out loss",
    where: str = "",
) -> Sentence:
    """Return a `Statement` as its whole sentence.

    Parameters
    ----------
    names : of the contenders, first the one that it is about.
    values : the mean score of each: a share of right answers, or a loss in nats.
    found : the comparison of the first with each of the others.
    basis : by default the seeds and held-out examples of the comparisons.
    score, where : see `Statement`.

    Raises
    ------
    ValueError : see `Statement`.

    >>> one = Comparison(-0.06, -0.09, -0.03, 0.001, 0.05, shares=False, examples=64, seeds=1)
    >>> print(who_leads(["OLoRA", "LoRA"], [0.44, 0.5], [one]))  # doctest: +NORMALIZE_WHITESPACE
    OLoRA did better in this run than LoRA: held-out loss 0.44 against 0.50, a difference of −0.06
    nats, 95% interval −0.09 to −0.03 nats (64 held-out examples; one seed).
    """
    if basis is None:
        examples = found[0].examples if found else 0
        basis = Basis(min((one.seeds for one in found), default=0), examples)
    return Statement(tuple(names), tuple(values), tuple(found), basis, score, where).sentence


def in_cells(
    name: str, other: str, verdicts: Sequence[str], basis: Basis, *, where: str = ""
) -> str:
    """Say in how many cells of a study one method leads another, and on what a cell rests.

    Parameters
    ----------
    verdicts : of the study on the method against the other one, one for each cell.
    basis : of every cell.

    >>> basis = Basis(seeds=5, examples=64, part="test", study=True)
    >>> print(in_cells("OLoRA", "LoRA", ["better", "level", "better"], basis))
    OLoRA is better than LoRA in 2 of 3 cells and is level with it in 1 (64 test examples; 5 seeds).
    """
    kinds = {BETTER: AHEAD, WORSE: BEHIND}
    (first, most), *others = Counter(kinds.get(one, one) for one in verdicts).most_common()
    cells = f"{len(verdicts)} cell{'s' * (len(verdicts) > 1)}"
    parts = [f"{relation(first, basis)} {other} in {most} of {cells}"]
    parts += [f"{relation(kind, basis)} it in {count}" for kind, count in others]
    return f"{where} {name} {and_(parts)} ({basis}).".lstrip()


def kind_of(one: Comparison) -> str:
    """Return ``ahead``, ``behind``, ``level``, ``undecided`` or ``same``."""
    return SAME if one.difference == one.low == one.high == 0.0 else one.in_these_runs


def relation(kind: str, basis: Basis) -> str:
    """Return what may be said of one contender and another, by one of the `KINDS`."""
    words = {
        SAME: "gives the same results as",
        LEVEL: "is level with",
        UNDECIDED: "cannot be told apart from",
    }
    return words.get(kind) or _order(kind, basis)


def _order(kind: str, basis: Basis) -> str:
    if basis.seeds == 1:
        return f"did {'better' if kind == AHEAD else 'worse'} in this run than"
    if basis.study and basis.seeds >= LEAST_SEEDS:
        return f"is {'better' if kind == AHEAD else 'worse'} than"
    return "is ahead of" if kind == AHEAD else "is behind"


def _pair(values: Sequence[float], one: Comparison, score: str) -> str:
    """Return both values and their difference with its interval."""
    form = percent if one.shares else nats
    told = f"{score} {form(values[0])} against {form(values[1])}".lstrip()
    if not math.isfinite(one.low):
        return f"{told}, a difference without an interval"
    low, high = sorted((one.low, one.high))
    decimals = _decimals(low, high, one)
    return (
        f"{told}, a difference of {_amount(one.difference, one, decimals)}, 95% interval "
        f"{_bare(low, one, decimals)} to {_amount(high, one, decimals)}"
    )


def _decimals(low: float, high: float, one: Comparison) -> int:
    """Return how many decimals show that an interval excludes zero; the usual ones if it does not.

    Without them a leader could have an interval that seems to end at zero.
    """
    decimals = 0 if one.shares else 2
    if low * high <= 0:
        return decimals
    nearest = min(abs(low), abs(high)) * (100 if one.shares else 1)
    while decimals < MOST_DECIMALS and not round(nearest, decimals):
        decimals += 1
    return decimals


def _amount(value: float, one: Comparison, decimals: int | None = None) -> str:
    return f"{_bare(value, one, decimals)} {'points' if one.shares else 'nats'}"


def _bare(value: float, one: Comparison, decimals: int | None = None) -> str:
    if decimals is None:
        decimals = 0 if one.shares else 2
    text = signed(value * (100 if one.shares else 1), f".{decimals}f")
    return text if text.strip("−0.") else text.removeprefix("−")
