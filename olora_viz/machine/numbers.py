"""Numbers for charts: smoothing, rounding, and the ranges and ticks of logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def plain(values: np.ndarray) -> list[float | None]:
    """Round to four digits that count, and write None for what is not finite."""
    safe = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    scale = 10.0 ** (3 - np.floor(np.log10(safe)))
    rounded = np.round(values * scale) / scale
    return [x if math.isfinite(x) else None for x in rounded.tolist()]


def log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the range of a log axis, in powers of ten, with some air around the numbers."""
    kept = [v[np.isfinite(v) & (v > 0)] for v in values]
    flat = np.concatenate(kept) if kept else np.empty(0)
    if not flat.size:
        return -1.0, 1.0
    low, high = math.log10(flat.min()), math.log10(flat.max())
    air = max(0.04 * (high - low), 0.03)
    return round(low - air, 4), round(high + air, 4)


def robust_log_range(values: Sequence[np.ndarray], beyond: float = 30.0) -> tuple[float, float]:
    """Return the range of a log axis that a few wild numbers cannot stretch.

    Parameters
    ----------
    values : of any shapes.
    beyond : the range ends at this multiple of the middle four fifths of the numbers, on either
        side, or earlier, where the numbers do.
    """
    kept = [v[np.isfinite(v) & (v > 0)] for v in values]
    flat = np.concatenate(kept) if kept else np.empty(0)
    if not flat.size:
        return log_range(values)
    low, high = np.quantile(flat, (0.1, 0.9), method="nearest")
    return log_range([np.clip(flat, low / beyond, high * beyond)])


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """Return Plotly's axis over 10^low … 10^high."""
    ticks = log_ticks(low, high)
    return {
        "title": {"text": title, "standoff": 6, "font": {"size": 11.5}},
        "type": "log",
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Choose round numbers within 10^low … 10^high, at equal distances where that can be."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    # Powers of two read well from 1/8 on; further down they are long.
    twos = range(math.floor(low / math.log10(2)), math.ceil(high / math.log10(2)) + 1)
    ladders = (
        [m * 10.0**d for d in decades for m in (1, 1.5, 2, 3, 4, 5, 6, 8)],
        *([[2.0**e for e in twos]] if low >= -1 else ()),
        [m * 10.0**d for d in decades for m in (1, 3)],
        *([10.0**d for d in decades if d % apart == 0] for apart in (1, 2, 3, 5, 10, 50)),
    )
    inside: list[float] = []
    for ladder in ladders:
        inside = [float(f"{t:.6g}") for t in ladder if low <= math.log10(t) <= high]
        if len(inside) <= most:
            break
    return inside
