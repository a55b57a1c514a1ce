"""Verdicts in words: who leads, at which rates, and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.machine.text import compact, counted, nats, number, percent, rounded, signed
from olora_viz.races.config import RaceConfig
from olora_viz.studies.fields import Field, Place, differences, repeats, seed_groups
from olora_viz.studies.pairing import AHEAD, BEHIND, Comparison
from olora_viz.studies.statistics import BETTER, LEAST_SEEDS, LEVEL, POWER, UNDECIDED, WORSE
from olora_viz.tasks.evaluation import HeldOut

NAMED = 4
"""Most contenders to name in a sentence; the others are counted."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its message in the lead."""

    lead: str
    rest: str = ""

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.lead} {self.rest}".strip()


def smallest_found(seeds: int, difference: float) -> str:
    """Say which difference a number of seeds finds, if the test examples can tell it.

    Args:
        difference: see `smallest_difference`; in standard deviations of the paired differences.

    >>> smallest_found(5, 1.8)
    '5 seeds find at best a difference of 1.8 standard deviations of the paired differences with a \
chance of 80%'
    """
    return (
        f"{seeds} seeds find at best a difference of {number(difference, '.2g')} standard "
        f"deviations of the paired differences with a chance of {percent(POWER)}"
    )


def over(differences: Float[np.ndarray, "k ..."], part: str = "test") -> str:
    """Say over what the interval of paired differences is, see `method_runs.interval_of`.

    Args:
        differences: by seed and example, or by seed alone.
        part: of the examples.

    >>> over(np.zeros((5, 64))), over(np.zeros((1, 64))), over(np.zeros((5, 1)))
    ('5 seeds and 64 test examples', '64 test examples', '5 seeds')
    """
    seeds = counted(len(differences), "seed")
    if differences.size == len(differences):
        return seeds
    examples = counted(differences.shape[1], f"{part} example")
    return f"{seeds} and {examples}" if len(differences) > 1 else examples


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does; of many some are named and the others counted.

    >>> listed(["LoRA", "PiSSA"]), listed(list("ABCDEF"))
    ('LoRA and PiSSA', 'A, B, C and 3 others')
    """
    if len(names) <= NAMED:
        return and_(names)
    return and_([*names[: NAMED - 1], f"{len(names) - NAMED + 1} others"])


def times(ratio: float) -> str:
    """Write a factor in two digits, or in words where it has one.

    >>> times(3.0), times(28.8), times(1234.0)
    ('three times', '29 times', '1200 times')
    """
    digits = compact(rounded(ratio, 2))
    words = {"2": "twice", "3": "three times", "5": "five times", "10": "ten times"}
    return words.get(digits, f"{digits} times")


def and_(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> and_(["rank", "scaling", "seed"])
    'rank, scaling and seed'
    """
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def at_setting(field: Field, lanes: Sequence[Lane]) -> str:
    """Return in what a field differs from the others, in words."""
    return f"with {and_(setting_of(field, lanes))}"


def setting_of(field: Field, lanes: Sequence[Lane]) -> list[str]:
    """Return the settings in which a field differs from the others, each in words."""
    setting, clip = field.setting, field.setting.clip
    words = {
        "rank": f"rank {setting.r}",
        "scaling": f"scaling {compact(setting.scale)}",
        "weight decay": f"weight decay {compact(setting.weight_decay)}",
        "clipping": "no clipping" if clip is None else f"clipping at {compact(clip)}",
        "betas": "betas {:g} and {:g}".format(*setting.betas),
        "LoRA+ ratio": f"LoRA+ ratio {compact(setting.lora_plus)}",
        "dropout": f"dropout {setting.dropout:g}",
        "targets": f"targets {', '.join(setting.targets)}" if setting.targets else "no targets of their own",
        "seed": f"seed{'s' * (len(field.seeds) > 1)} {and_([str(s) for s in field.seeds])}",
    }
    apart = [name for name in differences(lanes) if name in words]
    if {lane.seed for lane in lanes} == set(field.seeds) and "seed" in apart:
        apart.remove("seed")
    return [words[name] for name in apart]


def caveat(lanes: Sequence[Lane], *, by_seed: bool = False) -> str:
    """Return a sentence on the reliability of the results.

    Args:
        by_seed: whether the batches vary by seed, so that a start without random numbers varies too.
    """
    counts = repeats(lanes, by_seed=by_seed)
    fewest = "one seed" if counts[0] == 1 else f"{counts[0]} seeds"
    runs = f"{fewest} each" if counts[0] == counts[-1] else f"for some lanes {fewest} only"
    same = " Seeds of a start without random numbers are one run, on shared batches." * (
        not by_seed
        and any(
            group.lane.init in INITIALIZERS and not INITIALIZERS[group.lane.init].random and len(group.lanes) > 1
            for group in seed_groups(lanes)
        )
    )
    vary = " The batches vary by seed." * (by_seed and counts[-1] > 1)
    advice = " Repeat it with more seeds before you rely on it." * (counts[0] < 5)
    return f"Computed from this run, {runs}.{same}{vary}{advice}"


def batches_vary(config: RaceConfig, about: HeldOut | None) -> bool:
    """Return whether lanes of different seeds train on different batches.

    With a single training example, all batches are the same.

    Args:
        about: with the number of training examples; None while unknown.
    """
    return config.by_seed and (about is None or about.train != 1)


def is_guessing(places: Sequence[Place], held_out: HeldOut | None) -> bool:
    """Whether nobody is right more often than an answer without reading the prompt.

    Args:
        places: of the lanes, those that differ in their seed alone as one, see `group_places`.
    """
    known = [place.accuracy for place in places if math.isfinite(place.accuracy)]
    guess = held_out.guess if held_out else None
    return guess is not None and bool(known) and max(known) <= guess


def no_better_than_guessing(places: Sequence[Place], held_out: HeldOut | None) -> list[Sentence]:
    """Say so if it is so, see `is_guessing`."""
    if held_out is None or held_out.guess is None or not is_guessing(places, held_out):
        return []
    rest = f"{held_out.guess_words} is right in {percent(held_out.guess)}."
    return [Sentence("No lane does better than guessing:", rest)]


def departures(rows: Sequence[Place], names: Sequence[str]) -> list[Sentence]:
    """Name the diverged lanes, the earliest first, by their reason."""
    out = sorted((row for row in rows if row.out_at), key=lambda row: row.out_at)
    shown = out if len(out) <= NAMED else out[: NAMED - 1]
    said = []
    for why in dict.fromkeys(row.why_out for row in out):
        gone = [f"{names[row.lane]} (step {row.out_at})" for row in shown if row.why_out == why]
        more = sum(row.why_out == why for row in out) - len(gone)
        if more:
            gone.append(f"{more} more" if gone else f"{more} others" if more > 1 else "another")
        many = len(gone) > 1 or more > 1
        verb, whose = ("are", "their") if many else ("is", "its")
        lead = f"So {verb} {and_(gone)}:" if said else f"{and_(gone)} {verb} out of the race:"
        said.append(Sentence(lead, f"{whose} {why}."))
    if said:
        others = "The others are not affected." if len(out) < len(rows) else "No lane is left."
        said[-1] = replace(said[-1], rest=f"{said[-1].rest} {others}")
    return said


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

    Raises:
        ValueError: there is nobody to compare with, or not one value and one comparison for each.
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
                f"{relation(kind, self.basis)} {listed(of[kind])}" + f" within {within}" * (kind == LEVEL)
                for kind in KINDS
                if kind in of
            ]
        )

    def _each(self) -> str:
        """Return the values of the first few."""
        shares = self.found[0].shares
        form = percent if shares else nats
        told = [f"{name} {form(value)}" for name, value in zip(self.names, self.values, strict=True)]
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

    Args:
        names: of the contenders, first the one that it is about.
        values: the mean score of each: a share of right answers, or a loss in nats.
        found: the comparison of the first with each of the others.
        basis: by default the seeds and held-out examples of the comparisons.
        score: see `Statement`.
        where: see `score`.

    Raises:
        ValueError: see `Statement`.

    >>> one = Comparison(-0.06, -0.09, -0.03, 0.001, 0.05, shares=False, examples=64, seeds=1)
    >>> print(who_leads(["OLoRA", "LoRA"], [0.44, 0.5], [one]))  # doctest: +NORMALIZE_WHITESPACE
    OLoRA did better in this run than LoRA: held-out loss 0.44 against 0.50, a difference of −0.06
    nats, 95% interval −0.09 to −0.03 nats (64 held-out examples; one seed).
    """
    if basis is None:
        examples = found[0].examples if found else 0
        basis = Basis(min((one.seeds for one in found), default=0), examples)
    return Statement(tuple(names), tuple(values), tuple(found), basis, score, where).sentence


def in_cells(name: str, other: str, verdicts: Sequence[str], basis: Basis, *, where: str = "") -> str:
    """Say in how many cells of a study one method leads another, and on what a cell rests.

    Args:
        verdicts: of the study on the method against the other one, one for each cell.
        basis: of every cell.

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
    words = {SAME: "gives the same results as", LEVEL: "is level with", UNDECIDED: "cannot be told apart from"}
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
