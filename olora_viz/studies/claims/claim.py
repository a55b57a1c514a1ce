"""A claim of a paper, what decides it, and the verdict on it with its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from olora_viz.machine.numbers import finite_or_none
from olora_viz.studies.method_runs import interval_of
from olora_viz.studies.statistics import (
    BETTER,
    ERROR,
    LEVEL,
    LEVEL_WITHIN,
    UNDECIDED,
    WORSE,
    Interval,
    verdict,
)

if TYPE_CHECKING:
    from olora_viz.studies.claims.evidence import ClaimEvidence

HOLDS, FAILS, MIXED, NOT_MEASURED = "holds", "fails", "mixed", "not measured"
"""The verdicts on a claim, beside `LEVEL` and `UNDECIDED`. ``mixed``: a part holds, another not."""

VERDICTS = (HOLDS, FAILS, LEVEL, MIXED, UNDECIDED, NOT_MEASURED)
"""All of them."""

OLORA = "OLoRA (arXiv 2406.01775)"
WITHOUT_REGRET = "LoRA Without Regret (Thinking Machines, 2025), put to OLoRA"
RATE_MATTERS = "Learning Rate Matters (arXiv 2602.04998)"

RATIO = math.log(LEVEL_WITHIN)
"""Positive numbers are level if the interval of their log ratio lies within this of zero."""

WITHIN = f"within {LEVEL_WITHIN - 1:.0%}"
"""`RATIO` in words."""

FLAT = RATIO / math.log(4)
"""A best rate counts as the same if it changes by less than `LEVEL_WITHIN` per factor of four in
the rank or in the length of a run: the largest absolute exponent."""

UNKNOWN = Interval(math.nan, -math.inf, math.inf, 1.0)
"""The interval of a number that was not measured."""

OF_VERDICT = {BETTER: HOLDS, WORSE: FAILS, LEVEL: LEVEL, UNDECIDED: UNDECIDED}
"""The verdict on the claim that a method is better than the reference."""


@dataclass(frozen=True)
class Bar:
    """A bar of a claim's figure, with an interval if the number has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> list[Any]:
        """Return label, value and both ends; null where there is no finite number."""
        numbers = (self.value, self.low, self.high)
        return [self.label, *(None if x is None else _plain(x) for x in numbers)]

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
    """Of the bars."""
    over: str = ""
    """What the intervals of the bars allow for, in words: other seeds, examples or batches; and
    how many of them there were."""

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

        Raises
        ------
        KeyError, TypeError, ValueError : the values have another form.
        """
        if values["verdict"] not in VERDICTS:
            raise ValueError(f"a verdict must be one of {', '.join(VERDICTS)}")
        return cls(
            verdict=values["verdict"], words=values["words"], seeds=values["seeds"],
            numbers={name: _number(value) for name, value in values["numbers"].items()},
            bars=tuple(Bar.from_json(one) for one in values["bars"]), unit=values["unit"],
            over=values.get("over", ""),
        )  # fmt: skip


def _plain(value: float | Interval) -> Any:
    if isinstance(value, Interval):
        return [finite_or_none(x) for x in (value.mean, value.low, value.high)]
    return value if isinstance(value, int) else finite_or_none(value)


def _number(value: Any) -> float | Interval:
    if not isinstance(value, list):
        return math.nan if value is None else value
    mean, low, high = (
        unknown if x is None else x
        for x, unknown in zip(value, (math.nan, -math.inf, math.inf), strict=True)
    )
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


def not_measured(why: str) -> Finding:
    """Return that a claim was not measured, and why."""
    return Finding(NOT_MEASURED, why)


def judged(
    differences: Float[np.ndarray, " n"] | Float[np.ndarray, "n examples"], margin: float
) -> tuple[str, Interval]:
    """Return the verdict on the claim that paired differences are negative, and their interval.

    Parameters
    ----------
    differences : one per seed or batch, or per seed and example, finite; fewer than three seeds or
        batches decide nothing.
    margin : the largest difference that does not matter, see `statistics.verdict`.
    """
    found = interval_of(differences)
    return OF_VERDICT[verdict(found, found.p_value, margin, len(differences))], found


def ends(its: Interval, over: str, form: str = "+.3g") -> str:
    """Say what an interval is, and give its ends.

    Parameters
    ----------
    over : what it allows for, see `Finding.over`.

    >>> ends(Interval(-0.2, -0.3, -0.1, 0.01), "5 seeds")
    '95% over 5 seeds: -0.3 to -0.1'
    """
    return f"95% over {over}: {its.low:{form}} to {its.high:{form}}"


def level_means(parts: Iterable[str], margin: str) -> str:
    """Return a sentence that names the margin, if the verdict on some part is ``level``.

    >>> level_means(["holds", "level"], WITHIN), level_means(["holds"], WITHIN)
    (' Level means within 25%.', '')
    """
    return f" Level means {margin}." if LEVEL in parts else ""


def is_flat(its: Interval, margin: float = FLAT) -> bool:
    """Whether the interval of an exponent lies within a margin of zero."""
    return its.low > -margin and its.high < margin


def flat(its: Interval) -> str:
    """Judge that an exponent is zero: equivalence, not absence of evidence."""
    if is_flat(its):
        return HOLDS
    return FAILS if its.p_value < ERROR else UNDECIDED


def together(parts: Sequence[str]) -> str:
    """Return the verdict on a claim from those on its parts.

    A part that holds beside one that does not makes it ``mixed``; a part that is undecided leaves
    the others' common verdict undecided.

    >>> together(["holds", "holds"]), together(["holds", "fails"]), together(["level", "undecided"])
    ('holds', 'mixed', 'undecided')
    """
    measured = [part for part in parts if part != NOT_MEASURED]
    if not measured:
        return NOT_MEASURED
    decided = set(measured) - {UNDECIDED}
    if len(decided) > 1:
        return MIXED
    return UNDECIDED if UNDECIDED in measured else decided.pop()
