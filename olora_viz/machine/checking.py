"""Checks of values, often of what a page sent: numbers, words, a sentence for each wrong one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")

MOST_WHOLE = 2**31 - 1
"""The largest whole number that a setting may be."""

MOST_PROBLEMS = 4
"""Maximum number of problems in one message; the others are counted."""


class Problems:
    """What is wrong with a set-up, one sentence for each value."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, check: Callable[..., Value], *values: Any, instead: Value) -> Value:
        """Return the checked value; keep the sentence of a wrong one, and return `instead`."""
        try:
            return check(*values)
        except ValueError as error:
            self.found.append(str(error))
            return instead

    def report(self) -> None:
        """Raise all that was found, if anything.

        Raises
        ------
        ValueError : the sentences, with semicolons between them.
        """
        if self.found:
            told, more = self.found[:MOST_PROBLEMS], len(self.found) - MOST_PROBLEMS
            raise ValueError("; ".join([*told, *([f"and {more} more"] if more > 0 else [])]))


def number(what: str, value: Any, zero: bool = False) -> float:
    """Return a positive number, or 0 if that is allowed.

    Raises
    ------
    ValueError : it is not one.
    """
    read = _float(value)
    if zero and not 0 <= read < math.inf:
        raise ValueError(f"{what} must be a number of at least 0, {_not(value)}")
    if not (zero or 0 < read < math.inf):
        raise ValueError(f"{what} must be a positive number, {_not(value)}")
    return read


def whole(what: str, value: Any, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`.

    Raises
    ------
    ValueError : it is not one.
    """
    read = _float(value)
    if not read.is_integer() or not least <= read <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, {_not(value)}")
    return int(read)


def check_whole(what: str, value: Any, least: int) -> None:
    """Check that a value of Python is a whole number, and no text of one.

    Raises
    ------
    ValueError : it is none, below `least` or above `MOST_WHOLE`.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= MOST_WHOLE:
        raise ValueError(
            f"{what} must be a whole number from {least} to {MOST_WHOLE}, not {value!r}"
        )


def word(value: Any) -> str:
    """Return a value as text that is short enough for a message."""
    return (value if isinstance(value, str) else _shown(value))[:80]


def is_empty(value: Any) -> bool:
    """Whether a field was left empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def _not(value: Any) -> str:
    return "but its field is empty" if is_empty(value) else f"not {_shown(value)}"


def _float(value: Any) -> float:
    """Read a number: NaN if it is not one, infinity if it is too large."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _shown(value: Any) -> str:
    try:
        return repr(value)[:40]
    except ValueError:  # Python writes no number of more than a few thousand digits
        return "a number too long to write"
