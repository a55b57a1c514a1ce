"""One sentence for a name that nobody knows, with the nearest names that exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that `name` is no `kind`, and which names come nearest.

    >>> unknown("initialization", "olra", ["lora", "olora", "pissa"])
    "unknown initialization 'olra'; did you mean 'olora' or 'lora'?"
    """
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"unknown {kind} {name!r}; there are {', '.join(names)}"
