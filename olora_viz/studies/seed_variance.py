"""How far a difference scatters from seed to seed: a pair's own variance, shrunk towards that of all methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

PRIOR = 4
"""The most degrees of freedom that other methods' seeds add to a pair's own."""


class SeedVariance(NamedTuple):
    """The variance of the paired difference of two methods over the seeds, and what it rests on."""

    variance: float
    """Of a single seed; NaN with fewer than two."""
    seeds: int
    """Seeds that both methods have."""
    others: float = 0.0
    """Degrees of freedom of the residual of method × seed that are not the pair's own."""
    alike: float = 1.0
    """How much of them counts: less if the pair scatters more than methods do on average."""

    @property
    def own(self) -> int:
        """The pair's own degrees of freedom."""
        return self.seeds - 1

    @property
    def lent(self) -> float:
        """The degrees of freedom that the other methods add."""
        return self.alike * min(PRIOR, self.others)

    def freedom(self, seeds: int | None = None) -> float:
        """Return the degrees of freedom of the variance, now or if every method had this many seeds.

        >>> SeedVariance(0.1, seeds=3, others=6).freedom(), SeedVariance(0.1, seeds=3).freedom(5)
        (6.0, 4.0)
        """
        if seeds is None or self.own < 1:
            return self.own + self.lent
        return self._replace(seeds=seeds, others=self.others * (seeds - 1) / self.own).freedom()


Means = Float[np.ndarray, " _"]
"""The mean score of every seed; NaN where a method has none."""


def own_variance(differences: Means) -> SeedVariance:
    """Return the variance of paired differences by themselves."""
    seeds = len(differences)
    return SeedVariance(float(differences.var(ddof=1)) if seeds > 1 else float("nan"), seeds)


def seed_variance(differences: Means, between: tuple[Means, Means], among: Sequence[Means]) -> SeedVariance:
    """Return the variance of the differences of two methods over the seeds, which all methods' seeds help to tell.

    Three seeds say little of how far a difference scatters: by chance their own variance is below a tenth of the true
    one in 10 of 100 studies. So it is moderated (Smyth 2004): with v that of the pair, on f degrees of freedom, and w
    that of all methods, which lend g,

        (f v + g w) / (f + g),        g = (u / w) · min(PRIOR, h − f),

    where h are those of the residual of method × seed: (m − 1)(k − 1) for m methods with k seeds, so that two methods
    borrow nothing. A method scatters by the mean variance of its differences to all others, weighted by their degrees
    of freedom. u is the mean over the methods, twice the mean square of the residual, and w that of the one of the two
    that scatters more: u itself is too small for a method whose runs vary more than the others', and these tell less
    of it.

    Of methods whose means are the same one counts: a copy tells nothing new, and differs from the first by nothing.

    Args:
        differences: of the pair, for the seeds that both have.
        between: the means of both, the seeds in the same order.
        among: those of all methods that are compared, the two among them; the numbers of seeds may differ.

    References:
        Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3 (doi:10.2202/1544-6115.1027), with a prior that is fixed.

    >>> ours, theirs, third = np.array([0.1, 0.3, 0.2]), np.array([0.4, 0.5, 0.6]), np.array([0.3, 0.2, 0.1])
    >>> both, gap = (ours, theirs), ours - theirs
    >>> alone, among = seed_variance(gap, both, both), seed_variance(gap, both, [*both, third])
    >>> round(alone.variance, 3), alone.freedom(), round(among.variance, 3), among.freedom()
    (0.01, 2.0, 0.017, 4.0)
    """
    own, distinct = own_variance(differences), list[Means]()
    for means in (*between, *among):
        if not any(np.array_equal(means, known, equal_nan=True) for known in distinct):
            distinct.append(means)
    if own.seeds < 2 or len(distinct) < 3 or not differences.any():
        return own
    scatter = [_scatter(place, distinct) for place in range(len(distinct))]
    wider, mean = max(scatter[:2]), float(np.nanmean(scatter))
    if not wider:
        return own
    lending = SeedVariance(wider, own.seeds, _residual_freedom(distinct) - own.own, min(1.0, mean / wider))
    moderated = (own.own * own.variance + lending.lent * wider) / lending.freedom()
    return lending._replace(variance=moderated)


def _scatter(place: int, methods: Sequence[Means]) -> float:
    """Return the mean variance of the differences of one method to all others; NaN if no two seeds are shared."""
    gaps = [_paired(methods[place], means) for k, means in enumerate(methods) if k != place]
    known = [own_variance(gap) for gap in gaps if len(gap) > 1]
    return (
        float(np.average([each.variance for each in known], weights=[each.own for each in known])) if known else np.nan
    )


def _paired(first: Means, second: Means) -> Means:
    """Return the differences of the seeds that both have."""
    seeds = min(len(first), len(second))
    gap = first[:seeds] - second[:seeds]
    return gap[np.isfinite(gap)]


def _residual_freedom(methods: Sequence[Means]) -> int:
    """Return the number of results, less those that effects of every method and seed take: (m − 1)(k − 1) of m × k."""
    table = np.full((len(methods), max(map(len, methods))), np.nan)
    for row, means in zip(table, methods, strict=True):
        row[: len(means)] = means
    known = np.isfinite(table)
    return int(known.sum() - known.any(1).sum() - known.any(0).sum() + 1)
