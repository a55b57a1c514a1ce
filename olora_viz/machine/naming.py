"""Error messages: for an unknown name, and for a value of another type than was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import UnionType


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


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the error message for an unknown `name`, with the closest known names.

    >>> unknown("initialization", "olra", ["lora", "olora", "pissa"])
    "unknown initialization 'olra'; did you mean 'olora' or 'lora'?"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown {kind} {name!r}; choose from {', '.join(names)}"
