"""Claims on what lanes learn from: the verdicts on studies in which what moves and what is forgotten is planted."""

import math
from pathlib import Path

import numpy as np
import pytest
from support.planted_claims import JUDGES, OBJECTIVES, RANKS, REWARDED, comparing, planted_choices, planted_objectives
from support.planted_losses import mean, study

from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.studies.claims import forgetting_by_kl, moves_further
from olora_viz.studies.claims.claim import NOT_MEASURED
from olora_viz.studies.claims.forgetting_by_kl import fitted, in_common
from olora_viz.studies.folder import verdicts
from olora_viz.studies.objectives import MOVED, SAMPLED, TASK_DRIFT, of_objectives
from olora_viz.studies.run import run_study
from olora_viz.studies.study import Study


@pytest.mark.parametrize(
    ("times", "verdict"), [(300.0, "holds"), (100.0, "undecided"), (3.0, "fails"), (0.5, "fails")]
)
def test_how_far_imitation_moves_the_weights_decides(times: float, verdict: str) -> None:
    finding = moves_further.judge(planted_objectives(times=times))
    assert finding.verdict == verdict, finding.words
    assert mean(finding, "times_olora") == pytest.approx(times, rel=0.02)


def test_runs_that_are_not_right_enough_are_not_compared() -> None:
    assert moves_further.judge(planted_objectives(right=0.96)).verdict == "fails"
    finding = moves_further.judge(planted_objectives(right=0.94))
    assert finding.verdict == NOT_MEASURED
    assert "19 of 20 test answers" in finding.words


@pytest.mark.parametrize(
    ("forgets", "verdict"),
    [({}, "holds"), ({"dpo": 0.1}, "holds"), ({"dpo": 0.5}, "fails"), ({"reinforce": -0.5}, "fails")],
)
def test_forgetting_is_a_function_of_the_kl_if_no_objective_is_off_the_curve(
    forgets: dict[str, float], verdict: str
) -> None:
    finding = forgetting_by_kl.judge(planted_objectives(forgets=forgets))
    assert finding.verdict == verdict, finding.words
    for objective in ("dpo", "reinforce"):
        assert math.log(mean(finding, f"times_{objective}")) == pytest.approx(forgets.get(objective, 0.0), abs=0.05)


def test_a_parabola_is_fitted_exactly_and_runs_outside_the_common_range_do_not_count() -> None:
    x = np.linspace(-2, 2, 9)[:, None] + np.array([0.0, 0.1])
    runs = {"imitation": np.stack([x, 1 + 2 * x - 0.3 * x**2], 1), "dpo": np.stack([x, 1.7 + 2 * x - 0.3 * x**2], 1)}
    moved, explained, curves = fitted(runs)
    np.testing.assert_allclose(moved, 0.7, atol=1e-12)
    np.testing.assert_allclose(curves, [[-0.3, 2, 1]] * 2, atol=1e-12)
    assert 0.9 < explained < 1
    assert fitted({"imitation": runs["imitation"], "dpo": runs["imitation"]})[1] == pytest.approx(1)
    further = runs["dpo"] + np.array([3.0, 0.0])[:, None]
    common = in_common({"imitation": runs["imitation"], "dpo": further})
    assert {name: len(each) for name, each in common.items()} == {"imitation": 3, "dpo": 3}


@pytest.mark.parametrize("name", ["rewards-order", "rewards-rank-one", "high-ranks-collapse"])
def test_a_study_without_rewards_says_nothing_of_them(name: str) -> None:
    judge, base = JUDGES[name]
    finding = judge(planted_choices(base.changed({"objective": "imitation"}), {}))
    assert finding.verdict == NOT_MEASURED
    assert "--objective reinforce" in finding.words


@pytest.mark.parametrize("judge", [moves_further.judge, forgetting_by_kl.judge])
@pytest.mark.parametrize("base", [REWARDED, RANKS, comparing("olora")])
def test_a_study_of_one_objective_compares_none(judge, base: Study) -> None:
    finding = judge(planted_choices(base, {}))
    assert finding.verdict == NOT_MEASURED
    assert "--across objective=" in finding.words


def test_without_a_text_to_keep_no_forgetting_is_judged() -> None:
    bare = study(lambda its: 1.0, OBJECTIVES.changed({"keep": "none"}))
    assert "no text to keep" in forgetting_by_kl.judge(bare).words


def test_what_a_study_of_objectives_measures_is_what_the_lanes_are() -> None:
    config = RaceConfig(task="bigger", steps=2, eval_size=6, test_size=5, objective="dpo", batch_size=2)
    racing = race(config)
    assert (racing.task_drift() < 1e-8).all()
    list(racing)
    measured = of_objectives(Study(race=config, across={"objective": ("dpo", "imitation")}), racing)
    assert list(measured) == [SAMPLED, MOVED, TASK_DRIFT]
    for k in range(len(config.lanes)):
        squares = (((racing.lanes.delta(layer, k)) ** 2).sum() for layer in racing.lanes.layers)
        assert measured[MOVED][k] == pytest.approx(math.sqrt(sum(map(float, squares))), rel=1e-4)
    assert (measured[TASK_DRIFT] > 1e-6).all()
    assert of_objectives(Study(race=config), racing) == {}


SMALL = {"task": "bigger", "steps": 2, "eval_every": 1, "eval_size": 6, "test_size": 5, "batch_size": 2}


@pytest.mark.parametrize(
    ("objective", "unit", "expected"),
    [
        ("imitation", "nats", lambda tested, p: tested.example_loss),
        ("dpo", "of the pairs", lambda tested, p: 1 - tested.example_right),
        ("reinforce", "of the reward", lambda tested, p: 1 - p),
    ],
)
def test_a_study_is_judged_by_what_its_lanes_learn_from(objective, unit, expected, tmp_path: Path) -> None:
    fixed = RaceConfig(**SMALL, objective=objective, samples=2, keep="none")
    base = Study(race=fixed, tune={"lr": (1e-3,)}, seeds=1)
    list(run_study(base, tmp_path / "study", most=2))
    rows = verdicts(tmp_path / "study")
    assert {each.unit for each in rows.each} == {unit}
    for trial, row in rows.rows.items():
        racing = race(base.config([trial]))
        list(racing)
        tested, evaluated = racing.tested(), racing.state.last_eval
        # Of one-token answers, by hand: each counts all of its loss.
        tokens = [len(each.ids) - each.supervised_from - racing.task.ends for each in racing.data.test]
        share = np.mean(tokens)
        by_hand = expected(tested.lanes, np.exp(-tested.lanes.example_loss * share))[0]
        np.testing.assert_allclose(row["test_loss_by_example"], by_hand, rtol=1e-4)
        assert row["test_loss"] == pytest.approx(np.mean(by_hand), rel=1e-4)
        assert row["test_accuracy"] == pytest.approx(tested.lanes.accuracy[0])
        assert len(row["valid_loss_by_example"]) == evaluated.example_loss.shape[1]
        assert row["valid_loss"] == pytest.approx(np.mean(row["valid_loss_by_example"]), rel=1e-4)
        assert row["valid_losses"][-1] == pytest.approx(row["valid_loss"], rel=1e-9)
