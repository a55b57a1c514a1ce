"""A sweep's curves hold the run's losses, and steps to a loss are those that hand algebra gives."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.steps import a_step, judged
from support.sweeps import NAN, RATES, steps_of, sweep

from olora_viz.lanes.lane import Lane
from olora_viz.studies.statistics import first_at
from olora_viz.studies.story import describe_rates, describe_reach, is_sweep, rate_curves, steps_to_reach


def test_a_race_is_a_sweep_where_lanes_of_one_start_differ_in_rate_or_seed() -> None:
    assert is_sweep([Lane("lora"), Lane("lora", seed=1)])
    assert is_sweep([Lane("lora"), Lane("olora"), Lane("olora", lr=2e-3)])
    assert not is_sweep([Lane("lora"), Lane("olora", lr=2e-3), Lane("pissa", seed=4)])
    assert not is_sweep([Lane("lora", r=2), Lane("lora", r=4, lr=2e-3)])


@settings(deadline=None)
@given(st.permutations(range(12)), st.integers(0, 2**32 - 1))
def test_every_lane_is_on_the_curve_of_its_start_at_its_rate_and_the_optimum_is_the_lowest_mean(
    order: list[int], seed: int
) -> None:
    lanes = [sweep()[k] for k in order]
    held = np.random.default_rng(seed).uniform(0.1, 5, (3, 12))
    curves = rate_curves(lanes, steps_of(held))
    places = [k for curve in curves for point in curve.points for k in point.lanes]
    assert sorted(places) == list(range(12))
    for curve in curves:
        assert [point.lr for point in curve.points] == list(RATES)
        for point in curve.points:
            assert {lanes[k].init for k in point.lanes} == {curve.lane.init}
            assert {lanes[k].lr for k in point.lanes} == {point.lr}
            assert point.mean == pytest.approx(held[-1, list(point.lanes)].mean())
        assert curve.optimum is not None
        assert curve.optimum.mean == min(point.mean for point in curve.points)


def test_the_best_loss_is_the_lowest_of_a_lane_and_the_final_one_is_its_last() -> None:
    lanes = [Lane("lora"), Lane("lora", seed=1)]
    steps = steps_of([[2.0, 3.0], [1.0, 4.0], [1.5, 5.0]])
    (final,), (best,) = (rate_curves(lanes, steps, measure) for measure in ("final", "best"))
    assert final.points[0].losses == (1.5, 5.0)
    assert best.points[0].losses == (1.0, 3.0)


@pytest.mark.parametrize("measure", ["final", "best"])
def test_a_rate_that_lost_a_seed_has_no_mean_and_is_never_the_optimum_but_stays(measure: str) -> None:
    lanes = sweep(["olora"])
    steps = steps_of([[1, 1, 1, 0.1, 1, 1], [0.9, 0.9, 0.01, NAN, 0.5, 0.7]])
    (curve,) = rate_curves(lanes, steps, measure)
    assert [point.diverged for point in curve.points] == [0, 1, 0]
    assert math.isnan(curve.points[1].mean)
    assert curve.points[1].known == (0.01,)
    assert curve.optimum == curve.points[2]
    assert "Diverged: OLoRA at 3e-3." in " ".join(map(str, describe_rates(lanes, steps)))


def test_lanes_of_another_rank_make_a_curve_of_their_own() -> None:
    lanes = [Lane("lora", r=r, lr=lr) for r in (2, 8) for lr in RATES]
    curves = rate_curves(lanes, steps_of([[1.0] * 6]))
    assert [curve.label for curve in curves] == ["LoRA r 2", "LoRA r 8"]


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 9), min_size=2, max_size=9), st.floats(0.01, 9))
def test_a_loss_is_reached_where_the_straight_line_between_evaluations_first_meets_it(
    losses: list[float], target: float
) -> None:
    at = [10 * n for n in range(len(losses))]
    found = first_at(target, at, losses)
    if found is None:
        assert min(losses) > target
        return
    assert np.interp(found, at, losses) == pytest.approx(target) or found == 0
    earlier = [loss for step, loss in zip(at, losses, strict=True) if step < found]
    assert all(loss > target for loss in earlier)


def test_steps_to_reach_lora_are_those_of_hand_algebra_and_never_where_it_is_not_reached() -> None:
    lanes = [Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora"), Lane("pissa")]
    steps = steps_of([[4, 3, 2, 4], [3, 2, 0.5, 3.5], [2.5, 1, 0.4, 3]])
    lora, olora, pissa = steps_to_reach(lanes, steps)
    assert {reach.target for reach in (lora, olora, pissa)} == {1.0}
    assert (lora.lr, lora.steps) == (3e-3, 30.0)
    assert olora.steps == pytest.approx(10 + 10 * (2 - 1) / (2 - 0.5))
    assert pissa.steps is None
    assert pissa.closest == 3.0
    assert describe_reach(pissa) == ("1e-3", "never", "reached 3.00")


def test_the_start_counts_as_an_evaluation_at_step_0() -> None:
    lanes = [Lane("lora"), Lane("olora")]
    first = a_step(1, np.ones(2))
    steps = [first, *steps_of([[3.0, 1.0]])]
    _, olora = steps_to_reach(lanes, steps, start_loss=5.0)
    assert olora.steps == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("last", "row"),
    [
        ([1, 1, 1], ("17", "17, range of 3 seeds")),
        ([1, 1.5, 1.5], ("18", "17 to 18, range of 3 seeds")),
        ([1, 1.5, 2.5], ("18", "17 to never, range of 3 seeds")),
        ([1, 2.5, 2.5], ("never", "17 to never, range of 3 seeds")),
        ([2.5, 2.5, 2.5], ("never", "reached 2.50")),
    ],
)
def test_the_steps_of_several_seeds_are_those_of_the_median_one_and_lie_in_their_range(
    last: list[float], row: tuple[str, str]
) -> None:
    lanes = [Lane(init, seed=seed) for init in ("lora", "olora") for seed in range(3)]
    steps = steps_of([[4] * 6, [2, 2, 2, *last]])
    _, olora = steps_to_reach(lanes, steps)
    assert describe_reach(olora)[1:] == row


@pytest.mark.parametrize("seeds", [1, 3, 7])
def test_clones_of_the_reference_tie_with_it_and_it_arrives_itself(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    inits = ("lora", "olora", "pissa", "milora", "sketch", "orthogonal", "gaussian", "eva")
    lanes = [Lane(init, lr=lr, seed=s) for init in inits for lr in RATES for s in range(seeds)]
    falling = np.sort(rng.uniform(0.1, 4.0, (9, len(RATES) * seeds)), axis=0)[::-1]
    lora, *clones = steps_to_reach(lanes, steps_of(np.tile(falling, len(inits))), start_loss=5.0)
    assert lora.steps is not None
    assert len(clones) == 7
    for clone in clones:
        assert (clone.lr, clone.steps, clone.each) == (lora.lr, lora.steps, lora.each)
        assert describe_reach(clone) == describe_reach(lora)


def test_a_seed_is_compared_with_the_reference_of_its_own_seed_and_left_out_without_one() -> None:
    lanes = [Lane("lora", seed=0), Lane("lora", seed=1), *(Lane("olora", seed=s) for s in range(3))]
    lora, olora = steps_to_reach(lanes, steps_of([[4, 4, 4, 4, 4], [1, 3, 1, 3, 2]]))
    assert (lora.each, olora.each) == ((20.0, 20.0), (20.0, 20.0))
    # Against the mean over the seeds the second one would never have arrived.
    assert lora.target == 2.0


def test_without_plain_lora_in_its_setting_a_start_has_nothing_to_reach() -> None:
    assert steps_to_reach([Lane("pissa"), Lane("olora")], steps_of([[1, 1]])) == ()
    lanes = [Lane("lora", r=2), Lane("olora", r=2), Lane("olora", r=8)]
    reached = steps_to_reach(lanes, steps_of([[1, 1, 1]]))
    assert [reach.curve.label for reach in reached] == ["LoRA r 2", "OLoRA r 2"]


def test_words_on_rates_rest_on_the_examples_and_warn_of_an_edge() -> None:
    lanes = sweep()
    rng = np.random.default_rng(0)
    means = np.array([5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 2, 2]) / 4
    loss = means[:, None] + 0.01 * rng.normal(size=(12, 40))
    step = judged(steps_of([list(means)])[-1], loss)
    said = " ".join(map(str, describe_rates(lanes, [step], plain_text=True)))
    assert re.search(r"OLoRA \(3e-3\) is ahead of LoRA \(1e-2\): held-out loss 0\.25 against", said)
    assert "40 held-out examples, rates chosen on 20 and compared on the others; 2 seeds" in said
    assert "largest rate" not in said
    assert describe_rates(lanes, steps_of([list(means)])) == []
