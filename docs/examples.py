"""Shows the doctests of docstrings as code, also outside a section ``Examples``: an extension of griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).+)*", re.MULTILINE)
"""A doctest at the margin of a docstring, to the next empty line."""


class Examples(griffe.Extension):
    """Fences doctests: to Markdown, ``>>>`` quotes a quotation of a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", obj.docstring.value)
