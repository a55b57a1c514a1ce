"""The claim that starts are level at best rates, and the slope on which its second part rests."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.planted_claims import INITS_OF_LEVEL, STUDY_OF_LEVEL, judged_level
from support.planted_losses import mean, study

from olora_viz.races.race import race
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.claims.level_at_best import slope_by_orders
from olora_viz.studies.study import Study, Trial
from olora_viz.tasks import losses


@pytest.mark.parametrize(
    ("power", "worse", "verdict"),
    [(-0.5, 0.0, "holds"), (-0.5, 0.5, "mixed"), (0.5, 0.5, "mixed"), (0.5, 0.0, "mixed")],
)
def test_both_parts_are_found(power: float, worse: float, verdict: str) -> None:
    found = judged_level(power, worse)
    assert found.verdict == verdict
    assert mean(found, "exponent_of_lambda_max") == pytest.approx(power, abs=0.05)
    assert found.numbers["methods"] == 5
    assert found.numbers["lambda_max_olora"] == pytest.approx(100.0)
    assert found.numbers["worse"] == 2 * (worse > 0)


def test_fewer_than_five_methods_decide_no_trend() -> None:
    found = judged_level(-0.5, base=STUDY_OF_LEVEL.changed(compare=INITS_OF_LEVEL[:4]))
    assert found.verdict == "undecided"
    assert "fewer than five" in found.words


def test_a_method_whose_best_rate_lies_at_the_edge_is_left_out() -> None:
    found = judged_level(-3.0, base=STUDY_OF_LEVEL.changed(compare=("lora", "olora")))
    assert found.numbers["methods"] == 1
    assert "nan" not in found.words


@pytest.mark.parametrize("seed", range(3))
def test_the_p_value_of_a_slope_is_that_of_scipy_and_the_interval_inverts_it(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    x = drawn.normal(size=6)
    y = -2.0 * x + drawn.normal(0, 0.8, 6)
    found = slope_by_orders(x, y)
    assert found.mean == pytest.approx(np.polyfit(x, y, 1)[0])

    def p_value(b: float) -> float:
        def correlation(its: np.ndarray) -> float:
            return float(np.dot(its, y - b * x))

        its = stats.permutation_test((x,), correlation, permutation_type="pairings")
        return float(its.pvalue)

    assert found.p_value == pytest.approx(p_value(0.0))
    for end, inside in ((found.low, 1e-6), (found.high, -1e-6)):
        assert p_value(end + inside) > 0.05 >= p_value(end - inside)


def test_an_interval_over_orders_holds_the_truth_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        x = drawn.normal(size=5)
        its = slope_by_orders(x, 0.7 * x + drawn.standard_t(3, 5))
        hits += its.low <= 0.7 <= its.high
    assert hits / 300 >= 0.93


def test_few_points_and_ties_have_no_interval() -> None:
    for n in (2, 3, 4):
        its = slope_by_orders(np.arange(float(n)), -np.arange(float(n)))
        assert (its.mean, its.low, its.high) == (-1.0, -math.inf, math.inf)
        assert its.p_value > 0.05
    assert math.isnan(slope_by_orders(np.ones(5), np.arange(5.0)).mean)
    tied = slope_by_orders(np.array([0.0, 0.0, 0.0, 0.0, 1.0]), np.arange(5.0))
    orders = list(itertools.permutations([0.0, 0.0, 0.0, 0.0, 1.0]))
    above = sum(np.dot(one, np.arange(5.0)) >= 4.0 for one in orders)
    assert tied.p_value == pytest.approx(2 * above / len(orders))
    assert tied.low == -math.inf


def test_the_curvature_of_a_study_is_that_of_its_races_by_power_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olora_viz.studies.claims.evidence.SAMPLES", 1)
    base = Study().changed(race={"batch_size": 2}, across={"r": (2,)}, tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=3)
    (cell,) = base.cells()
    evidence = ClaimEvidence(study=study(lambda _: 1.0, base))
    found = evidence.sharpness[cell]
    racing = race(base.config([Trial(cell, "olora", 1e-3, 0)]))
    theta, batch = racing.lanes.theta, racing.batch(1)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = losses.lane_losses(racing.model, batch, 1).sum()
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        v = torch.randn(theta.shape, generator=torch.Generator().manual_seed(0))
        for _ in range(40):
            v = v / v.norm()
            (product,) = torch.autograd.grad(slope, theta, v, retain_graph=True)
            value, v = float((v * product).sum()), product
    racing.lanes.detach()
    assert found["olora"][0] == pytest.approx(value, rel=0.03)
