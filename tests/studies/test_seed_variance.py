"""How far differences scatter over the seeds: the laws of a moderated variance, beside a calculation of its own."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from olora_viz.lanes.lane import Lane
from olora_viz.measures.training import Examples
from olora_viz.studies.contest import contests_of
from olora_viz.studies.seed_variance import PRIOR, SeedVariance, own_variance, seed_variance
from olora_viz.studies.statistics import AHEAD, UNDECIDED, Comparison, Scores, compare, compare_all, t_interval


def drawn(methods: int, seeds: int, seed: int = 0) -> np.ndarray:
    """Means by method and seed: an effect of each, and runs that scatter more from method to method."""
    rng = np.random.default_rng([seed, methods, seeds])
    runs = rng.normal(size=(methods, seeds)) * np.linspace(1, 2, methods)[:, None]
    return rng.normal(size=(methods, 1)) + rng.normal(size=seeds) + runs


def of_pair(table: np.ndarray, i: int = 0, j: int = 1) -> SeedVariance:
    gap = table[i] - table[j]
    return seed_variance(gap[np.isfinite(gap)], (table[i], table[j]), list(table))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_two_methods_borrow_nothing(seeds: int) -> None:
    table = drawn(2, seeds)
    assert of_pair(table) == own_variance(table[0] - table[1])
    assert of_pair(table).freedom() == seeds - 1
    first, second = (Scores(row[:, None] + np.random.default_rng(0).normal(size=40)) for row in table)
    assert compare_all([first, second])[0, 1] == compare(first, second)


@pytest.mark.parametrize(("methods", "seeds"), [(3, 3), (5, 3), (4, 6)])
def test_it_is_that_of_smyths_moderated_t_by_the_residual_of_method_and_seed(methods: int, seeds: int) -> None:
    table = drawn(methods, seeds)
    # The residual of an additive model by least squares, as any analysis of variance has it.
    rows = np.array(list(itertools.product(range(methods), range(seeds))))
    design = np.hstack([np.eye(methods)[rows[:, 0]], np.eye(seeds)[rows[:, 1]]])
    effects, _, rank, _ = np.linalg.lstsq(design, table.ravel(), rcond=None)
    residual, fitted = table.size - rank, design @ effects
    mean_square = float(((table.ravel() - fitted) ** 2).sum()) / residual
    pairs = {(i, j): (table[i] - table[j]).var(ddof=1) for i in range(methods) for j in range(methods) if i != j}
    scatter = [np.mean([v for (i, _), v in pairs.items() if i == k]) for k in range(methods)]
    assert np.mean(scatter) == pytest.approx(2 * mean_square)
    for i, j in itertools.combinations(range(methods), 2):
        wider = max(scatter[i], scatter[j])
        lent = min(1, 2 * mean_square / wider) * min(PRIOR, residual - (seeds - 1))
        moderated = ((seeds - 1) * pairs[i, j] + lent * wider) / (seeds - 1 + lent)
        found = of_pair(table, i, j)
        assert (found.variance, found.freedom()) == pytest.approx((moderated, seeds - 1 + lent))
        assert found.freedom() <= (methods - 1) * (seeds - 1)
        gap = table[i] - table[j]
        t = gap.mean() / math.sqrt(moderated / seeds)
        assert t_interval(gap, found).p_value == pytest.approx(2 * stats.t.sf(abs(t), seeds - 1 + lent))


def test_the_freedom_of_an_incomplete_table_is_that_of_its_additive_model() -> None:
    table = drawn(4, 5)
    table[1, 3:], table[2, 0], table[3, 1:] = math.nan, math.nan, math.nan
    known = np.argwhere(np.isfinite(table))
    design = np.hstack([np.eye(4)[known[:, 0]], np.eye(5)[known[:, 1]]])
    found = of_pair(table)
    assert found.own + found.others == len(known) - np.linalg.matrix_rank(design)


def test_order_shifts_and_units_change_nothing() -> None:
    table = drawn(5, 3)
    found = of_pair(table)
    shuffled = [table[k][[2, 0, 1]] for k in (3, 0, 4, 1, 2)]
    again = seed_variance((table[0] - table[1])[[2, 0, 1]], (shuffled[1], shuffled[3]), shuffled)
    assert tuple(again) == pytest.approx(tuple(found))
    assert tuple(of_pair(table[::-1], 4, 3)) == pytest.approx(tuple(found))  # the second minus the first
    moved = of_pair(7 * (table + np.arange(3) + np.arange(5)[:, None]))
    assert tuple(moved) == pytest.approx((49 * found.variance, *found[1:]))


def test_a_copy_tells_nothing_new_and_differs_by_nothing() -> None:
    table = drawn(3, 3)
    copied = np.vstack([table, table[1]])
    assert of_pair(copied) == of_pair(table)
    assert of_pair(copied, 1, 3).variance == 0
    assert of_pair(copied[[0, 1, 3]]) == of_pair(table[:2])


def test_a_method_without_seeds_or_with_one_tells_nothing_new() -> None:
    table = drawn(3, 4)
    lost = np.vstack([table, np.full((2, 4), math.nan)])
    lost[4, 2] = 5.0
    assert tuple(of_pair(lost)) == pytest.approx(tuple(of_pair(table)))
    # One that has diverged on a seed tells what its other seeds do.
    partly = np.vstack([table, table[0] ** 2])
    partly[3, 1] = math.nan
    assert of_pair(partly).others == of_pair(table).others + 2


def test_a_seed_variance_that_is_zero_by_chance_is_not_taken_for_none() -> None:
    table = drawn(3, 3)
    table[1] = table[0] - 1
    assert own_variance(table[0] - table[1]).variance < 1e-30
    assert of_pair(table).variance > 0.01


def test_a_method_that_scatters_far_more_lends_little_and_borrows_little() -> None:
    table = drawn(4, 3)
    table[3] *= 1000
    among, gap = of_pair(table, 0, 3), table[0] - table[3]
    assert among.variance == pytest.approx(gap.var(ddof=1), rel=0.01)
    assert among.freedom() < of_pair(drawn(4, 3), 0, 3).freedom()


SHARES = {
    ("lora", 1e-3): (0.0, 0.09, 0.0), ("olora", 1e-3): (0.64, 0.45, 0.62), ("pissa", 1e-3): (0.69, 0.50, 0.62),
    ("lora", 3e-3): (0.61, 0.58, 0.66), ("olora", 3e-3): (0.80, 0.72, 0.86),
}  # fmt: skip
"""Right answers of the default race at step 15, by start, rate and seed."""


def raced(shares: dict[tuple[str, float], tuple[float, ...]]) -> tuple[list[Lane], Examples]:
    """Lanes of three seeds with these shares of 64 right answers, and losses to match."""
    lanes = [Lane(init, lr=lr, seed=seed) for init, lr in shares for seed in range(3)]
    rows = [np.random.default_rng([seed]).permutation(64) for seed in range(len(lanes))]
    right = np.array([row < 64 * share for row, share in zip(rows, sum(shares.values(), ()), strict=True)], float)
    unknown = np.full(len(lanes), math.nan)
    return lanes, Examples(2 - right + 0.1 * np.random.default_rng(0).random(right.shape), right, unknown, unknown)


def test_a_race_sees_what_everybody_sees() -> None:
    """57% against 3%, three seeds each: by Student's t of this pair alone and Holm's method it is not told."""
    (found,) = contests_of(*raced({key: SHARES[key] for key in SHARES if key[1] == 1e-3}), by_loss=False, most=1)
    at = found.places
    assert found.pairs[at["olora"], at["lora"]].verdict == found.pairs[at["pissa"], at["lora"]].verdict == AHEAD
    assert found.pairs[at["pissa"], at["olora"]].verdict == UNDECIDED


def test_at_a_shared_rate_the_other_starts_there_tell_how_far_seeds_scatter() -> None:
    def at_one_rate(*starts: str) -> Comparison:
        lanes, examples = raced({key: shares for key, shares in SHARES.items() if key[0] in starts})
        (found,) = contests_of(lanes, examples, by_loss=False, most=1)
        shared = next(each for each in found.shared if each.contenders[0].lane.lr == 1e-3)
        assert shared.names == ("OLoRA", "LoRA")
        return shared.pairs[0, 1]

    of_three, of_two = at_one_rate("lora", "olora", "pissa"), at_one_rate("lora", "olora")
    assert of_three.seeds == of_two.seeds == 3
    assert of_three.high - of_three.low < of_two.high - of_two.low
    assert of_three.verdict == AHEAD
