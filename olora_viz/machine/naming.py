"""Names in sentences: lists of them, unknown ones, and values of another type than expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import accumulate
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


WIDTH = 400
"""Maximum characters of a list of names: five lines of a terminal."""


def listed(names: Iterable[str], most: int | None = None) -> str:
    """Return names with commas between them, and the number of those that are left out.

    Parameters
    ----------
    names : in order.
    most : maximum number of names; None for as many as `WIDTH` characters hold.

    >>> listed(["q_proj", "k_proj"]), listed("abcde", 3)
    ('q_proj, k_proj', 'a, b, c and 2 more')
    >>> listed(f"model.layers.{i}.self_attn.q_proj" for i in range(212))[-45:]
    'model.layers.11.self_attn.q_proj and 200 more'
    """
    names = list(names)
    if most is None:
        ends = accumulate(len(name) + len(", ") for name in names)
        most = max(1, sum(end <= WIDTH for end in ends))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the error message for an unknown `name`, with the closest known names.

    >>> unknown("initialization", "olra", ["lora", "olora", "pissa"])
    "unknown initialization 'olra'; did you mean 'olora' or 'lora'?"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown {kind} {name!r}; choose from {listed(names)}"
