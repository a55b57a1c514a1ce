"""Writes docstrings as the reference reads them: an extension of griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

SHARED = re.compile(r"^    (\w+)((?:, \w+)+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""Arguments that share a text."""


class Docstrings(griffe.Extension):
    """Gives each argument a text of its own."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring:
            obj.docstring.value = SHARED.sub(_apart, obj.docstring.value)


def _apart(shared: re.Match[str]) -> str:
    first, others, text = shared.groups()
    return f"    {first}: {text}" + "".join(f"\n    {other}: see `{first}`." for other in others[2:].split(", "))
