"""The error message for an unknown name, with the closest known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
