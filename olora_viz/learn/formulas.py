"""LaTeX formulas as MathML, which browsers render natively."""

from __future__ import annotations

import re
from functools import cache
from html import escape

from latex2mathml.converter import convert

INLINE = re.compile(r"\$([^$]+)\$")
"""A formula inside a sentence, between two dollar signs."""


@cache
def formula(latex: str) -> str:
    r"""Return a display formula.

    >>> "<msup><mi>B</mi><mn>0</mn></msup>" in formula(r"B^0")
    True
    """
    return convert(latex, display="block")


def sentence(text: str) -> str:
    """Return a sentence as HTML: text escaped, formulas between dollar signs rendered.

    >>> sentence("2 < 3")
    '2 &lt; 3'
    """
    parts = INLINE.split(text)
    made = [convert(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return "".join(made)


def plain(text: str) -> str:
    """Return a sentence without its dollar signs, for places that cannot render formulas.

    >>> plain("of $B$ and $A$")
    'of B and A'
    """
    return INLINE.sub(r"\1", text)
