"""Alpha as it is written: a number, or a multiple of the rank or of its root."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

Alpha = float | str | None
"""A number, a text such as ``2r``, or None for the rank."""

ALPHA_FORM = "a positive number, or a multiple of r or sqrt(r) such as 2r, r/4 or sqrt(r)*4"
"""What an alpha may be, in words."""

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_OF_RANK = re.compile(rf"(?:({_NUMBER})\*?)?(r|sqrt\(r\))(?:\*({_NUMBER}))?(?:/({_NUMBER}))?")


def alpha_at(alpha: Alpha, r: int) -> float:
    """Return alpha at a rank as a number.

    Raises:
        ValueError: a text of another form, or a number that is not positive and finite.

    >>> alpha_at(None, 16), alpha_at(8, 16), alpha_at("2r", 16), alpha_at("sqrt(r)*3/2", 16)
    (16, 8, 32.0, 6.0)
    """
    if alpha is None:
        return r
    number = alpha if not isinstance(alpha, str) else math.prod(_of_rank(alpha, r))
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not (is_number and 0 < number < math.inf):
        at = f" at rank {r}" if isinstance(alpha, str) else ""
        raise ValueError(f"alpha must be a positive number{at}, not {alpha!r}")
    return number


def read_alpha(text: str) -> float | str:
    """Read an alpha of a command line: a number, or the text itself.

    Raises:
        ValueError: neither a number nor a multiple of r or sqrt(r).

    >>> read_alpha("16"), read_alpha("r/4")
    (16.0, 'r/4')
    """
    with suppress(ValueError):
        return float(text)
    _of_rank(text, 1)
    return text


def alpha_word(alpha: Alpha) -> Any:
    """Return an alpha for a label, which names a folder: its factor and r, without signs.

    >>> alpha_word("r/4"), alpha_word("sqrt(r)*4"), alpha_word(16.0)
    ('0.25r', '4sqrt-r', 16.0)
    """
    if not isinstance(alpha, str):
        return alpha
    factor, _ = _of_rank(alpha, 1)
    return f"{'' if factor == 1 else f'{factor:g}'}{'sqrt-r' if 'sqrt' in alpha else 'r'}"


def split_alphas(text: str) -> list[str]:
    """Split a list of alphas at each ``/`` that is not a division: a number after a multiple of r divides it.

    >>> split_alphas("8/16/2r"), split_alphas("r/4"), split_alphas("r/4/8"), split_alphas("r/2r")
    (['8', '16', '2r'], ['r/4'], ['r/4', '8'], ['r', '2r'])
    """
    alphas: list[str] = []
    for part in text.split("/"):
        if alphas and re.fullmatch(_NUMBER, part.strip()) and "r" in alphas[-1] and "/" not in alphas[-1]:
            alphas[-1] += f"/{part}"
        else:
            alphas.append(part)
    return alphas


def _of_rank(text: str, r: int) -> tuple[float, float]:
    """Return the factor of a text such as ``2r/3``, and what it multiplies: the rank or its root."""
    match = _OF_RANK.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"alpha must be {ALPHA_FORM}, not {text[:40]!r}")
    before, of, after, by = match.groups()
    divisor = float(by or 1)
    factor = float(before or 1) * float(after or 1) / divisor if divisor else math.inf
    return factor, math.sqrt(r) if of != "r" else r
