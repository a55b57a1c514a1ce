"""LaTeX formulas as MathML, which browsers render natively."""

from __future__ import annotations

import re
from functools import cache

from latex2mathml.converter import convert
from markupsafe import Markup

INLINE = re.compile(r"\$([^$]+)\$")
"""A formula inside a sentence, between two dollar signs."""


@cache
def formula(latex: str) -> Markup:
    r"""Return a display formula.

    >>> "<msup><mi>B</mi><mn>0</mn></msup>" in formula(r"B^0")
    True
    """
    return _math(latex, "block")


def sentence(text: str) -> Markup:
    """Return a sentence as HTML: text escaped, formulas between dollar signs rendered.

    >>> sentence("2 < 3")
    Markup('2 &lt; 3')
    """
    parts = INLINE.split(text)
    return Markup("").join(_math(part, "inline") if i % 2 else part for i, part in enumerate(parts))


def plain(text: str) -> str:
    """Return a sentence without its dollar signs, for places that cannot render formulas.

    >>> plain("of $B$ and $A$")
    'of B and A'
    """
    return INLINE.sub(r"\1", text)


def _math(latex: str, display: str) -> Markup:
    return Markup(convert(latex, display=display))  # noqa: S704 (MathML escapes its text)
