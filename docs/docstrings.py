"""Writes docstrings as the reference reads them: an extension of griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)
"""A doctest at the margin of a docstring, to the next empty line."""

SHARED = re.compile(r"^    (\w+)((?:, \w+)+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""Arguments that share a text."""


class Docstrings(griffe.Extension):
    """Fences doctests, for to Markdown ``>>>`` quotes a quotation of a quotation, and gives each argument a text."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring:
            text = SHARED.sub(_apart, obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", text)


def _apart(shared: re.Match[str]) -> str:
    first, others, text = shared.groups()
    return f"    {first}: {text}" + "".join(f"\n    {other}: see `{first}`." for other in others[2:].split(", "))
