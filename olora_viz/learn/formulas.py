"""Formulas in LaTeX as MathML, which browsers draw by themselves."""

from __future__ import annotations

import re
from functools import cache
from html import escape

from latex2mathml.converter import convert

INLINE = re.compile(r"\$([^$]+)\$")
"""A formula inside a sentence stands between two dollar signs."""


@cache
def formula(latex: str) -> str:
    r"""Return a formula on a line of its own.

    >>> "<msup><mi>B</mi><mn>0</mn></msup>" in formula(r"B^0")
    True
    """
    return convert(latex, display="block")


def sentence(text: str) -> str:
    """Return a sentence as HTML: its words escaped, what stands between dollar signs a formula.

    >>> sentence("2 < 3")
    '2 &lt; 3'
    """
    parts = INLINE.split(text)
    made = [convert(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return "".join(made)


def plain(text: str) -> str:
    """Return a sentence without its dollar signs, for where no formula can be drawn.

    >>> plain("of $B$ and $A$")
    'of B and A'
    """
    return INLINE.sub(r"\1", text)
