"""Whole studies of methods that are equal name a better one in at most 5 of 100; see also `simulated_studies.main`,
which prints the table of docs/VERDICTS.md."""

import numpy as np
import pytest
from scipy import stats
from support.simulated_studies import SIZES, WORLDS, Rates, World, few_seeds, simulate, study_of

from olora_viz.studies.decide import BEYOND_DOUBT, open_trials
from olora_viz.studies.statistics import UNDECIDED
from olora_viz.studies.verdicts import verdicts_of


def seldom(found: list[Rates]) -> bool:
    """Whether the false orders may come from a true rate of 5%; of twice that, seldom."""
    studies = sum(one.studies for one in found)
    wrong = round(sum(one.ordered * one.studies for one in found))
    return stats.binomtest(wrong, studies, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("name", ["flat", "flat, unequal", "steep", "steep, unequal"])
def test_equal_methods_are_seldom_ordered_and_intervals_hold_the_truth(name: str) -> None:
    found = [simulate(study_of(2, k), 60, n, m, **WORLDS[name]) for n, m, k in SIZES]
    assert seldom(found)
    assert np.mean([one.covered for one in found]) >= 0.93


def test_without_the_examples_equal_methods_are_often_ordered() -> None:
    """The rule that a study went by before: these worlds find a rule that is too bold."""
    one = simulate(study_of(2, 5), 60, 60, 55, **WORLDS["flat"])
    assert one.by_seeds > 0.15 > one.ordered


@pytest.mark.parametrize("name", ["flat, unequal", "steep"])
def test_of_eight_equal_methods_one_is_seldom_ordered(name: str) -> None:
    found = simulate(study_of(8, 5), 20, 60, 55, **WORLDS[name])
    assert seldom([found])
    assert found.covered >= 0.9


@pytest.mark.parametrize("name", ["steep, unequal reference", "flat, diverging"])
def test_seeds_that_others_lend_make_no_order_among_equals(name: str) -> None:
    found = simulate(study_of(5, 3), 160, 300, 300, **WORLDS[name])
    assert seldom([found])
    assert found.covered >= 0.92


def test_where_runs_diverge_orders_are_right_about_the_rates_that_every_seed_finishes() -> None:
    """Equal methods are ordered more often there: one whose best rate has a diverged run takes a worse one."""
    found = simulate(study_of(2, 5), 150, 60, 55, **WORLDS["steep, diverging"])
    assert found.ordered > 2 * found.turned
    assert stats.binomtest(round(150 * found.turned), 150, 0.05, alternative="greater").pvalue > 0.01
    assert found.covered >= 0.92


@pytest.mark.parametrize(("methods", "seeds", "times"), [(3, 3, 1.5), (5, 3, 3)])
def test_few_seeds_find_more_where_methods_lend_each_other_theirs(methods: int, seeds: int, times: float) -> None:
    one = few_seeds(methods, seeds, 0.5, 200)
    own, moderated = one.found
    assert moderated > times * own
    assert stats.binomtest(round(200 * one.ordered[1]), 200, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("name", ["flat", "steep"])
def test_a_difference_of_a_fifth_of_a_nat_is_found(name: str) -> None:
    found = simulate(study_of(2, 5), 40, 128, 128, gap=0.2, **WORLDS[name])
    assert found.found >= 0.8
    assert found.found == found.ordered  # and never in the wrong order


@pytest.mark.parametrize("name", ["flat, unequal", "steep"])
def test_time_that_is_left_makes_no_order_among_equals(name: str) -> None:
    study = study_of(2, 3, coarse=1)
    assert seldom([simulate(study, 60, 128, 128, rounds=4, **WORLDS[name])])


def test_more_races_settle_what_they_can_and_end_when_it_is_settled() -> None:
    study, random, settled = study_of(2, 3, coarse=1), np.random.default_rng(0), 0
    for _ in range(20):
        world = World(random, 2, 128, 128, gap=0.2, **WORLDS["flat"])
        found = world.study(study)
        before = found.each[1].verdict
        for _ in range(12):
            trials = open_trials(found)
            if not trials:
                break
            assert not any(trial in world.rows for trial in trials)
            for trial in trials:
                world.run_trial(trial)
            found = verdicts_of(study, world.rows)
        one = found.each[1]
        settled += before == UNDECIDED != one.verdict
        if one.seeds > study.seeds and not open_trials(found) and one.verdict == "worse":
            assert one.p_value < BEYOND_DOUBT
    assert settled
