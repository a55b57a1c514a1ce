"""Statistics of studies: intervals and tests, methods compared in pairs, and which orders survive their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from olora_viz.studies.seed_variance import SeedVariance, own_variance, seed_variance

ERROR = 0.05
"""Significance level: the accepted probability of declaring a difference between equals."""

LEAST_SEEDS = 3
"""A verdict rests on at least this many paired differences."""

LEAST_EXAMPLES = 20
"""A verdict rests on at least this many examples: of fewer, one may decide it."""

LEVEL_WITHIN = 1.25
"""Positive numbers, such as best rates, are level if their ratio lies within this factor."""

LEVEL_LOG_RATIO = math.log(LEVEL_WITHIN)
"""They are level if the interval of their log ratio lies within this of zero."""

RESAMPLES = 10_000
"""Number of samples of a bootstrap."""

BETTER, WORSE, LEVEL, UNDECIDED = "better", "worse", "level", "undecided"
"""The verdicts on a method against the reference."""

AHEAD, BEHIND = "ahead", "behind"
"""Those of two contenders, beside `LEVEL` and `UNDECIDED`."""

MARGIN_OF_SHARES = 0.05
"""Accuracies are level if the interval of their difference lies within this margin: 5 points."""

MARGIN_OF_LOSSES = 0.1
"""The same margin for losses, as a share of the lower one."""

LEAST_MARGIN = 0.02
"""The smallest margin for losses, in nats."""


class Interval(NamedTuple):
    """A mean, its 95% interval, and the p-value of a mean of zero."""

    mean: float
    low: float
    high: float
    p_value: float


UNKNOWN = Interval(math.nan, -math.inf, math.inf, 1.0)
"""The interval of a number of which nothing is known."""


def t_interval(values: Float[np.ndarray, " n"], over_seeds: SeedVariance | None = None) -> Interval:
    """Return Student's t interval of a mean (Student 1908, Biometrika 6).

    A single value has an infinite interval; equal values have one of width zero.

    Args:
        over_seeds: their variance, where other methods help to tell it; by default their own.

    >>> [round(x, 3) for x in t_interval(np.array([-0.1, -0.2, -0.3]))]
    [-0.2, -0.448, 0.048, 0.074]
    """
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, 1.0)
    known = over_seeds or own_variance(values)
    error = math.sqrt(known.variance / n)
    if error <= 1e-15 * abs(mean):
        return Interval(mean, mean, mean, 0.0 if mean else 1.0)
    return _interval_around(mean, error, known.freedom())


def paired_interval(
    differences: Float[np.ndarray, "seeds examples"],
    by_example: Float[np.ndarray, " n"] | None = None,
    over_seeds: SeedVariance | None = None,
) -> Interval:
    """Return the interval of a mean paired difference, for other seeds and for other examples.

    It is the union of up to three, with the largest p-value: Student's t over the examples and over the seeds, and
    Welch's for both, whose variances add up (Welch 1947, Biometrika 34). The first alone takes the seeds for the only
    ones, the second the examples. With one seed it covers other examples alone.

    Args:
        differences: all finite.
        by_example: values over the examples in place of the means over the seeds.
        over_seeds: the variance over the seeds, where other methods help to tell it, see `seed_variance`.

    >>> gap = np.array([[-0.1, -0.2, -0.3, -0.2], [-0.2, -0.3, -0.1, -0.2], [-0.2, -0.2, -0.3, 0]])
    >>> [round(x, 3) for x in paired_interval(gap)]
    [-0.192, -0.271, -0.112, 0.005]
    """
    by_example = differences.mean(0) if by_example is None else by_example
    intervals, by_seed = [t_interval(by_example)], differences.mean(1)
    if len(by_seed) > 1:
        known = over_seeds or own_variance(by_seed)
        intervals += [t_interval(by_seed, known), _interval_of_both(by_example, by_seed, known)]
    mean = float(differences.mean())
    _, lows, highs, p_values = zip(*intervals, strict=True)
    return Interval(mean, min(mean, *lows), max(mean, *highs), max(p_values))


def _interval_of_both(by_example: np.ndarray, by_seed: np.ndarray, over_seeds: SeedVariance) -> Interval:
    """Return Welch's interval for other examples and other seeds at once."""
    mean, n = float(by_example.mean()), len(by_example)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, 1.0)
    over_examples = float(by_example.var(ddof=1)) / n, n - 1
    parts = over_examples, (over_seeds.variance / len(by_seed), over_seeds.freedom())
    error = math.sqrt(sum(part for part, _ in parts))
    if not error:
        return t_interval(by_seed)
    return _interval_around(mean, error, error**4 / sum(part**2 / freedom for part, freedom in parts))


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


@dataclass(frozen=True)
class Scores:
    """The scores of one contender: one row per seed, one column per held-out example.

    Examples:
        >>> import olora_viz as ov
        >>> tested = ov.load_recording("one-rate").tested.lanes.example_loss
        >>> lora, olora = (ov.Scores(losses[None]) for losses in tested[:2])  # of one seed
        >>> lora.loss.shape
        (1, 64)
        >>> ov.compare(olora, lora).in_these_runs
        'ahead'
    """

    loss: Float[np.ndarray, "k n"]
    """Losses in nats, finite."""
    right: Float[np.ndarray, "k n"] | None = None
    """Shares of right answers, from 0 to 1; None if the loss alone is compared."""

    @cached_property
    def runs(self) -> list[int]:
        """Rows of the independent runs: only the first of rows with identical losses."""
        return [
            i for i in range(len(self.loss)) if not any(np.array_equal(self.loss[i], self.loss[j]) for j in range(i))
        ]

    def of_kind(self, shares: bool) -> Float[np.ndarray, "k n"] | None:
        """Return the right answers or the losses."""
        return self.right if shares else self.loss

    def by_seed(self, shares: bool) -> Float[np.ndarray, " k"]:
        """Return the mean right answers or losses of each seed; NaN for a run that repeats another one."""
        values = self.of_kind(shares)
        means = np.full(len(self.loss), math.nan)
        means[self.runs] = np.nan if values is None else values[self.runs].mean(1)
        return means

    def of(self, runs: Sequence[int]) -> Scores:
        """Return the scores of some of the runs."""
        return Scores(self.loss[runs], None if self.right is None else self.right[runs])


@dataclass(frozen=True)
class Comparison:
    """The difference between two contenders, with its interval, p-value and verdict.

    Examples:
        >>> import numpy as np
        >>> import olora_viz as ov
        >>> hardness = np.linspace(1.0, 2.0, 30)
        >>> lora, olora = ov.Scores(hardness[None]), ov.Scores(hardness[None] - 0.5)  # 1 seed
        >>> between = ov.compare(olora, lora)
        >>> between.examples, between.seeds
        (30, 1)
        >>> between.in_these_runs, between.verdict
        ('ahead', 'undecided')
        >>> between.reversed.difference
        0.5
    """

    difference: float
    """Mean score of the first minus that of the second, nats or share."""
    low: float
    high: float
    """The 95% interval of the difference; infinite if it cannot be estimated."""
    p_value: float
    """P-value of the hypothesis of no difference; Holm's among several pairs."""
    margin: float
    """Differences within it are level."""
    shares: bool
    """Whether shares of right answers are compared, so that higher is better, or losses."""
    examples: int
    """Number of held-out examples."""
    seeds: int
    """Number of independent pairs of runs."""
    counts: bool = True
    """Whether a verdict may rest on it; if not, it is ``undecided``."""

    @property
    def verdict(self) -> str:
        """``ahead``, ``behind``, ``level`` or ``undecided``; always ``undecided`` with one seed."""
        return self.in_these_runs if self.seeds > 1 else UNDECIDED

    @property
    def in_these_runs(self) -> str:
        """The verdict on these runs alone, over the examples; another seed may reverse it.

        As in a study, an interval inside the margin is level whether or not it contains zero.
        """
        if not self.counts:
            return UNDECIDED
        if -self.margin < self.low and self.high < self.margin:
            return LEVEL
        if self.p_value < ERROR and not self.low <= 0 <= self.high:
            return AHEAD if (self.difference > 0) == self.shares else BEHIND
        return UNDECIDED

    @property
    def is_order(self) -> bool:
        """Whether one of the two is ahead, in these runs."""
        return self.in_these_runs in (AHEAD, BEHIND)

    @property
    def reversed(self) -> Comparison:
        """The comparison of the second with the first."""
        return replace(self, difference=-self.difference, low=-self.high, high=-self.low)


def compare(first: Scores, second: Scores, *, shares: bool = False) -> Comparison:
    """Compare two contenders on the same seeds and examples; of several, see `compare_all`.

    Runs with identical losses count once. With one pair of runs left, the comparison covers the examples but not the
    seeds.

    Args:
        first, second: their scores, of the same seeds and held-out examples in the same order.
        shares: compare the right answers instead of the losses.

    Returns:
        Comparison of the first minus the second, in nats or as a share.

    Raises:
        ValueError: the scores are of different shapes.

    References:
        Bonett and Price 2012, J. Educ. Behav. Stat. 37 (two pseudo-examples for paired shares).

    Examples:
        >>> import numpy as np
        >>> import olora_viz as ov
        >>> hardness = np.linspace(1.0, 2.0, 30)
        >>> lora = ov.Scores(np.stack([hardness, hardness + 0.1, hardness - 0.1]))  # 3 seeds
        >>> olora = ov.Scores(lora.loss - [[0.5], [0.4], [0.6]])
        >>> between = ov.compare(olora, lora)
        >>> round(between.difference, 2), between.verdict
        (-0.5, 'ahead')
    """
    return compare_all([first, second], shares=shares)[0, 1]


def _compared(first: Scores, second: Scores, among: Sequence[np.ndarray], *, shares: bool) -> Comparison:
    """Return `compare`, with the variance over the seeds that all contenders tell.

    Args:
        among: the mean of each seed, of all contenders.
    """
    ours, theirs = (scores.of_kind(shares) for scores in (first, second))
    if ours is None or theirs is None or ours.shape != theirs.shape:
        shapes = [None if values is None else values.shape for values in (ours, theirs)]
        raise ValueError(f"scores of shape {shapes[0]} and {shapes[1]} cannot be paired")
    runs = sorted({*first.runs} & {*second.runs})
    gap = ours[runs] - theirs[runs]
    seeds, examples = gap.shape
    same = np.array_equal(first.loss[runs], second.loss[runs])
    by_example = np.append(gap.mean(0), (1.0, -1.0)) if shares else gap.mean(0)
    over_seeds = seed_variance(gap.mean(1), (first.by_seed(shares), second.by_seed(shares)), among)
    interval = paired_interval(gap, by_example, over_seeds)
    least, most = (-1.0, 1.0) if shares else (-math.inf, math.inf)
    margin = max(LEAST_MARGIN, MARGIN_OF_LOSSES * min(ours.mean(), theirs.mean()))
    return Comparison(
        difference=float(gap.mean()), low=0.0 if same else max(least, interval.low),
        high=0.0 if same else min(most, interval.high), p_value=1.0 if same else interval.p_value,
        margin=MARGIN_OF_SHARES if shares else float(margin), shares=shares, examples=examples, seeds=seeds,
    )  # fmt: skip


Pairs = dict[tuple[int, int], Comparison]
"""Comparisons by the indices of both contenders, in either order."""


def compare_all(contenders: Sequence[Scores], others: Sequence[Scores] = (), *, shares: bool = False) -> Pairs:
    """Compare every pair of contenders; the p-values are still to be adjusted, see `adjusted`.

    How far a difference scatters from seed to seed, the seeds of all help to tell, see `seed_variance`.

    Args:
        others: of the same seeds, which help to tell that and are not compared; NaN where one has diverged.
        shares: compare the right answers instead of the losses.
    """
    count = len(contenders)
    among = [scores.by_seed(shares) for scores in (*contenders, *others)]
    pairs = {
        (i, j): _compared(contenders[i], contenders[j], among, shares=shares) for j in range(count) for i in range(j)
    }
    return pairs | {(j, i): comparison.reversed for (i, j), comparison in pairs.items()}


def adjusted(families: Sequence[Pairs]) -> list[Pairs]:
    """Return comparisons that are reported together, with Holm's p-values over all of them.

    Args:
        families: each with every pair in both orders, see `compare_all`.
    """
    places = [(f, pair) for f, pairs in enumerate(families) for pair in pairs if pair[0] < pair[1]]
    p_values = holm([families[f][pair].p_value for f, pair in places])
    corrected: list[Pairs] = [{} for _ in families]
    for (f, (i, j)), p_value in zip(places, p_values, strict=True):
        comparison = replace(families[f][i, j], p_value=p_value)
        corrected[f] |= {(i, j): comparison, (j, i): comparison.reversed}
    return corrected


def share_interval(scores: Scores) -> tuple[float, float]:
    """Return the 95% interval of a contender's share of right answers.

    Over the examples this is Wilson's interval (1927), over several independent runs Student's t interval. On each
    side, the wider one counts.

    Raises:
        ValueError: the scores hold no right answers.

    >>> low, high = share_interval(Scores(np.zeros((1, 64)), np.ones((1, 64))))
    >>> round(low, 2), high
    (0.94, 1.0)
    """
    if scores.right is None:
        raise ValueError("without right answers there is no share of them")
    by_seed = scores.right[scores.runs].mean(1)
    return interval_of_share(float(scores.right.mean()), by_seed, scores.right.shape[1])


def interval_of_share(share: float, by_seed: Float[np.ndarray, " k"], examples: int) -> tuple[float, float]:
    """Return the same of a share that is known by seed, see `share_interval`.

    Args:
        share: of right answers, over all seeds.
        by_seed: of each independent run.
        examples: the number of examples of each.
    """
    n, z = examples, float(special.ndtri(1 - ERROR / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    if len(by_seed) > 1:
        spread = t_interval(by_seed)
        low, high = min(low, max(0.0, spread.low)), max(high, min(1.0, spread.high))
    return low, high


Results = Float[np.ndarray, "_ _"]
"""Losses (seeds, examples) of one method at one rate, nats; of the first seeds."""


def rates_like(held_out: Sequence[Results], chosen: int) -> list[int]:
    """Return the rates that the held-out results cannot tell from the chosen one, itself included.

    Their paired difference to it is at most one standard error, √(s²/n + t²/k), where s² is its variance over the n
    examples, and t² that over the k seeds that both have. Few seeds say little of t², and a rate at which one seed
    fails would seem as good as any: so t² is the median over the rates.

    Args:
        held_out: losses on the held-out examples, one array per rate; the numbers of seeds may differ.
        chosen: place of the chosen rate.
    """
    gaps = [_paired(of_rate, held_out[chosen]) for of_rate in held_out]
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


def survives(difference: float, over_rates: tuple[float, float]) -> bool:
    """Return whether a difference has the same sign at every pair of rates, see `rates_like`."""
    low, high = over_rates
    return low > 0 if difference > 0 else high < 0


def _paired(first: Results, second: Results) -> Results:
    """Return the differences of those seeds that both have."""
    seeds = min(len(first), len(second))
    return first[:seeds] - second[:seeds]
