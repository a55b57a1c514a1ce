"""Verdicts in words: who leads, at which rates, and how sure that is."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.schedule import warmup_words
from olora_viz.machine.wording import Sentence, and_, compact, counted, nats, number, percent, signed
from olora_viz.races.config import RaceConfig, is_random
from olora_viz.studies.contest import (
    LARGEST,
    LOWEST,
    Contest,
    Field,
    SeedGroup,
    Setting,
    differences,
    names_of,
    seed_groups,
)
from olora_viz.studies.ranking import Place
from olora_viz.studies.statistics import (
    AHEAD,
    BEHIND,
    BETTER,
    LEAST_EXAMPLES,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    Comparison,
)
from olora_viz.tasks.evaluation import HeldOut

MOST_NAMED = 4
"""Most contenders to name in a sentence; the others are counted."""


def over(differences: Float[np.ndarray, "k ..."], part: str = "test") -> str:
    """Say over what the interval of paired differences is, see `olora_viz.studies.difference.interval_of`.

    Args:
        differences: by seed and example, or by seed alone.

    >>> over(np.zeros((5, 64))), over(np.zeros((1, 64))), over(np.zeros((5, 1)))
    ('5 seeds and 64 test examples', '64 test examples', '5 seeds')
    """
    seeds = counted(len(differences), "seed")
    if differences.size == len(differences):
        return seeds
    examples = counted(differences.shape[1], f"{part} example")
    return f"{seeds} and {examples}" if len(differences) > 1 else examples


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Join names as a sentence does; of more than `most` the first are named and the others counted.

    >>> listed(["LoRA", "PiSSA"]), listed(list("ABCDEF"))
    ('LoRA and PiSSA', 'A, B, C and 3 others')
    """
    few = len(names) <= most
    return and_(names if few else [*names[: most - 1], f"{len(names) - most + 1} others"])


def setting_of(field: Field, lanes: Sequence[Lane]) -> list[str]:
    """Return the settings in which a field differs from the others, each in words."""
    setting, clip, seeds = field.setting, field.setting.clip, field.seeds
    words = {
        "rank": f"rank {setting.r}",
        "scaling": f"scaling {compact(setting.scale)}",
        "weight decay": f"weight decay {compact(setting.weight_decay)}",
        "clipping": "no clipping" if clip is None else f"clipping at {compact(clip)}",
        "betas": "betas {:g} and {:g}".format(*setting.betas),
        "LoRA+ ratio": f"LoRA+ ratio {compact(setting.lora_plus)}",
        "dropout": f"dropout {setting.dropout:g}",
        "targets": f"targets {', '.join(setting.targets)}" if setting.targets else "no targets of their own",
        "schedule": f"a {setting.schedule} schedule" if setting.schedule else "no schedule of their own",
        "warm-up": "no warm-up of their own" if setting.warmup is None else f"warm-up: {warmup_words(setting.warmup)}",
        "directions": "every entry trained" if setting.dim is None else f"{setting.dim} directions",
        "replay": setting.replay or "nothing replayed",
        "optimizer": setting.optimizer or "AdamW",
        "objective": setting.objective or "no key of the objective",
        "ranks": setting.ranks or "one rank for all layers",
        "DoRA": "DoRA" if setting.dora else "no DoRA",
    }
    if {lane.seed for lane in lanes} != set(seeds):
        words["seed"] = f"seed{'s' * (len(seeds) > 1)} {and_([str(seed) for seed in seeds])}"
    return [words[name] for name in differences(lanes) if name in words]


def caveat(lanes: Sequence[Lane], *, by_seed: bool = False) -> str:
    """Return a sentence on the reliability of the results, with the fewest and the most independent runs of a start.

    Args:
        by_seed: whether the batches vary by seed, so that a start without random numbers varies too; with shared
            batches, all its seeds are one run.

    >>> caveat([Lane("olora"), Lane("olora", seed=1)])[:34], caveat([Lane("lora"), Lane("lora", seed=1)])[:33]
    ('Computed from this run, one seed e', 'Computed from this run, 2 seeds e')
    """
    seeds: dict[tuple[Setting, str, float], set[int]] = {}
    for lane in lanes:
        varies = by_seed or is_random(lane)
        seeds.setdefault((Setting.of(lane), lane.init, lane.lr), set()).add(lane.seed if varies else 0)
    counts = sorted(map(len, seeds.values()))
    fewest = "one seed" if counts[0] == 1 else f"{counts[0]} seeds"
    runs = f"{fewest} each" if counts[0] == counts[-1] else f"for some lanes {fewest} only"
    same = " Seeds of a start without random numbers are one run, on shared batches." * (
        not by_seed and any(len(group.lanes) > 1 and not is_random(group.lane) for group in seed_groups(lanes))
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


def departures(rows: Sequence[Place], names: Sequence[str]) -> list[Sentence]:
    """Name the diverged lanes, the earliest first, by their reason."""
    out = sorted((row for row in rows if row.out_at), key=lambda row: row.out_at)
    shown = out if len(out) <= MOST_NAMED else out[: MOST_NAMED - 1]
    sentences = []
    for why in dict.fromkeys(row.why_out for row in out):
        gone = [f"{names[row.lane]} (step {row.out_at})" for row in shown if row.why_out == why]
        more = sum(row.why_out == why for row in out) - len(gone)
        if more:
            gone.append(f"{more} more" if gone else f"{more} others" if more > 1 else "another")
        many = len(gone) > 1 or more > 1
        verb, pronoun = ("are", "their") if many else ("is", "its")
        lead = f"So {verb} {and_(gone)}:" if sentences else f"{and_(gone)} {verb} out of the race:"
        sentences.append(Sentence(lead, f"{pronoun} {why}."))
    if sentences:
        others = "The others are not affected." if len(out) < len(rows) else "No lane is left."
        sentences[-1] = replace(sentences[-1], rest=f"{sentences[-1].rest} {others}")
    return sentences


def departure(left: Sequence[int], what: str = "DNF") -> str:
    """Say when a lane, or which share of its seeds, diverged; empty if none has.

    Args:
        left: of each seed, see `Place`.
        what: became of them.

    >>> departure([8]), departure([9, 0, 8]), departure([8, 9, 11])
    ('DNF at step 8', '2 of 3 seeds DNF at steps 8 and 9', 'DNF at steps 8 to 11')
    """
    gone = [step for step in left if step]
    if not gone:
        return ""
    seeds = f"{len(gone)} of {len(left)} seeds " if len(gone) < len(left) else ""
    first, *more = sorted(set(gone))
    until = f" {'to' if len(more) > 1 else 'and'} {more[-1]}" if more else ""
    return f"{seeds}{what} at step{'s' * bool(more)} {first}{until}"


SAME = "same"
"""The kind of a comparison of equal results, beside those of `Comparison.in_these_runs`."""

VERDICT_KINDS = (AHEAD, BEHIND, SAME, LEVEL, UNDECIDED)
"""All kinds, in the order in which a sentence names them."""

MOST_DECIMALS = 6
"""Decimals of an interval that excludes zero: as many as its ends need to differ from zero."""


@dataclass(frozen=True)
class Basis:
    """What a comparison rests on.

    >>> print(Basis(seeds=1, examples=32, chosen_on=32))
    64 held-out examples, rates chosen on 32 and compared on the others; one seed
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
    dtype: str = "float32"
    """Of the frozen base. In bfloat16 everything is rounded coarsely, so that an order may be another."""

    def __str__(self) -> str:
        """Return it in words."""
        count = self.examples + self.chosen_on * self.is_of_half
        chosen = f", rates chosen on {counted(self.chosen_on, 'other')}" * bool(self.chosen_on)
        chosen = f", rates chosen on {self.chosen_on} and compared on the others" if self.is_of_half else chosen
        examples = f"{count} {self.part} example{'s' * (count != 1)}{chosen}"
        return "; ".join(filter(None, (examples, "one seed" if self.seeds == 1 else f"{self.seeds} seeds", self.base)))

    @property
    def is_of_half(self) -> bool:
        """Whether the scores are of all held-out examples, and what was compared of those that chose no rate."""
        return self.part == "held-out" and self.chosen_on > 0

    @property
    def base(self) -> str:
        """The base, if it is not in float32; else empty."""
        return "" if self.dtype == "float32" else f"{self.dtype} base"


@dataclass(frozen=True)
class Statement:
    """Whom a contender leads and trails, from whom it differs too little to matter, and of whom too little is known.

    Raises:
        ValueError: there is no other contender, or not one value and one comparison for each.
    """

    names: tuple[str, ...]
    """Of the contenders, first the one that it is about."""
    values: tuple[float, ...]
    """The mean score of each: a share of right answers, or a loss in nats."""
    comparisons: tuple[Comparison, ...]
    """Of the first with each of the others."""
    basis: Basis
    score: str = "held-out loss"
    """What is compared, in words; may be empty where `where` says it."""
    where: str = ""
    """Where it holds, such as "At one rate (1e-3)"; may be empty."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        if not self.comparisons or not len(self.names) == len(self.values) == len(self.comparisons) + 1:
            raise ValueError(
                f"{len(self.names)} names, {len(self.values)} values and {len(self.comparisons)} comparisons: give "
                "one contender, at least one other, and a comparison with each other"
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """``ahead``, ``behind``, ``level``, ``undecided`` or ``same`` for each of the others."""
        return tuple(
            SAME if pair.difference == pair.low == pair.high == 0.0 else pair.in_these_runs
            for pair in self.comparisons
        )

    @property
    def lead(self) -> str:
        """What holds, without its numbers."""
        return f"{self.where} {self.names[0]} {self.relations}".lstrip()

    @property
    def sentence(self) -> Sentence:
        """All of it, with the interval of a pair and the basis."""
        numbers = self._pair() if len(self.comparisons) == 1 else self._each()
        return Sentence(f"{self.lead}:", f"{numbers} ({self.basis}).")

    @property
    def scores(self) -> str:
        """The scores alone: ``94% right against 67%``; of several with names, without rates."""
        if len(self.comparisons) > 1:
            return replace(self, names=tuple(n.partition(" (")[0] for n in self.names))._each()
        first, second = self.written
        if self.shares:
            return f"{first} right against {second}"
        return f"{self.score} {first} against {second} nats".lstrip()

    @property
    def relations(self) -> str:
        """What may be said of the first and the others, in one part for each kind."""
        others = list(zip(self.kinds, self.names[1:], self.comparisons, strict=True))
        parts = []
        for kind in VERDICT_KINDS:
            if names := [name for each, name, _ in others if each == kind]:
                margin = max(pair.margin for each, _, pair in others if each == kind)
                size = f"{_bare(margin, self.shares)} {'points' if self.shares else 'nats'}"
                parts.append(relation(kind, listed(names), self.basis, size))
        return and_(parts)

    @property
    def shares(self) -> bool:
        """Whether the scores are shares of right answers."""
        return self.comparisons[0].shares

    @property
    def written(self) -> list[str]:
        """The scores, each in digits."""
        return list(map(percent if self.shares else nats, self.values))

    @property
    def unit(self) -> str:
        """What the scores are in."""
        return "of answers right" if self.shares else "nats"

    def _each(self) -> str:
        """Return the values of the first few."""
        each = [f"{name} {value}" for name, value in zip(self.names, self.written, strict=True)]
        return f"{', '.join(each[:MOST_NAMED])} {self.unit}"

    def _pair(self) -> str:
        """Return both values and their difference with its interval."""
        (pair,), (first, second) = self.comparisons, self.values
        of_scores, gap = _agreeing(first, second, pair.difference, pair.shares)
        form = f".{of_scores}{'%' if pair.shares else 'f'}"
        scores = f"{self.score} {number(first, form)} against {number(second, form)}".lstrip()
        where = f"; on the {self.basis.examples} that chose no rate" if self.basis.is_of_half else ","
        if not math.isfinite(pair.low):
            return f"{scores}{where} a difference without an interval"
        low, high = sorted((pair.low, pair.high))
        decimals = max(of_scores, _decimals(low, high, pair.shares))
        difference, bare, end = (_bare(value, pair.shares, decimals) for value in (gap, low, high))
        unit = "points" if self.shares else "nats"
        return f"{scores}{where} a difference of {difference} {unit}, 95% interval {bare} to {end} {unit}"


def who_leads(
    names: Sequence[str],
    values: Sequence[float],
    comparisons: Sequence[Comparison],
    basis: Basis | None = None,
    *,
    score: str = "held-out loss",
    where: str = "",
) -> Sentence:
    """Return a `Statement` as its whole sentence.

    Args:
        names, values, comparisons, score, where: see `Statement`.
        basis: by default the seeds and held-out examples of the comparisons.

    Raises:
        ValueError: see `Statement`.

    Examples:
        >>> import numpy as np
        >>> import olora_viz as ov
        >>> losses = np.linspace(0.2, 0.8, 64)  # of each held-out example
        >>> lora, olora = ov.Scores(losses[None]), ov.Scores(losses[None] ** 1.2)
        >>> means = [olora.loss.mean(), lora.loss.mean()]
        >>> sentence = ov.who_leads(["OLoRA", "LoRA"], means, [ov.compare(olora, lora)])
        >>> print(sentence)  # doctest: +NORMALIZE_WHITESPACE
        OLoRA did better in this run than LoRA: held-out loss 0.44 against 0.50, a
        difference of −0.06 nats, 95% interval −0.06 to −0.06 nats (64 held-out
        examples; one seed).
    """
    if basis is None:
        examples = comparisons[0].examples if comparisons else 0
        basis = Basis(min((pair.seeds for pair in comparisons), default=0), examples)
    return Statement(tuple(names), tuple(values), tuple(comparisons), basis, score, where).sentence


def in_cells(name: str, other: str, verdicts: Sequence[str], basis: Basis, *, where: str = "") -> str:
    """Say in how many cells of a study one method leads another, and on what a cell rests.

    Args:
        verdicts: of the study on the method against the other one, one for each cell.

    >>> basis = Basis(seeds=5, examples=64, part="test", study=True)
    >>> print(in_cells("OLoRA", "LoRA", ["better", "level", "better"], basis))  # doctest: +NORMALIZE_WHITESPACE
    OLoRA is better than LoRA in 2 of 3 cells and differs too little from it to matter in 1
    (64 test examples; 5 seeds).
    """
    kinds = {BETTER: AHEAD, WORSE: BEHIND}
    (first, most), *others = Counter(kinds.get(word, word) for word in verdicts).most_common()
    cells = f"{len(verdicts)} cell{'s' * (len(verdicts) > 1)}"
    parts = [f"{relation(first, other, basis)} in {most} of {cells}"]
    parts += [f"{relation(kind, 'it', basis)} in {count}" for kind, count in others]
    return f"{where} {name} {and_(parts)} ({basis}).".lstrip()


def relation(kind: str, other: str, basis: Basis, within: str = "") -> str:
    """Return what may be said of one contender and another, by one of the `VERDICT_KINDS`.

    The same, too small to matter, and too few seeds or examples to tell are three different things.

    Args:
        within: the largest difference that does not matter, in words.

    >>> relation("level", "LoRA", Basis(3, 64), "0.1 nats"), relation("same", "LoRA", Basis(3, 64))
    ('differs too little from LoRA to matter (less than 0.1 nats)', 'gives the same results as LoRA')
    >>> relation("undecided", "LoRA", Basis(3, 64))
    'cannot be told apart from LoRA with so few seeds or examples'
    """
    if kind == SAME:
        return f"gives the same results as {other}"
    if kind == LEVEL:
        return f"differs too little from {other} to matter{f' (less than {within})' * bool(within)}"
    if kind == UNDECIDED:
        # A study says of each method what it would take.
        return f"cannot be told apart from {other} {'yet' if basis.study else f'with so few {scarce(basis)}'}"
    better = "better" if kind == AHEAD else "worse"
    if basis.seeds == 1:
        return f"did {better} in this run than {other}"
    if basis.study and basis.seeds >= LEAST_SEEDS:
        return f"is {better} than {other}"
    return f"is {'ahead of' if kind == AHEAD else 'behind'} {other}"


def scarce(basis: Basis) -> str:
    """Return of what a race has too few to tell its contenders apart: examples alone, where it is about one run."""
    return "examples" if basis.examples < LEAST_EXAMPLES or basis.seeds == 1 else "seeds or examples"


def in_words(verdict: str, why: str = "") -> str:
    """Return a verdict of a study as a table has it.

    Args:
        why: it is undecided, see `olora_viz.studies.verdicts.Verdict`.

    >>> in_words("level"), in_words("undecided", "too few seeds, 2 of at least 3"), in_words("better")
    ('too small to matter', 'too few seeds', 'better')
    """
    too_few = re.match("too few (seeds|test examples)", why)
    undecided = too_few[0] if too_few else "open" if why else "too few to tell"
    return {LEVEL: "too small to matter", UNDECIDED: undecided}.get(verdict, verdict)


def _decimals(low: float, high: float, shares: bool) -> int:
    """Return how many decimals show that an interval excludes zero; the usual ones if it does not.

    Without them a leader could have an interval that seems to end at zero.
    """
    decimals = 0 if shares else 2
    if low * high <= 0:
        return decimals
    nearest = min(abs(low), abs(high)) * (100 if shares else 1)
    while decimals < MOST_DECIMALS and not round(nearest, decimals):
        decimals += 1
    return decimals


def _agreeing(first: float, second: float, difference: float, shares: bool) -> tuple[int, float]:
    """Return how many decimals to write two scores with, and their difference as it is to be written.

    A reader who subtracts finds it: not 20% against 16% and 5 points, but 20.3% against 15.6% and 4.7 points. One
    decimal more is enough, and what it leaves is the rounding of the scores: 33.3% and 66.7% differ by 33.4 points.
    Scores and a difference that rest on other examples or seeds are written as they are.
    """
    usual, unit = (0, 100) if shares else (2, 1)
    a, b, gap = unit * first, unit * second, unit * difference
    for decimals in (usual, usual + 1):
        subtracted = round(a, decimals) - round(b, decimals)
        if round(abs(subtracted), decimals) == round(abs(gap), decimals):
            return decimals, difference
    is_theirs = abs(a - b - gap) < 1e-6
    return (usual + 1, subtracted / unit) if is_theirs else (usual, difference)


def _bare(value: float, shares: bool, decimals: int | None = None) -> str:
    """Write a share in points or a loss in nats, without the unit; zero has no sign."""
    usual = 0 if shares else 2
    text = signed(value * (100 if shares else 1), f".{usual if decimals is None else decimals}f")
    return text if text.strip("−0.") else text.removeprefix("−")


def statement_of(contest: Contest, about: int = 0, *others: int, where: str = "") -> Statement:
    """Return how a contender stands to some others, by their places; by default the first to all."""
    others = others or tuple(range(1, len(contest.names)))
    return Statement(
        tuple(contest.names[i] for i in (about, *others)), tuple(contest.values[i] for i in (about, *others)),
        tuple(contest.pairs[about, j] for j in others),
        Basis(contest.seeds, contest.examples, chosen_on=contest.chosen_on),
        score="held-out loss" if contest.by_loss else "accuracy", where=where,
    )  # fmt: skip


def leading(contest: Contest, at: str = "") -> Statement:
    """Return how the one that leads stands to all others, and at which rates.

    Args:
        at: in what the field differs from others of the race, in words; empty for a single one.
    """
    field = contest.field
    if field is None:
        return statement_of(contest, where="Each at its best rate," * bool(contest.as_good))
    if field.at_one_rate:
        where = f"{at}," if at else f"at one rate ({compact(field.contenders[0].lane.lr)})"
    else:
        where = f"{at}{', ' * bool(at)}each at its {'best' if field.has_rates else 'only'} rate,"
    return statement_of(contest, where=where[:1].upper() + where[1:])


def at_best_rates(contest: Contest, at: str = "") -> list[Sentence]:
    """Say who leads and what qualifies that, and which rates that were not tried may suit a start better."""
    return [leading(contest, at).sentence, *turned(contest), *few(contest), *_beyond(contest)]


def turned(contest: Contest) -> list[Sentence]:
    """Say at which rates as good an order is another, so that it is left open."""

    def named(group: SeedGroup) -> str:
        at = f"{label_of(group.lane.init)} at {compact(group.lane.lr)}"
        return at if contest.field else names_of([*contest.contenders, group])[-1]

    others = (
        and_([named(group) for group in contest.turns[pair]])
        + ", as good for all the held-out results say," * bool(contest.turns[pair])
        or "the means over all seeds and held-out examples"
        for pair in ((0, j) for j in range(1, len(contest.names)))
        if pair in contest.turns and replace(contest.pairs[pair], counts=True).is_order
    )
    words = " or ".join(dict.fromkeys(others))
    if not words or contest.examples < LEAST_EXAMPLES:
        return []
    return [Sentence("But", f"with {words} the order turns.")]


def few(contest: Contest) -> list[Sentence]:
    """Say if there are too few examples to decide anything."""
    n = contest.examples
    if n >= LEAST_EXAMPLES or len(contest.names) < 2:
        return []
    were = "example was" if n == 1 else "examples were"
    return [Sentence("Only", f"{n} held-out {were} compared: fewer than {LEAST_EXAMPLES} decide nothing.")]


def _beyond(contest: Contest) -> list[Sentence]:
    """Say which rates that were not tried may suit a start better."""
    sentences = []
    for end, more in ((LARGEST, "larger"), (LOWEST, "lower")):
        names = [label_of(start) for start in contest.at_end(end)]
        if len(names) == 1:
            sentences.append(f"{names[0]}'s rate is the {end} one tried: a {more} one may suit it better.")
        elif names:
            sentences.append(f"The rates of {and_(names)} are the {end} ones tried: {more} ones may suit them better.")
    narrower = contest.narrower.items()
    if only := [f"{label_of(start)} only at {and_([*map(compact, rates)])}" for start, rates in narrower]:
        sentences.append(f"Not all were tried at the same rates: {'; '.join(only)}.")
    return [Sentence("", sentence) for sentence in sentences]


def at_same_rates(contest: Contest, *, numbers: bool = True) -> list[Sentence]:
    """Compare the main two starts at the only rate of the field, if neither leads, or at all rates that they share.

    Args:
        numbers: whether to give them, and what they rest on.
    """
    field, places = contest.field, contest.places
    if field and field.at_one_rate:
        pair = [places.get(start, 0) for start in field.roles]
        if 0 in pair:
            return []
        main = statement_of(contest, *pair)
        return [main.sentence if numbers else Sentence("", f"{main.lead}.")]
    shared = at_shared_rates(contest)
    if not shared:
        return []
    clause, first = _clause(shared), next(iter(shared.values()))
    if not numbers:
        return [Sentence("", f"{clause}.")]
    if len(shared) > MOST_NAMED:
        return [Sentence("", f"{clause} ({first.basis}).")]
    pairs = [" against ".join(statement.written) for statement in shared.values()]
    pairs[0] += f" {first.unit}"
    each = [f"{pair} at {compact(rate)}" for pair, rate in zip(pairs, shared, strict=True)]
    return [Sentence(f"{clause}:", f"{', '.join(each)} ({first.basis}).")]


def at_shared_rates(contest: Contest) -> dict[float, Statement]:
    """Return how the main two starts of a field compare at every rate that both race at."""
    roles = contest.field.roles if contest.field else ()
    statements = {}
    for each in contest.shared:
        statement = statement_of(each, *(each.places[start] for start in roles))
        fewest = min(of_rate.seeds for of_rate in contest.shared)
        statements[each.contenders[0].lane.lr] = replace(statement, basis=replace(statement.basis, seeds=fewest))
    return statements


def _clause(shared: Mapping[float, Statement]) -> str:
    """Return what holds at every rate, without the numbers."""
    first = next(iter(shared.values()))
    one_run = first.basis.seeds == 1
    too_few = f"too few {scarce(first.basis)} to tell"
    words = {SAME: "the same", LEVEL: "too small to matter", UNDECIDED: too_few} | (
        {AHEAD: "better", BEHIND: "worse"} if one_run else {}
    )
    kinds = [words.get(kind, kind) for statement in shared.values() for kind in statement.kinds]
    runs = [
        (kind, [compact(rate) for rate, _ in group])
        for kind, group in groupby(zip(shared, kinds, strict=True), key=lambda at: at[1])
    ]
    if len(runs) <= MOST_NAMED:
        # Of neighbouring rates all of two are named, the ends of more.
        parts = [
            f"{kind} from {rates[0]} to {rates[-1]}" if len(rates) > 2 else f"{kind} at {and_(rates)}"
            for kind, rates in runs
        ]
    else:
        parts = [f"{kind} at {count} of {len(kinds)} rates" for kind, count in Counter(kinds).items()]
    return f"{' against '.join(first.names)} {'in this run, ' * one_run}at one rate: {', '.join(parts)}"
