"""How many seeds a comparison needs: the power of a t-test, and the smallest difference that it finds."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from jaxtyping import Float
from scipy import special

from olora_viz.studies.seed_variance import SeedVariance
from olora_viz.studies.statistics import ERROR, LEAST_SEEDS

POWER = 0.8
"""The power at which numbers of seeds and smallest differences are stated."""

MOST_SEEDS = 10_000
"""If more seeds than this are needed, a comparison counts as one that seeds cannot settle."""

MIDPOINTS = (np.arange(2000) + 0.5) / 2000
"""Midpoints of equal parts of a probability."""

RUN_OF_PARTS = 50
"""How many of them lie between two that are looked at first."""


def power(shift: float, freedom: float, tests: int = 1) -> float:
    """Return the power of a t-test: its chance to detect a true mean.

    Args:
        shift: the mean in standard errors.
        freedom: degrees of it; one less than the seeds.
        tests: number of comparisons that share the error rate (Bonferroni's bound on Holm's method).
    """
    return _mean_detected(shift, freedom, tests, MIDPOINTS)


def has_power(shift: float, freedom: float, tests: int = 1) -> bool:
    """Return whether the power is at least `POWER`, see `power`.

    The chance to detect a mean grows with the parts, so that the first and the last parts of runs of them enclose the
    power. Mostly these few decide, in a twentieth of the time.
    """
    lowest, highest = (
        _mean_detected(shift, freedom, tests, MIDPOINTS[at::RUN_OF_PARTS]) for at in (0, RUN_OF_PARTS - 1)
    )
    return lowest >= POWER or (highest >= POWER and power(shift, freedom, tests) >= POWER)


def _mean_detected(shift: float, freedom: float, tests: int, parts: np.ndarray) -> float:
    """Return the mean chance of a t-test to detect a true mean, over parts of the probability of its spread."""
    critical = special.stdtrit(freedom, 1 - ERROR / (2 * tests))
    # Over the distribution of the estimated spread, in equal parts; SciPy's noncentral t returns
    # NaN for few seeds and large shifts.
    estimated = np.sqrt(special.chdtri(freedom, parts) / freedom)
    detected = special.ndtr(shift - critical * estimated) + special.ndtr(-shift - critical * estimated)
    return float(detected.mean())


def smallest_difference(seeds: int, methods: int = 2) -> float:
    """Return the smallest true difference that is detected with a power of `POWER`, in standard deviations.

    Args:
        seeds: number of paired differences; with a single one the result is infinite.
        methods: how many are compared, with one of them: they share the error rate, see `power`, and tell together
            how far the seeds scatter.
    """
    over_seeds = SeedVariance(1.0, seeds, (methods - 2) * (seeds - 1))

    def is_found(difference: float) -> bool:
        return has_power(difference * math.sqrt(seeds), over_seeds.freedom(), methods - 1)

    if seeds < 2:
        return math.inf
    low, high = 0.0, 1.0
    while not is_found(high):
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def told_share(examples: int, seeds: int, methods: int = 2) -> float:
    """Return the difference in shares of right answers that a comparison tells from chance, at most.

    The answers scatter the most where two methods answer independently and both are right in 50%: of one answer each
    the difference has the variance 2 · 50% · 50% = 1/2. A part w of it is due to the seeds, the rest to the examples,
    which every seed repeats. Over k seeds and n examples the variance of the mean is then w/2nk over the seeds and
    (1 - w + w/k)/2n over the examples. Of `paired_interval`, which adds them up, this is half the width, by the worst
    w, where all methods share the error rate, see `power`.

    Args:
        examples: of the test, at least 2.
        seeds, methods: see `smallest_difference`; with a single seed the result is infinite.

    >>> [round(told_share(64, seeds), 2) for seeds in (1, 3, 8)]
    [inf, 0.22, 0.18]
    """
    if seeds < 2:
        return math.inf
    due = np.linspace(0, 1, 21)
    over_seeds, over_examples = due / (2 * examples * seeds), (1 - due + due / seeds) / (2 * examples)
    of_seeds = SeedVariance(1.0, seeds, (methods - 2) * (seeds - 1)).freedom()
    both = over_seeds + over_examples
    freedom = both**2 / (over_seeds**2 / of_seeds + over_examples**2 / (examples - 1))
    halves = [
        special.stdtrit(degrees, 1 - ERROR / (2 * (methods - 1))) * np.sqrt(variance)
        for variance, degrees in ((over_seeds, of_seeds), (over_examples, examples - 1), (both, freedom))
    ]
    return float(np.max(halves))


def seeds_to_settle(
    differences: Float[np.ndarray, "seeds examples"], over_seeds: SeedVariance, margin: float, tests: int = 1
) -> int | None:
    """Return how many seeds would settle a comparison, if the differences so far are typical.

    It is settled if Welch's test, see `paired_interval`, has a power of `POWER`, or if the expected interval lies
    inside the margin. None if `MOST_SEEDS` would not be enough: what the examples leave open, no number of seeds
    settles. It takes more than those that have left it open.

    Args:
        differences: paired, of at least two seeds.
        over_seeds: how far their means over the examples scatter.
        margin, tests: see `verdict` and `power`.
    """
    seeds, n = differences.shape
    least = max(LEAST_SEEDS, seeds + 1)
    mean, of_seeds = abs(float(differences.mean())), over_seeds.variance
    of_examples = float(differences.mean(0).var(ddof=1)) / n if n > 1 else 0.0
    if not of_seeds + of_examples:
        return least

    def settled(seeds: int) -> bool:
        each = (of_seeds / seeds, over_seeds.freedom(seeds)), (of_examples, n - 1)
        variance = sum(part for part, _ in each)
        freedom = variance**2 / sum(part**2 / many for part, many in each if part)
        error = math.sqrt(variance)
        half = error * special.stdtrit(freedom, 1 - ERROR / 2)
        return bool(mean + half < margin) or has_power(mean / error, freedom, tests)

    high = least
    while not settled(high):
        if high >= MOST_SEEDS:
            return None
        high = min(2 * high, MOST_SEEDS)
    low = max(least, high // 2)
    return low + bisect_left(range(low, high), True, key=settled)
