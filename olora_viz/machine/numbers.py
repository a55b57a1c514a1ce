"""Numbers for charts, files and people: smoothed, rounded, and without NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average over the steps, s ← w s + (1 − w) v, lane by lane.

    Parameters
    ----------
    values : (N, K); after a NaN, the rest of the lane is NaN.
    weight : w, the share of the past, in [0, 1).
    """
    out = np.array(values, dtype=float)
    for n in range(1, len(out)):
        out[n] = weight * out[n - 1] + (1 - weight) * out[n]
    return out


def plain(values: np.ndarray, digits: int = 4) -> list[Any]:
    """Return an array as lists of rounded numbers, with None for non-finite values.

    >>> plain(np.array([[1234.5678, math.nan]]))
    [[1235.0, None]]
    """
    safe = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(safe)))
    return nulls((np.round(values * scale) / scale).tolist())


def nulls(values: list[Any]) -> list[Any]:
    """Return lists of numbers, nested or not, with None for non-finite values.

    >>> nulls([[0.5, math.nan]])
    [[0.5, None]]
    """
    if values and isinstance(values[0], list):
        return [nulls(row) for row in values]
    return [x if math.isfinite(x) else None for x in values]


def finite_or_none(x: float) -> float | None:
    """Return a number for JSON, None where it is not finite.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(x) if math.isfinite(x) else None


def compact(value: float) -> str:
    """Format a learning rate the way people write it: ``3e-3``, ``2.5e-4``, ``0.5``.

    >>> [compact(x) for x in (0.003, 0.00025, 0.5, 16.0)]
    ['3e-3', '2.5e-4', '0.5', '16']
    """
    if value == 0 or 0.05 <= abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def exact(value: float) -> str:
    """Format a number in the shortest form that reads back as the same number.

    >>> exact(0.003), exact(0.0012345)
    ('3e-3', '0.0012345')
    """
    short = compact(value)
    return short if float(short) == value else repr(value)


def number(value: float | None, form: str = ".3g") -> str:
    """Format a number; a dash if it is unknown or not finite.

    >>> number(0.12345), number(None), number(math.inf)
    ('0.123', '–', '–')
    """
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def signed(value: float | None, form: str = ".3g") -> str:
    """Format a number whose minus sign is one, and no hyphen.

    >>> signed(-0.1234), signed(0.05, "+.2g"), signed(-3.0, ".1f")
    ('−0.123', '+0.05', '−3.0')
    """
    return number(value, form).replace("-", "−")


def nats(loss: float | None) -> str:
    """Format a loss.

    >>> nats(0.4907), nats(math.nan)
    ('0.49', '–')
    """
    return number(loss, ".2f")


def percent(share: float | None, decimals: int = 0) -> str:
    """Format a share as a percentage.

    >>> percent(0.906), percent(0.0123, 1), percent(math.nan)
    ('91%', '1.2%', '–')
    """
    return number(share, f".{decimals}%")


def factor(ratio: float) -> str:
    """Format a ratio with two digits, or as a whole number from 100 on.

    >>> factor(2.345), factor(1234.5)
    ('2.3', '1234')
    """
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def counted(count: int, noun: str) -> str:
    """Format a number of things.

    >>> counted(1, "held-out example"), counted(1200, "seed")
    ('1 held-out example', '1,200 seeds')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def rounded(value: float, digits: int) -> float:
    """Round to a number of significant digits.

    >>> rounded(0.0012345, 2), rounded(math.inf, 2)
    (0.0012, inf)
    """
    return float(f"{value:.{digits}g}")


def seconds(value: float) -> str:
    """Format a measured time.

    >>> seconds(3.14159)
    '3.1 s'
    """
    return f"{value:.1f} s"


def about(value: float) -> str:
    """Format an approximate time: in seconds, or in minutes from 90 s on.

    >>> about(45.3), about(200.0)
    ('45 s', '3 min')
    """
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min"


def duration(value: float) -> str:
    """Format a time limit in seconds as words.

    >>> duration(1800), duration(60), duration(45)
    ('30 minutes', '1 minute', '45 seconds')
    """
    whole = value >= 60 and value % 60 == 0
    count, unit = (value / 60, "minute") if whole else (value, "second")
    return f"{count:g} {unit}{'s' * (count != 1)}"


def clock(value: float) -> str:
    """Format seconds as a clock.

    >>> clock(221.4), clock(4000)
    ('3:41', '1:06:40')
    """
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
