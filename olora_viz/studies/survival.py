"""Which learning rates cannot be told from the chosen one, and whether a difference survives them.

A rate is chosen by its mean held-out loss, over a few seeds and examples. Others may be as good for
all that these results say: those within one standard error of it, over seeds and examples. Who is
ahead at the chosen rates alone may owe that to the choice; a difference *survives* if its sign is
the same at every pair of such rates. (The one-standard-error rule is that of Breiman, Friedman,
Olshen and Stone 1984, "Classification and Regression Trees", section 3.4.3.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Results = Float[np.ndarray, "_ _"]
"""Losses (seeds, examples) of one method at one rate, nats; of the first seeds."""


def chosen_rate(held_out: Sequence[Results]) -> int | None:
    """Return the place of the rate with the lowest mean loss; None if each has a diverged seed.

    A rate at which a seed diverged (NaN) is not chosen: the mean of the others is biased.

    Parameters
    ----------
    held_out : losses on the held-out examples, one array per rate.
    """
    means = [float(one.mean()) for one in held_out]
    finite = [i for i, mean in enumerate(means) if math.isfinite(mean)]
    return min(finite, key=lambda i: means[i], default=None)


def rates_like(held_out: Sequence[Results], chosen: int) -> list[int]:
    """Return the rates that the held-out results cannot tell from the chosen one, itself included.

    Their paired difference to it is at most one standard error, √(s²/n + t²/k), where s² is its
    variance over the n examples, and t² that over the k seeds that both have. Few seeds tell little
    of t², and a rate at which one seed fails would seem as good as any: so t² is the median over
    the rates.

    Parameters
    ----------
    held_out : see `chosen_rate`; rates may have different numbers of seeds.
    chosen : place of the chosen rate.
    """
    gaps = [_paired(one, held_out[chosen]) for one in held_out]
    over_seeds = [gap.mean(1).var(ddof=1) for gap in gaps if len(gap) > 1 and gap.any()]
    typical = float(np.median([v for v in over_seeds if math.isfinite(v)] or [0.0]))
    like = []
    for i, gap in enumerate(gaps):
        seeds, examples = gap.shape
        over_examples = float(gap.mean(0).var(ddof=1)) if examples > 1 else 0.0
        error = math.sqrt(over_examples / examples + typical / seeds)
        if i == chosen or gap.mean() <= error:
            like.append(i)
    return like


def range_over_rates(first: Sequence[Results], second: Sequence[Results]) -> tuple[float, float]:
    """Return the lowest and the highest mean difference over all pairs of rates.

    Parameters
    ----------
    first, second : losses to compare on, of both methods, at the rates of `rates_like`.
    """
    gaps = [float(_paired(a, b).mean()) for a in first for b in second]
    return min(gaps), max(gaps)


def survives(difference: float, over_rates: tuple[float, float]) -> bool:
    """Return whether a difference has the same sign at every pair of rates, see `rates_like`."""
    low, high = over_rates
    return low > 0 if difference > 0 else high < 0


def _paired(first: Results, second: Results) -> Results:
    """Return the differences of those seeds that both have."""
    seeds = min(len(first), len(second))
    return first[:seeds] - second[:seeds]
