"""Methods compared in pairs: differences, and which orders survive their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import special

from olora_viz.studies.statistics import ERROR, LEVEL, UNDECIDED, holm, paired_interval, t_interval

AHEAD, BEHIND = "ahead", "behind"
"""The verdicts, beside `LEVEL` and `UNDECIDED`."""

MARGIN_OF_SHARES = 0.05
"""Accuracies are level if the interval of their difference lies within this margin: 5 points."""

MARGIN_OF_LOSSES = 0.1
"""The same margin for losses, as a share of the lower one."""

LEAST_MARGIN = 0.02
"""The smallest margin for losses, in nats."""


@dataclass(frozen=True)
class Scores:
    """The scores of one contender: one row per seed, one column per held-out example."""

    loss: Float[np.ndarray, "k n"]
    """Losses in nats, finite."""
    right: Float[np.ndarray, "k n"] | None = None
    """Shares of right answers, from 0 to 1; None if the loss alone is compared."""

    @property
    def runs(self) -> list[int]:
        """Rows of the independent runs: only the first of rows with identical losses."""
        return [
            i for i in range(len(self.loss)) if not any(np.array_equal(self.loss[i], self.loss[j]) for j in range(i))
        ]

    def of(self, runs: Sequence[int]) -> Scores:
        """Return the scores of some of the runs."""
        return Scores(self.loss[runs], None if self.right is None else self.right[runs])


@dataclass(frozen=True)
class Comparison:
    """The difference between two contenders, with its interval, p-value and verdict."""

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
    """Compare two contenders on the same seeds and examples.

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
    """
    ours, theirs = (scores.right if shares else scores.loss for scores in (first, second))
    if ours is None or theirs is None or ours.shape != theirs.shape:
        shapes = [None if values is None else values.shape for values in (ours, theirs)]
        raise ValueError(f"scores of shape {shapes[0]} and {shapes[1]} cannot be paired")
    runs = sorted({*first.runs} & {*second.runs})
    gap = ours[runs] - theirs[runs]
    seeds, examples = gap.shape
    same = np.array_equal(first.loss[runs], second.loss[runs])
    by_example = np.append(gap.mean(0), (1.0, -1.0)) if shares else gap.mean(0)
    interval = paired_interval(gap, by_example)
    least, most = (-1.0, 1.0) if shares else (-math.inf, math.inf)
    margin = max(LEAST_MARGIN, MARGIN_OF_LOSSES * min(ours.mean(), theirs.mean()))
    return Comparison(
        difference=float(gap.mean()), low=0.0 if same else max(least, interval.low),
        high=0.0 if same else min(most, interval.high), p_value=1.0 if same else interval.p_value,
        margin=MARGIN_OF_SHARES if shares else float(margin), shares=shares, examples=examples, seeds=seeds,
    )  # fmt: skip


Pairs = dict[tuple[int, int], Comparison]
"""Comparisons by the indices of both contenders, in either order."""


def compare_all(contenders: Sequence[Scores], *, shares: bool = False) -> Pairs:
    """Compare every pair of contenders; the p-values are still to be adjusted, see `adjusted`.

    Args:
        shares: compare the right answers instead of the losses.
    """
    count = len(contenders)
    pairs = {(i, j): compare(contenders[i], contenders[j], shares=shares) for j in range(count) for i in range(j)}
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


def range_over_rates(first: Sequence[Results], second: Sequence[Results]) -> tuple[float, float]:
    """Return the lowest and the highest mean difference over all pairs of rates.

    Args:
        first, second: losses to compare on, of both methods, at the rates of `rates_like`.
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
