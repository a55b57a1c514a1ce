"""The slope of a line through few points, with an exact interval."""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Float

from olora_viz.studies.statistics import ERROR, RESAMPLES, Interval

MOST = 7
"""Up to so many points all their orders are tried; of more, `RESAMPLES` are drawn."""


def slope_by_orders(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Interval:
    """Return the least-squares slope of y on x, with its exact interval over the orders of x.

    If y − bx does not depend on x, all n! orders of x are equally likely (Pitman 1937). An order π
    correlates with y − bx as much as the observed one at the slope

        b_π = Σ (x − x_π) y / Σ (x − x_π) x.

    The interval has all b that neither one-sided test rejects at 2.5%, so its ends are order
    statistics of the b_π. They are infinite for fewer than five points, which have too few orders.

    >>> slope_by_orders(np.arange(3.0), np.array([0.0, -1.0, -2.0]))[:3]
    (-1.0, -inf, inf)
    """
    if len(x) < 2 or np.ptp(x) == 0:
        return Interval(math.nan, -math.inf, math.inf, 1.0)
    x, y = x - x.mean(), y - y.mean()
    orders = x[_orders(len(x))]
    across, along = (x - orders) @ y, (x - orders) @ x
    moved = along > 1e-12 * (x @ x)  # the others are the same order of the values
    same = int((~moved).sum())
    across[np.abs(across) < 1e-12 * np.linalg.norm(x) * np.linalg.norm(y)] = 0.0
    critical = np.sort(across[moved] / along[moved])
    at = math.floor(ERROR / 2 * len(orders) - same)
    low, high = (critical[at], critical[-1 - at]) if at >= 0 else (-math.inf, math.inf)
    tails = [(same + int(one.sum())) / len(orders) for one in (critical <= 0, critical >= 0)]
    return Interval(float(x @ y / (x @ x)), float(low), float(high), min(1.0, 2 * min(tails)))


def _orders(n: int) -> np.ndarray:
    """Return orders of n places, the identity among them."""
    if n <= MOST:
        return np.array(list(itertools.permutations(range(n))))
    random = np.random.default_rng(0)
    return np.stack([np.arange(n), *(random.permutation(n) for _ in range(RESAMPLES - 1))])
