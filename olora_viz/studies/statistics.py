"""Statistics of studies: intervals, tests, and slopes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

ERROR = 0.05
"""Significance level: the accepted probability of declaring a difference between equals."""

LEAST_SEEDS = 3
"""A verdict rests on at least this many paired differences."""

LEAST_EXAMPLES = 20
"""A verdict rests on at least this many examples: of fewer, one may decide it."""

POWER = 0.8
"""The power at which numbers of seeds and smallest differences are stated."""

MOST_SEEDS = 10_000
"""If more seeds than this are needed, a comparison counts as one that seeds cannot settle."""

LEVEL_WITHIN = 1.25
"""Positive numbers, such as best rates, are level if their ratio lies within this factor."""

PARTS = (np.arange(2000) + 0.5) / 2000
"""Midpoints of equal parts of a probability."""

RESAMPLES = 10_000
"""Number of samples of a bootstrap."""

BETTER, WORSE, LEVEL, UNDECIDED = "better", "worse", "level", "undecided"
"""The verdicts on a method against the reference."""


class Interval(NamedTuple):
    """A mean, its 95% interval, and the p-value of a mean of zero."""

    mean: float
    low: float
    high: float
    p_value: float


UNKNOWN = Interval(math.nan, -math.inf, math.inf, 1.0)
"""The interval of a number of which nothing is known."""


def t_interval(values: Float[np.ndarray, " n"]) -> Interval:
    """Return Student's t interval of a mean (Student 1908, Biometrika 6).

    A single value has an infinite interval; equal values have one of width zero.

    >>> [round(x, 3) for x in t_interval(np.array([-0.1, -0.2, -0.3]))]
    [-0.2, -0.448, 0.048, 0.074]
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, 1.0)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    if error <= 1e-15 * abs(mean):
        return Interval(mean, mean, mean, 0.0 if mean else 1.0)
    return _interval_around(mean, error, n - 1)


def paired_interval(
    differences: Float[np.ndarray, "seeds examples"], by_example: Float[np.ndarray, " n"] | None = None
) -> Interval:
    """Return the interval of a mean paired difference, for other seeds and for other examples.

    It is the union of up to three, with the largest p-value: Student's t over the examples and over the seeds, and
    Welch's for both, whose variances add up (Welch 1947, Biometrika 34). The first alone takes the seeds for the only
    ones, the second the examples. With one seed it covers other examples alone.

    Args:
        differences: all finite.
        by_example: values over the examples in place of the means over the seeds.

    >>> gap = np.array([[-0.1, -0.2, -0.3, -0.2], [-0.2, -0.3, -0.1, -0.2], [-0.2, -0.2, -0.3, 0]])
    >>> [round(x, 3) for x in paired_interval(gap)]
    [-0.192, -0.271, -0.112, 0.005]
    """
    by_example = differences.mean(0) if by_example is None else by_example
    by_seed = [differences.mean(1)] * (len(differences) > 1)
    intervals = [t_interval(values) for values in (by_example, *by_seed)]
    intervals += [_interval_of_both(by_example, values) for values in by_seed]
    mean = float(differences.mean())
    _, lows, highs, p_values = zip(*intervals, strict=True)
    return Interval(mean, min(mean, *lows), max(mean, *highs), max(p_values))


def _interval_of_both(by_example: np.ndarray, by_seed: np.ndarray) -> Interval:
    """Return Welch's interval for other examples and other seeds at once."""
    mean, both = float(by_example.mean()), (by_example, by_seed)
    if len(by_example) < 2:
        return Interval(mean, -math.inf, math.inf, 1.0)
    squares = [float(values.var(ddof=1)) / len(values) for values in both]
    error = math.sqrt(sum(squares))
    if not error:
        return t_interval(by_seed)
    freedom = error**4 / sum(square**2 / (len(values) - 1) for square, values in zip(squares, both, strict=True))
    return _interval_around(mean, error, freedom)


def _interval_around(mean: float, error: float, freedom: float) -> Interval:
    """Return the t interval of a mean with a standard error."""
    half = error * float(special.stdtrit(freedom, 1 - ERROR / 2))
    return Interval(mean, mean - half, mean + half, 2 * float(special.stdtr(freedom, -abs(mean) / error)))


class MedianInterval(NamedTuple):
    """A median, an interval of it, and the chance of at least this interval to contain it."""

    median: float
    low: float
    high: float
    coverage: float


def median_interval(values: Float[np.ndarray, " n"]) -> MedianInterval:
    """Return the median and its exact interval between two order statistics.

    The k-th lowest and the k-th highest of n values enclose the median with the probability 1 − 2 P(fewer than k of n
    fair coins), whatever the distribution. The interval has the largest k with at least 95%; up to five values are too
    few for that, and it is their range: 75% for 3 seeds, 94% for 5.

    Args:
        values: at least one; infinite ones are allowed.

    >>> median_interval(np.array([10.0, 30.0, math.inf]))
    MedianInterval(median=30.0, low=10.0, high=inf, coverage=0.75)
    """
    ordered, n = np.sort(values), len(values)
    outside = [2 * float(special.bdtr(k, n, 0.5)) for k in range((n + 1) // 2)]
    k = max((k for k, miss in enumerate(outside) if miss <= ERROR), default=0)
    middle = ordered[(n - 1) // 2], ordered[n // 2]
    median = middle[0] if middle[0] == middle[1] else (middle[0] + middle[1]) / 2
    return MedianInterval(float(median), float(ordered[k]), float(ordered[n - 1 - k]), max(0.0, 1 - outside[k]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def verdict(interval: Interval, p_value: float, margin: float, seeds: int) -> str:
    """Return ``better``, ``worse``, ``level`` or ``undecided``.

    ``level`` means equivalence, not absence of evidence: the whole interval lies inside the margin, whether or not it
    contains zero.

    Args:
        interval: of the paired differences in loss.
        p_value: adjusted for the other comparisons that are made with this one.
        margin: the largest difference that does not matter, fixed before the comparison; nats.
        seeds: number of paired differences; below `LEAST_SEEDS` nothing is decided.

    >>> verdict(Interval(-0.2, -0.3, -0.1, 0.001), 0.004, 0.05, 5)
    'better'
    >>> verdict(Interval(-0.2, -0.3, -0.1, 0.001), 0.004, 0.05, 2)
    'undecided'
    """
    if seeds < LEAST_SEEDS or not math.isfinite(interval.mean):
        return UNDECIDED
    if -margin < interval.low and interval.high < margin:
        return LEVEL
    if p_value < ERROR:
        return BETTER if interval.mean < 0 else WORSE
    return UNDECIDED


def choose(losses: Float[np.ndarray, "rates seeds"]) -> int | None:
    """Return the index of the rate with the lowest mean loss; None if each has a diverged run.

    A rate at which one seed diverged (NaN) is not chosen: the mean of the others is biased.
    """
    means = losses.mean(1)
    return int(np.nanargmin(means)) if np.isfinite(means).any() else None


def power(shift: float, freedom: float, tests: int = 1) -> float:
    """Return the power of a t-test: its chance to detect a true mean.

    Args:
        shift: the mean in standard errors.
        freedom: degrees of it; one less than the seeds.
        tests: number of comparisons that share the error rate (Bonferroni's bound on Holm's method).
    """
    critical = special.stdtrit(freedom, 1 - ERROR / (2 * tests))
    # Over the distribution of the estimated spread, in equal parts; SciPy's noncentral t returns
    # NaN for few seeds and large shifts.
    estimated = np.sqrt(special.chdtri(freedom, PARTS) / freedom)
    detected = special.ndtr(shift - critical * estimated) + special.ndtr(-shift - critical * estimated)
    return float(detected.mean())


def smallest_difference(seeds: int, tests: int = 1) -> float:
    """Return the smallest true difference that is detected with a power of `POWER`, in standard deviations.

    Args:
        seeds: number of paired differences; with a single one the result is infinite.
        tests: see `power`.
    """

    def is_found(difference: float) -> bool:
        return power(difference * math.sqrt(seeds), seeds - 1, tests) >= POWER

    if seeds < 2:
        return math.inf
    low, high = 0.0, 1.0
    while not is_found(high):
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def seeds_to_settle(differences: Float[np.ndarray, "seeds examples"], margin: float, tests: int = 1) -> int | None:
    """Return how many seeds would settle a comparison, if the differences so far are typical.

    It is settled if Welch's test, see `paired_interval`, has a power of `POWER`, or if the expected interval lies
    inside the margin. None if `MOST_SEEDS` would not be enough: what the examples leave open, no number of seeds
    settles.

    Args:
        differences: paired, of at least two seeds.
        margin, tests: see `verdict` and `power`.
    """
    n = differences.shape[1]
    mean, of_seeds = abs(float(differences.mean())), float(differences.mean(1).var(ddof=1))
    of_examples = float(differences.mean(0).var(ddof=1)) / n if n > 1 else 0.0
    if not of_seeds + of_examples:
        return LEAST_SEEDS

    def settled(seeds: int) -> bool:
        each = (of_seeds / seeds, seeds - 1), (of_examples, n - 1)
        variance = sum(part for part, _ in each)
        freedom = variance**2 / sum(part**2 / many for part, many in each if part)
        error = math.sqrt(variance)
        half = error * special.stdtrit(freedom, 1 - ERROR / 2)
        return bool(mean + half < margin) or power(mean / error, freedom, tests) >= POWER

    high = LEAST_SEEDS
    while not settled(high):
        if high >= MOST_SEEDS:
            return None
        high = min(2 * high, MOST_SEEDS)
    low = max(LEAST_SEEDS, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle + 1, high)
    return high


def bootstrap_over_cells(cells: Sequence[Float[np.ndarray, "_ _"]], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of cell means, and its 95% interval by a hierarchical bootstrap.

    Cells are drawn with replacement, then seeds and examples within each (Davison and Hinkley 1997, section 3.8). It
    summarizes many cells; it does not decide any of them.

    Args:
        cells: paired differences (seeds, examples), one array per cell.
    """
    random = np.random.default_rng(seed)
    means = np.array([cell.mean() for cell in cells])
    drawn = random.integers(len(cells), size=(RESAMPLES, len(cells)))
    sampled = np.empty(drawn.shape)
    for i, cell in enumerate(cells):
        here = drawn == i
        seeds, examples = (random.multinomial(n, np.full(n, 1 / n), size=int(here.sum())) for n in cell.shape)
        sampled[here] = ((seeds @ cell) * examples).sum(1) / cell.size
    low, high = np.quantile(sampled.mean(1), (ERROR / 2, 1 - ERROR / 2))
    return float(means.mean()), float(low), float(high)


def performance_profile(
    times: Float[np.ndarray, "methods tasks"], factors: Float[np.ndarray, " f"]
) -> Float[np.ndarray, "methods f"]:
    """Return the share of tasks that a method finishes within a factor of the fastest method.

    Dolan and Moré 2002; as in AlgoPerf (Dahl et al. 2023, arXiv 2306.07179), a run that never reaches the target has
    an infinite time.

    Args:
        times: steps or tokens to the target; infinite if it is never reached.
        factors: at least 1.
    """
    fastest = times.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # no method finishes, or all begin there
        ratios = np.where(times == fastest, 1.0, times / fastest)
    ratios[~np.isfinite(times)] = math.inf
    return (ratios[:, None, :] <= factors[:, None]).mean(2)


def expected_best(losses: Float[np.ndarray, " n"], budget: int) -> float:
    """Return the expected lowest loss of `budget` rates drawn from those tried, with replacement.

    Dodge et al. 2019, arXiv 1909.03004. A diverged run (NaN) counts as the worst loss tried.

    Args:
        losses: one per tried rate, nats.
        budget: number of rates drawn, at least 1.

    >>> expected_best(np.array([1.0, 2.0, 3.0]), 1)
    2.0
    """
    ordered = np.sort(np.where(np.isfinite(losses), losses, np.nanmax(losses)))
    left = np.arange(len(ordered), -1, -1) / len(ordered)
    return float(ordered @ (left[:-1] ** budget - left[1:] ** budget))


def first_at(target: float, at: Sequence[int], losses: Sequence[float]) -> float | None:
    """Return when a loss first reached a target, by linear interpolation between evaluations.

    Args:
        at: steps of the evaluations.
        losses: one each, nats; NaN where there is none.

    >>> first_at(1.5, [0, 10, 20], [4.0, 2.0, 1.0])
    15.0
    >>> first_at(0.5, [0, 10, 20], [4.0, 2.0, 1.0]) is None
    True
    """
    for i, loss in enumerate(losses):
        if not loss <= target:
            continue
        if i == 0 or not math.isfinite(losses[i - 1]):
            return float(at[i])
        above = losses[i - 1] - loss
        share = (losses[i - 1] - target) / above if above > 0 else 1.0
        return at[i - 1] + share * (at[i] - at[i - 1])
    return None


MOST = 7
"""Up to so many points all their orders are tried; of more, `RESAMPLES` are drawn."""


def slope_by_orders(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Interval:
    """Return the least-squares slope of y on x, with its exact interval over the orders of x.

    If y − bx does not depend on x, all n! orders of x are equally likely (Pitman 1937). An order π correlates with y −
    bx as much as the observed one at the slope

        b_π = Σ (x − x_π) y / Σ (x − x_π) x.

    The interval has all b that neither one-sided test rejects at 2.5%, so its ends are order statistics of the b_π.
    They are infinite for fewer than five points, which have too few orders.

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
    k = math.floor(ERROR / 2 * len(orders) - same)
    low, high = (critical[k], critical[-1 - k]) if k >= 0 else (-math.inf, math.inf)
    tails = [(same + int(beyond.sum())) / len(orders) for beyond in (critical <= 0, critical >= 0)]
    return Interval(float(x @ y / (x @ x)), float(low), float(high), min(1.0, 2 * min(tails)))


def _orders(n: int) -> np.ndarray:
    """Return orders of n places, the identity among them."""
    if n <= MOST:
        return np.array(list(itertools.permutations(range(n))))
    random = np.random.default_rng(0)
    return np.stack([np.arange(n), *(random.permutation(n) for _ in range(RESAMPLES - 1))])
