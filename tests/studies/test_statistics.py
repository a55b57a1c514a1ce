"""The statistics of a study: against SciPy, opda and hand algebra, and in simulated studies."""

import math

import numpy as np
import opda.nonparametric
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from olora_viz.studies.power import POWER, has_power, power, seeds_to_settle, smallest_difference
from olora_viz.studies.seed_variance import PRIOR, own_variance
from olora_viz.studies.statistics import (
    BETTER,
    LEVEL,
    UNDECIDED,
    WORSE,
    Interval,
    bootstrap_over_cells,
    choose,
    expected_best,
    holm,
    median_interval,
    performance_profile,
    t_interval,
    verdict,
)

TRIALS = 1500
losses = st.lists(st.floats(0.01, 10.0), min_size=1, max_size=12).map(np.array)


def simulated(random: np.random.Generator, seeds: int, gap: float, noise: float = 0.05) -> tuple[Interval, int]:
    """Return what a study of two methods, 6 rates and some seeds says of the second.

    The methods differ in their best rate and, by `gap`, in the loss there; runs of a seed share their batches. The
    rate is chosen on validation losses, and test losses are compared.
    """
    rates = np.arange(6.0)
    ideal, depth = np.array([2.0, 2.7]), np.array([0.5, 0.5 + gap])
    true = depth[:, None] + 0.04 * (rates - ideal[:, None]) ** 2
    runs = true[:, :, None] + random.normal(0, noise, seeds) + random.normal(0, noise, (2, 6, seeds))
    valid, test = (runs + random.normal(0, 0.02, runs.shape) for _ in range(2))
    at = [choose(one) for one in valid]
    chosen = [true[k, i] for k, i in enumerate(at)]
    ours, reference = test[1, at[1]], test[0, at[0]]
    found = t_interval(ours - reference)
    return found, int(found.low <= chosen[1] - chosen[0] <= found.high)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("gap", [0.0, -0.08])
def test_intervals_hold_the_truth_and_equal_methods_have_no_winner(seeds: int, gap: float) -> None:
    random = np.random.default_rng(seeds)
    held, named = 0, 0
    for _ in range(TRIALS):
        found, holds = simulated(random, seeds, gap)
        held += holds
        named += verdict(found, found.p_value, 0.001, seeds) in (BETTER, WORSE)
    assert held / TRIALS >= 0.93
    if gap == 0.0:
        assert named / TRIALS <= 0.05
    elif seeds == 10:
        assert named / TRIALS > 0.5  # what is there is found


def test_several_equal_methods_have_no_winner_in_95_of_100_cells() -> None:
    random, false = np.random.default_rng(0), 0
    for _ in range(TRIALS):
        runs = random.normal(0, 1, (8, 5))  # the reference and seven methods
        found = [t_interval(one - runs[0]) for one in runs[1:]]
        adjusted = holm([one.p_value for one in found])
        false += any(verdict(one, p, 1e-6, 5) in (BETTER, WORSE) for one, p in zip(found, adjusted, strict=True))
    assert false / TRIALS <= 0.05


def test_an_interval_is_scipy_s() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 7)
    found = stats.ttest_1samp(values, 0)
    low, high = found.confidence_interval()
    assert t_interval(values) == pytest.approx((values.mean(), low, high, found.pvalue))
    assert t_interval(np.full(4, 0.25)) == (0.25, 0.25, 0.25, 0.0)
    assert t_interval(np.zeros(4)).p_value == 1.0
    assert t_interval(np.ones(1)).high == math.inf


def test_a_verdict_needs_three_seeds_and_equivalence_is_proved() -> None:
    clear, narrow = Interval(-0.2, -0.3, -0.1, 0.001), Interval(0.01, -0.01, 0.03, 0.2)
    assert verdict(clear, 0.02, 0.05, 3) == BETTER
    assert verdict(clear, 0.06, 0.05, 3) == UNDECIDED  # after Holm
    assert verdict(clear, 0.02, 0.05, 2) == UNDECIDED
    assert verdict(clear, 0.02, 0.5, 3) == LEVEL
    assert verdict(narrow, 0.2, 0.05, 3) == LEVEL
    assert verdict(narrow, 0.2, 0.02, 3) == UNDECIDED
    assert verdict(Interval(0.2, 0.1, 0.3, 0.001), 0.001, 0.05, 5) == WORSE
    assert verdict(t_interval(np.array([math.nan] * 4)), 1.0, 0.05, 4) == UNDECIDED


def test_a_rate_with_a_diverged_seed_is_not_chosen() -> None:
    runs = np.array([[3.0, 3.0], [1.0, math.nan], [2.0, 2.0]])
    assert choose(runs) == 2
    assert choose(runs[1:2]) is None


@pytest.mark.parametrize("tests", [1, 7])
def test_a_few_points_tell_whether_the_power_is_there_as_all_of_them_do(tests: int) -> None:
    for freedom in (1, 1.7, 2, 4.3, 30, 1000):
        shifts = [*np.linspace(0, 12, 40), 100.0]
        exact = [power(shift, freedom, tests) >= POWER for shift in shifts]
        assert [has_power(shift, freedom, tests) for shift in shifts] == exact
        # Where the power is, to the last bit.
        low, high = 0.0, 1000.0
        while low < (low + high) / 2 < high:
            middle = (low + high) / 2
            low, high = (low, middle) if power(middle, freedom, tests) >= POWER else (middle, high)
        assert (has_power(low, freedom, tests), has_power(high, freedom, tests)) == (False, True)


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_power_is_that_of_simulated_tests(seeds: int) -> None:
    random = np.random.default_rng(1)
    drawn = random.normal(0.9, 1.0, (4000, seeds))
    found = np.mean(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05)
    assert power(0.9 * math.sqrt(seeds), seeds - 1) == pytest.approx(found, abs=0.03)
    smallest, freedom = smallest_difference(seeds), seeds - 1
    assert power(smallest * math.sqrt(seeds), freedom) == pytest.approx(0.8, abs=1e-3)
    # Of four methods, three tests share the error rate, and three times as many seeds tell the variance.
    of_four, more = smallest_difference(seeds, methods=4), freedom + min(PRIOR, 2 * freedom)
    assert power(of_four * math.sqrt(seeds), more, tests=3) == pytest.approx(0.8, abs=1e-3)


def test_the_seeds_that_settle_a_comparison_are_the_fewest_that_do() -> None:
    def seeds_needed(differences: np.ndarray, margin: float) -> int | None:
        return seeds_to_settle(differences, own_variance(differences.mean(1)), margin)

    random = np.random.default_rng(2)
    differences = random.normal(0.0, 1.0, (6, 1))
    differences += 0.6 - differences.mean()
    spread, needed = differences.std(ddof=1), seeds_needed(differences, 1e-9)
    assert needed is not None
    chances = [power(0.6 / spread * math.sqrt(n), n - 1) for n in (needed, needed - 1)]
    assert chances[0] >= 0.8 > chances[1]
    level = seeds_needed(differences - 0.6, 0.1)
    assert level is not None
    half = [stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n) for n in (level, level - 1)]
    assert half[0] < 0.1 <= half[1]
    assert seeds_needed(differences - 0.6, 0.0) is None
    assert seeds_needed(np.array([[0.5], [0.5]]), 0.1) == 3

    # What the examples leave open, no number of seeds settles.
    few = 0.1 + np.repeat(random.normal(0.0, 1.0, (1, 9)), 6, 0) + 0.01 * differences
    assert seeds_needed(few, 1e-9) is None


def test_fewer_seeds_settle_it_where_other_methods_tell_how_far_seeds_scatter() -> None:
    gap = np.random.default_rng(2).normal(1.0, 1.0, (3, 1))
    own = own_variance(gap[:, 0])
    alone, among = (seeds_to_settle(gap, own._replace(others=others), 1e-9) for others in (0, 2))
    assert alone is not None
    assert among is not None
    assert among < alone


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_what_some_seeds_leave_open_more_of_them_settle(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    for spread in (0.0, 0.01, 0.3):
        gaps = 0.5 + spread * rng.normal(size=(seeds, 1)) + spread * rng.normal(size=(seeds, 64))
        needed = seeds_to_settle(gaps, own_variance(gaps.mean(1)), 0.01)
        assert needed is None or needed > seeds


def test_the_bootstrap_over_cells_covers_the_mean_of_all_cells() -> None:
    random, held = np.random.default_rng(3), 0
    for trial in range(100):
        cells = [random.normal(effect, 0.1, (5, 1)) for effect in random.normal(0.3, 0.2, 14)]
        _, low, high = bootstrap_over_cells(cells, seed=trial)
        held += low <= 0.3 <= high
    assert held / 100 >= 0.88
    mean, _, _ = bootstrap_over_cells([np.array([[1.0], [3.0]]), np.array([[4.0]])])
    assert mean == 3.0


@given(losses, st.integers(1, 20))
def test_the_expected_best_of_a_budget_is_opda_s(tried: np.ndarray, budget: int) -> None:
    oracle = opda.nonparametric.EmpiricalDistribution(tried)
    expected = oracle.average_tuning_curve(np.array([budget]), minimize=True)[0]
    assert expected_best(tried, budget) == pytest.approx(expected, rel=1e-9)


def test_a_diverged_rate_is_the_worst_of_those_tried() -> None:
    assert expected_best(np.array([1.0, math.nan, 3.0]), 1) == pytest.approx((1 + 3 + 3) / 3)


def test_a_profile_counts_what_never_arrives_as_infinite() -> None:
    times = np.array([[10.0, math.inf, math.inf], [20.0, 30.0, math.inf]])
    found = performance_profile(times, np.array([1.0, 2.0, 100.0]))
    assert found == pytest.approx(np.array([[1, 1, 1], [1, 2, 2]]) / 3)


def test_in_a_profile_who_begins_at_the_target_is_the_fastest() -> None:
    found = performance_profile(np.array([[0.0, 0.0], [0.0, 5.0]]), np.array([1.0, 100.0]))
    assert found == pytest.approx(np.array([[1.0, 1.0], [0.5, 0.5]]))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 9, 20])
def test_the_interval_of_a_median_is_scipys_and_covers_as_often_as_it_says(n: int) -> None:
    random = np.random.default_rng(n)
    found = [median_interval(random.exponential(size=n)) for _ in range(TRIALS)]
    held = np.mean([one.low <= math.log(2) <= one.high for one in found])
    assert abs(held - found[0].coverage) < 0.04
    if n >= 6:
        assert found[0].coverage >= 0.95
        values = random.exponential(size=n)
        # Scipy's interval of a quantile is that of the same order statistics.
        theirs = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
        assert (median_interval(values).low, median_interval(values).high) == tuple(theirs)
