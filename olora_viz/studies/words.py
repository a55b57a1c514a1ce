"""Sentences, and lists and factors in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from olora_viz.machine.numbers import compact, counted, number, percent, rounded
from olora_viz.studies.statistics import POWER

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

    Parameters
    ----------
    difference : see `smallest_difference`; in standard deviations of the paired differences.

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

    Parameters
    ----------
    differences : by seed and example, or by seed alone.
    part : of the examples.

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
