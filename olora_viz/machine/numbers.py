"""Numbers for charts, files and people: smoothed, rounded, and without NaN."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Average exponentially down the steps, s ← w s + (1 − w) v, lane by lane.

    Parameters
    ----------
    values : (N, K); a lane that holds NaN holds NaN from there on.
    weight : w, the share of the past, in [0, 1).
    """
    out = np.array(values, dtype=float)
    for n in range(1, len(out)):
        out[n] = weight * out[n - 1] + (1 - weight) * out[n]
    return out


def plain(values: np.ndarray, digits: int = 4) -> list[Any]:
    """Return an array as lists of numbers of a few significant digits, None for what is not finite.

    >>> plain(np.array([[1234.5678, math.nan]]))
    [[1235.0, None]]
    """
    safe = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    scale = 10.0 ** (digits - 1 - np.floor(np.log10(safe)))
    return _nulls((np.round(values * scale) / scale).tolist())


def _nulls(values: list[Any]) -> list[Any]:
    if values and isinstance(values[0], list):
        return [_nulls(row) for row in values]
    return [x if math.isfinite(x) else None for x in values]


def finite_or_none(x: float) -> float | None:
    """Return a number for JSON, None where it is not finite.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(x) if math.isfinite(x) else None


def compact(value: float) -> str:
    """Write a rate the way that it is said: ``3e-3``, ``2.5e-4``, ``0.5``.

    >>> [compact(x) for x in (0.003, 0.00025, 0.5, 16.0)]
    ['3e-3', '2.5e-4', '0.5', '16']
    """
    if value == 0 or 0.05 <= abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
