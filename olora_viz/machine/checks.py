"""Checks of what was given, each with a sentence that names the value and the rule."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import wraps
from types import UnionType
from typing import Any, TypeVar

from olora_viz.machine.wording import listed


def expect(value: object, kinds: type | UnionType | tuple[type, ...], what: str) -> None:
    """Raise a ValueError in one sentence unless a value is of one of some types.

    >>> expect("glassllm", int, "a rank, such as 8")
    Traceback (most recent call last):
    ValueError: expected a rank, such as 8, not 'glassllm'
    """
    if not isinstance(value, kinds):
        raise ValueError(f"expected {what}, not {described(value)}")


def described(value: object) -> str:
    """Return a text or a number as it is written, and of anything else the type.

    >>> described("glassllm"), described({}), described([1, 2])
    ("'glassllm'", 'a dict', 'a list')
    """
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


def unknown(kind: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """Return the error message for an unknown `name`, with the closest known names.

    Args:
        elsewhere: known names by what others call them.

    >>> unknown("initialization", "olra", ["lora", "olora", "pissa"])
    "unknown initialization 'olra'; did you mean 'olora' or 'lora'?"
    """
    names = list(known)
    if elsewhere and name in elsewhere:
        return f"unknown {kind} {name!r}; did you mean {elsewhere[name]!r}?"
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown {kind} {name!r}; choose from {listed(names)}"


class UnknownNameError(TypeError, ValueError):
    """A call names an argument that there is not; Python's own error for it, and one of the user's values."""


C = TypeVar("C", bound=type)


def suggesting(kind: str, elsewhere: Mapping[str, str] | None = None) -> Callable[[C], C]:
    """Let a dataclass suggest the field that is meant by an unknown one.

    Args:
        kind: what a field is.
        elsewhere: fields by their names in other libraries, where those are not similar.

    >>> from dataclasses import dataclass
    >>> @suggesting("setting")
    ... @dataclass
    ... class Race:
    ...     steps: int = 1
    >>> Race(step=3)
    Traceback (most recent call last):
    olora_viz.machine.checks.UnknownNameError: unknown setting 'step'; did you mean 'steps'?
    """

    def decorate(cls: C) -> C:
        known, begin = [each.name for each in fields(cls)], cls.__init__

        @wraps(begin)
        def checked(self: Any, *given: Any, **named: Any) -> None:
            for name in named:
                if name not in known:
                    raise UnknownNameError(unknown(kind, name, known, elsewhere))
            begin(self, *given, **named)

        cls.__init__ = checked
        return cls

    return decorate


Value = TypeVar("Value")

MOST_WHOLE = 2**31 - 1
"""The largest whole number that a setting may be."""

MOST_PROBLEMS = 4
"""Maximum number of problems in one message; the others are counted."""


class Problems:
    """What is wrong with a set-up, one sentence for each value."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def check(self, check: Callable[..., Value], *values: Any, instead: Value) -> Value:
        """Return the checked value; keep the sentence of a wrong one, and return `instead`."""
        try:
            return check(*values)
        except ValueError as error:
            self._sentences.append(str(error))
            return instead

    def __str__(self) -> str:
        """Return all problems, with semicolons between them; empty if there are none."""
        more = len(self._sentences) - MOST_PROBLEMS
        return "; ".join([*self._sentences[:MOST_PROBLEMS], *[f"and {more} more"] * (more > 0)])

    def report(self) -> None:
        """Raise a ValueError with all problems, if there are any."""
        if self._sentences:
            raise ValueError(str(self))


def positive_number(what: str, value: Any, zero: bool = False) -> float:
    """Return a positive number, or 0 if that is allowed; ValueError if it is not one."""
    read = _float(value)
    if zero and not 0 <= read < math.inf:
        raise ValueError(f"{what} must be a number of at least 0, {_not(value)}")
    if not (zero or 0 < read < math.inf):
        raise ValueError(f"{what} must be a positive number, {_not(value)}")
    return read


def whole(what: str, value: Any, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`; ValueError if it is not one."""
    read = _float(value)
    if not read.is_integer() or not least <= read <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, {_not(value)}")
    return int(read)


def check_whole(what: str, value: Any, least: int) -> None:
    """Raise a ValueError unless a value is a whole number, no text of one, from `least` to `MOST_WHOLE`."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value <= MOST_WHOLE:
        raise ValueError(f"{what} must be a whole number from {least} to {MOST_WHOLE}, not {value!r}")


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


def read_flag(text: str) -> bool:
    """Read true or false; KeyError if it is neither.

    >>> read_flag("True"), read_flag("0")
    (True, False)
    """
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
