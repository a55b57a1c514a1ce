"""A claim, the findings on it, and how claims read a study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from olora_viz.machine.tables import finite_or_none
from olora_viz.studies.axes import in_words
from olora_viz.studies.claims.evidence import FULL, OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.difference import Difference, between, interval_of
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import unit_of
from olora_viz.studies.sentences import Basis, over
from olora_viz.studies.statistics import (
    BETTER,
    ERROR,
    LEAST_SEEDS,
    LEVEL,
    LEVEL_LOG_RATIO,
    LEVEL_WITHIN,
    UNDECIDED,
    UNKNOWN,
    WORSE,
    Interval,
    bootstrap_over_cells,
    verdict,
)
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdict, Verdicts

HOLDS, FAILS, MIXED, NOT_MEASURED = "holds", "fails", "mixed", "not measured"
"""The verdicts on a claim, beside `LEVEL` and `UNDECIDED`. ``mixed``: a part holds, another not."""

VERDICTS = (HOLDS, FAILS, LEVEL, MIXED, UNDECIDED, NOT_MEASURED)

OLORA_PAPER = "OLoRA (arXiv 2406.01775)"
WITHOUT_REGRET = "LoRA Without Regret (Thinking Machines, 2025), put to OLoRA"
RATE_MATTERS = "Learning Rate Matters (arXiv 2602.04998)"

WITHIN = f"within {LEVEL_WITHIN - 1:.0%}"

FLAT = LEVEL_LOG_RATIO / math.log(4)
"""A best rate counts as the same if it changes by less than `LEVEL_WITHIN` per factor of four in the rank or in the
length of a run: the largest absolute exponent."""

OF_VERDICT = {BETTER: HOLDS, WORSE: FAILS, LEVEL: LEVEL, UNDECIDED: UNDECIDED}
"""The verdict on the claim that a method is better than the reference."""

OF_WORSE = {**OF_VERDICT, BETTER: FAILS, WORSE: HOLDS}
"""The verdict on the claim that a method is worse than the reference."""

OF_LEVEL = {LEVEL: HOLDS, BETTER: FAILS, WORSE: FAILS, UNDECIDED: UNDECIDED}
"""The verdict on the claim that both are level."""


@dataclass(frozen=True)
class Bar:
    """A bar of a claim's figure, with an interval if the number has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> list[Any]:
        """Return label, value and both ends; null where there is no finite number."""
        return [self.label, *(None if x is None else _plain(x) for x in (self.value, self.low, self.high))]

    @classmethod
    def of(cls, label: str, interval: Interval) -> Bar:
        """Return the bar of a number with an interval."""
        return cls(label.strip(), *interval[:3])

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Bar:
        """Read back what `to_json` wrote; an end that is not finite is none."""
        label, value, low, high = values
        return cls(label, math.nan if value is None else value, low, high)


@dataclass(frozen=True)
class Finding:
    """The verdict on a claim for one model and task, or for the cells of a study."""

    verdict: str
    words: str
    """What was found, in one or two sentences with numbers; or why nothing was."""
    numbers: Mapping[str, float | Interval] = field(default_factory=dict)
    seeds: int | None = None
    """The seeds, or batches, on which the verdict rests; None if there is no chance in it."""
    bars: tuple[Bar, ...] = ()
    unit: str = ""
    over: str = ""
    """What the intervals of the bars allow for, in words: other seeds, examples or batches, and how many."""

    @property
    def interval_words(self) -> str:
        """What the intervals of the bars are; empty if none has one."""
        if all(bar.low is None or bar.high is None for bar in self.bars):
            return ""
        return f"95% over {self.over}" if self.over else "95% intervals"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; an interval becomes its mean and its two ends."""
        return {
            "verdict": self.verdict, "numbers": {k: _plain(v) for k, v in self.numbers.items()},
            "seeds": self.seeds, "words": self.words, "bars": [bar.to_json() for bar in self.bars],
            "unit": self.unit, "over": self.over,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        """Read back what `to_json` wrote; the p-value of an interval, which it left out, is NaN.

        Earlier versions did not say what the intervals are over.

        Raises:
            KeyError: the values have another form.
            TypeError: likewise.
            ValueError: likewise.
        """
        if values["verdict"] not in VERDICTS:
            raise ValueError(f"a verdict must be one of {', '.join(VERDICTS)}")
        return cls(
            verdict=values["verdict"], words=values["words"], seeds=values["seeds"],
            numbers={name: _number(value) for name, value in values["numbers"].items()},
            bars=tuple(map(Bar.from_json, values["bars"])), unit=values["unit"],
            over=values.get("over", ""),
        )  # fmt: skip


def _plain(value: float | Interval) -> Any:
    if isinstance(value, Interval):
        return [finite_or_none(x) for x in (value.mean, value.low, value.high)]
    return value if isinstance(value, int) else finite_or_none(value)


def _number(value: Any) -> float | Interval:
    if not isinstance(value, list):
        return math.nan if value is None else value
    mean, low, high = (unknown if x is None else x for x, unknown in zip(value, UNKNOWN[:3], strict=True))
    return Interval(mean, low, high, math.nan)


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, in our words, and the function that decides it."""

    number: int
    name: str
    sentence: str
    source: str
    measured: str
    """What decides it, in a sentence."""
    judge: Callable[[ClaimEvidence], Finding]
    of_weights: bool = False
    """Whether it is about the weights of a model alone, whatever the task."""

    @property
    def needs_study(self) -> bool:
        """Whether it is about training, so that a study decides it."""
        return isinstance(self.judge, OnStudy)

    @property
    def needs_several(self) -> bool:
        """Whether it compares studies."""
        return isinstance(self.judge, OnStudy) and self.judge.several


def not_measured(why: str) -> Finding:
    """Return that a claim was not measured, and why."""
    return Finding(NOT_MEASURED, why)


def judged(
    differences: Float[np.ndarray, " n"] | Float[np.ndarray, "n examples"], margin: float
) -> tuple[str, Interval]:
    """Return the verdict on the claim that paired differences are negative, and their interval.

    Args:
        differences: one per seed or batch, or per seed and example, finite; fewer than three seeds or batches decide
            nothing.
        margin: the largest difference that does not matter, see `statistics.verdict`.
    """
    interval = interval_of(differences)
    return OF_VERDICT[verdict(interval, interval.p_value, margin, len(differences))], interval


def ratio_of(log: Interval) -> Interval:
    """Return the interval of a ratio from that of its logarithm."""
    mean, low, high = np.exp(log[:3]).tolist()
    return Interval(mean, low, high, log.p_value)


def ends(interval: Interval, over: str, form: str = "+.3g") -> str:
    """Say what an interval is, and give its ends.

    Args:
        over: what it allows for, see `Finding.over`.

    >>> ends(Interval(-0.2, -0.3, -0.1, 0.01), "5 seeds")
    '95% over 5 seeds: -0.3 to -0.1'
    """
    return f"95% over {over}: {interval.low:{form}} to {interval.high:{form}}"


def level_means(parts: Iterable[str], margin: str) -> str:
    """Return a sentence that names the margin, if the verdict on some part is ``level``.

    >>> level_means(["holds", "level"], WITHIN), level_means(["holds"], WITHIN)
    (' Level means within 25%.', '')
    """
    return f" Level means {margin}." if LEVEL in parts else ""


def is_flat(exponent: Interval, margin: float = FLAT) -> bool:
    """Whether the interval of an exponent lies within a margin of zero."""
    return exponent.low > -margin and exponent.high < margin


def flat(exponent: Interval) -> str:
    """Judge that an exponent is zero: equivalence, not absence of evidence."""
    if is_flat(exponent):
        return HOLDS
    return FAILS if exponent.p_value < ERROR else UNDECIDED


def together(parts: Sequence[str]) -> str:
    """Return the verdict on a claim from those on its parts.

    A part that holds beside one that does not makes it ``mixed``; a part that is undecided leaves the others' common
    verdict undecided.

    >>> together(["holds", "holds"]), together(["holds", "fails"]), together(["level", "undecided"])
    ('holds', 'mixed', 'undecided')
    """
    measured = [part for part in parts if part != NOT_MEASURED]
    if not measured:
        return NOT_MEASURED
    decided = set(measured) - {UNDECIDED}
    if len(decided) > 1 or MIXED in decided:
        return MIXED
    return UNDECIDED if UNDECIDED in measured else decided.pop()


@dataclass(frozen=True)
class OnStudy:
    """Judges the evidence of a claim about training, or says what is missing."""

    judge: Callable[[ClaimEvidence, Verdicts], Finding]
    """Of the evidence and its study."""
    methods: tuple[str, ...] = (OURS,)
    """What the study has to compare with LoRA; empty if any study will do."""
    several: bool = False
    """Whether the claim compares studies."""

    def __call__(self, evidence: ClaimEvidence) -> Finding:
        """Judge the study, or the studies."""
        if evidence.study is None:
            return not_measured("no study was given: pass --study DIR, or --minutes N to run one")
        for verdicts in (evidence.study, *(evidence.others if self.several else ())):
            if not verdicts.rows:
                return not_measured("no race of the study has ended yet")
            compared, reference = verdicts.study.compare, verdicts.study.reference
            lacking = [init for init in self.methods if init not in compared]
            if lacking or (self.methods and reference != REFERENCE):
                return not_measured(
                    f"the study compares {', '.join(compared)} against {reference}, not "
                    f"{' and '.join(lacking or self.methods)} against {REFERENCE}"
                )
        return self.judge(evidence, evidence.study)


def on_study(judge: Callable[[Verdicts], Finding], methods: tuple[str, ...] = (OURS,)) -> OnStudy:
    """Make a function of verdicts one of evidence, which says what is missing; for `methods` see `OnStudy`."""
    return OnStudy(lambda _, study: judge(study), methods)


def ours(verdicts: Verdicts) -> list[Verdict]:
    """Return OLoRA's verdict in every cell."""
    return [each for each in verdicts.each if each.method == OURS]


def basis_of(verdicts: Verdicts) -> Basis:
    """Return what the comparisons of a study rest on, in each of its cells."""
    study = verdicts.study
    return Basis(study.seeds, verdicts.test_examples(), "test", study=True, dtype=study.fixed().race.dtype)


def few_seeds(study: Study) -> Finding | None:
    """Return that a claim about each seed's best rate was not measured, if the first pass has too few seeds."""
    tried = study.first_seeds
    why = f"the study tries every rate with {tried} seed{'s' * (tried != 1)}"
    why += ", and the best rates alone with more" * (study.seeds > tried)
    return not_measured(f"{why}: at least {LEAST_SEEDS} are needed at every rate") if tried < LEAST_SEEDS else None


def apart(first: Study, second: Study, may_differ: Collection[str]) -> str:
    """Say why two studies cannot be compared: in what they differ that they may not; empty if they can."""
    settings, others = first.settings(), second.settings()
    for name in dict.fromkeys((*settings, *others)):
        one, other = settings.get(name), others.get(name)
        if name not in may_differ and one != other:
            return f"the studies differ in {name} as well: {one!r} and {other!r}"
    return ""


def rise(before: Float[np.ndarray, "_ m"], after: Float[np.ndarray, "_ m"]) -> Float[np.ndarray, "k m"]:
    """Return by how much losses of a method are higher after a change, of the seeds that have both."""
    seeds = min(len(before), len(after))
    return after[:seeds] - before[:seeds]


@dataclass(frozen=True)
class AgainstFull:
    """LoRA and OLoRA against full fine-tuning, cell by cell."""

    numbers: dict[str, list[np.ndarray]]
    """Of each method, full fine-tuning as well, in the cells that have some: by seed, or by seed and example."""
    differences: dict[str, dict[Cell, Difference]]
    """Of each method minus full fine-tuning, in the cells that have both."""
    parts: dict[str, list[str]]
    """The verdicts on each method, in every cell."""
    outside: tuple[str, ...]
    """The methods that have a best rate at the edge of the rates tried."""

    @classmethod
    def of(
        cls, study: Study, numbers: Callable[[str, Cell], np.ndarray | None], judge: Callable[[Difference, Cell], str]
    ) -> AgainstFull:
        """Compare in every cell of a study, all of whose methods help to tell how far seeds scatter.

        Args:
            numbers: of a method in a cell, by seed and example or (seeds, 1); None if runs are missing, empty if a
                best rate lies at the edge.
            judge: gives the verdict on the difference of a method to full fine-tuning.
        """
        every: dict[str, list[np.ndarray]] = {init: [] for init in (REFERENCE, OURS, FULL)}
        differences: dict[str, dict[Cell, Difference]] = {REFERENCE: {}, OURS: {}}
        parts: dict[str, list[str]] = {REFERENCE: [], OURS: []}
        outside: dict[str, None] = {}
        for cell in study.cells():
            of_cell = {init: numbers(init, cell) for init in study.compare}
            known = {init: values for init, values in of_cell.items() if values is not None}
            among = [values for values in known.values() if len(values)]
            for init in every:
                if init in known and len(known[init]):
                    every[init].append(known[init])
                elif init in known:
                    outside[init] = None
            for init, verdicts in parts.items():
                if init not in known or FULL not in known:
                    verdicts.append(NOT_MEASURED)
                elif not len(known[init]) or not len(known[FULL]):
                    verdicts.append(UNDECIDED)
                else:
                    differences[init][cell] = between(known[init], known[FULL], among)
                    verdicts.append(judge(differences[init][cell], cell))
        return cls(every, differences, parts, tuple(outside))

    @property
    def edges(self) -> list[str]:
        """A sentence on the methods whose best rate lies at the edge; none if there is no such method."""
        names = " and of ".join(map(method_name, self.outside))
        return [f"A best rate of {names} lies at the edge of the rates tried."] if names else []


def where(study: Study, cell: Cell) -> str:
    """Name a cell by what differs among those of its study; empty if there is one."""
    parts = [(cell.model, "model"), (cell.task, "task"), (f"r {cell.r}", "r")]
    parts += [(in_words(name, value), name) for name, value in cell.others]
    return " ".join(word for word, name in parts if len(study.values(name)) > 1)


def counted(verdicts: Iterable[str], what: str = "cell") -> str:
    """Say how many cells, or what else, have which verdict.

    >>> counted(["better", "better", "level"])
    'better in 2 of 3 cells, level in 1'
    """
    counts = Counter(verdicts)
    first, *others = counts.most_common()
    of_all = f"{first[0]} in {first[1]} of {counts.total()} {what}{'s' * (counts.total() > 1)}"
    return ", ".join([of_all, *(f"{word} in {count}" for word, count in others)])


def level_within(study: Study, parts: Sequence[str], margins: Sequence[float]) -> str:
    """Return a sentence that names the margins of losses, if the verdict on some part is ``level``.

    Args:
        parts, margins: the verdict on each part, and its margin.

    >>> level_within(Study(), ["level", "holds", "level"], [0.02, 0.05, 0.08])
    " Level means within 0.02 to 0.08 nats, 2% of LoRA's loss reduction."
    """
    sizes = [size for part, size in zip(parts, margins, strict=True) if part == LEVEL]
    ends = dict.fromkeys(f"{pick(sizes):.2g}" for pick in (min, max)) if sizes else ()
    share = f"{100 * study.margin:.3g}% of {method_name(study.reference)}'s loss reduction"
    return level_means(parts, f"within {' to '.join(ends)} {unit_of(study)}, {share}")


def best_by_seed(grid: Sequence[float], losses: Float[np.ndarray, "rates seeds"]) -> Float[np.ndarray, " n"]:
    """Return the logarithm of each seed's best rate (seeds,), between the rates of a grid.

    It is the vertex of the parabola through the lowest loss and its neighbours, see `lowest`. Empty if the rate with
    the lowest mean loss is the lowest or highest of the grid, or each has a diverged run.
    """
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if not 0 < losses.mean(1).argmin() < len(grid) - 1:
        return np.empty(0)
    return np.array([lowest(np.log(grid), of_seed) for of_seed in losses.T])


def lowest(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Return where the parabola through the lowest value and its neighbours has its vertex.

    At the edge, or beside a value that is not finite, it is the place of the lowest value.
    """
    at = int(y.argmin())
    near = slice(at - 1, at + 2)
    if not 0 < at < len(y) - 1 or not np.isfinite(y[near]).all():
        return float(x[at])
    curved, slope, _ = np.polyfit(x[near] - x[at], y[near], 2)
    return float(x[at] - slope / (2 * curved)) if curved > 0 else float(x[at])


def over_of(differences: Sequence[np.ndarray], part: str = "test") -> str:
    """Say over what the interval of `over_cells` is.

    >>> over_of([np.zeros((5, 64))]), over_of([np.zeros((5, 64)), np.zeros((3, 64))])
    ('5 seeds and 64 test examples', '2 cells, their seeds and test examples')
    >>> over_of([np.zeros(5), np.zeros(5)])
    '2 cells and their seeds'
    """
    if len(differences) == 1:
        return over(differences[0], part)
    if all(each.size == len(each) for each in differences):
        return f"{len(differences)} cells and their seeds"
    return f"{len(differences)} cells, their seeds and {part} examples"


def over_cells(differences: list[np.ndarray]) -> Interval:
    """Return the mean over cells of paired differences, with its 95% interval.

    That of a single cell is the one that decides, see `interval_of`; that of several comes from a hierarchical
    bootstrap, which describes and decides nothing.

    Args:
        differences: of each cell, (seeds, examples), or (seeds,) of numbers that have no examples.
    """
    if len(differences) == 1:
        return interval_of(differences[0])
    cells = [each.reshape(len(each), -1) for each in differences]
    return Interval(*bootstrap_over_cells(cells), 1.0)


def over_compared(differences: Sequence[Difference]) -> Interval:
    """Return the mean over cells of differences between methods, see `over_cells`: of a single cell, as it decides."""
    return differences[0].interval if len(differences) == 1 else over_cells([each.gap for each in differences])
