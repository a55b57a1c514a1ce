"""The claim that orthonormality regularizes: gaps at equal training loss, and B over a race."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from support.planted_claims import KEPT, curve
from support.planted_losses import gaining, mean, study
from support.steps import a_step

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.races.run import start
from olora_viz.studies.claims import regularizes
from olora_viz.studies.claims.claim import NOT_MEASURED
from olora_viz.studies.claims.evidence import ClaimEvidence, Drift
from olora_viz.studies.claims.regularizes import LossCurve, curves_of, losses_around
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts
from olora_viz.tasks.evaluation import HeldOut

LOST = Drift((0, 1, 20), np.array([[0.0] * 3, [0.1] * 3, [0.4, 0.41, 0.42]]))


@pytest.mark.parametrize(
    ("ours", "drift", "verdict"),
    [(0.2, KEPT, "holds"), (0.6, LOST, "fails"), (0.2, LOST, "mixed"), (0.4, KEPT, "mixed")],
)
def test_gaps_are_compared_at_equal_training_loss(ours: float, drift: Drift, verdict: str) -> None:
    found = study(gaining(0.3))
    known = {
        trial: curve(ours, 0.5, its) if trial.method == "olora" else curve(0.4, 0.3, its)
        for trial in found.rows
        for its in [trial.seed]
    }
    finding = regularizes.judge(found, known, drift)
    assert finding.verdict == verdict
    level = 2.0 * math.exp(-0.3 * 5)  # the slower method's last training loss
    assert finding.numbers["training_loss"] == pytest.approx(level)
    expected = (ours - 0.4) * (2.5 - level) / 2
    assert mean(finding, "gap_difference") == pytest.approx(expected, abs=0.02)


def test_runs_that_do_not_share_a_training_loss_are_not_compared() -> None:
    found = study(gaining(0.3))
    low, high = (LossCurve(np.array(x), np.array(x)) for x in ([0.2, 0.1], [2.0, 1.0]))
    known = {trial: low if trial.method == "olora" else high for trial in found.rows}
    finding = regularizes.judge(found, known, KEPT)
    assert finding.verdict == NOT_MEASURED
    assert "0.011 after 20 steps" in finding.words
    assert regularizes.judge(found, {}, KEPT).verdict == NOT_MEASURED


def test_the_validation_loss_is_interpolated_where_the_level_is_first_reached() -> None:
    one = LossCurve(np.array([3.0, 2.0, 2.5, 1.0]), np.array([4.0, 3.0, 3.2, 2.0]))
    assert regularizes.validation_at(2.25, one) == pytest.approx(3.25)
    assert regularizes.validation_at(1.0, one) == pytest.approx(2.0)
    assert regularizes.validation_at(3.0, one) == pytest.approx(4.0)
    assert math.isnan(regularizes.validation_at(0.5, one))
    assert math.isnan(regularizes.validation_at(3.5, one))
    point = LossCurve(np.array([3.0]), np.array([4.0]))
    assert regularizes.validation_at(3.0, point) == pytest.approx(4.0)
    assert math.isnan(regularizes.validation_at(3.5, point))


def test_drift_is_that_of_every_layers_gram_matrix() -> None:
    evidence = ClaimEvidence(rank=3, batch_size=2)
    found = evidence.drift
    lane = Lane("olora", lr=1e-3, r=3)
    config = RaceConfig(
        task=evidence.task, lanes=(lane,), steps=6, batch_size=2, eval_every=0, eval_size=1, batches="by-seed"
    )
    racing = race(config)
    for _ in range(5):
        next(racing)
    errors = []
    for name in racing.lanes.layers:
        B = racing.lanes.factors(name, 0).B.detach().double().numpy()
        errors.append(np.linalg.norm(B.T @ B - np.eye(3)) / math.sqrt(3))
    racing.lanes.detach()
    assert found.steps[2] == 5
    assert found.errors[2, 0] == pytest.approx(np.mean(errors), rel=1e-3)
    assert (found.errors[0] < 1e-5).all()
    assert (np.diff(found.errors, axis=0) > 0).all()


def test_curves_come_from_the_steps_around_evaluations_after_the_first_pass(tmp_path: Path) -> None:
    rows = [{"prompt": f"{a} and {b} make", "answer": str(a)} for a in range(6) for b in range(6)]
    task = tmp_path / "own.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = Study().changed(
        race={
            "task": str(task),
            "steps": 18,
            "eval_every": 4,
            "batch_size": 8,
            "eval_size": 2,
            "test_size": 2,
            "device": "cpu",
        },
        across={"r": (2,)},
        tune={"lr": (1e-3,)},
        seeds=1,
    )
    (cell,) = base.cells()
    trials = [Trial(cell, init, 1e-3, 0) for init in base.compare]
    run = tmp_path / "runs" / "0001"
    for _ in start(base.config(trials), run, adapters=False):
        pass
    found = Verdicts(base, (), {trial: {"run": "0001"} for trial in trials}, tmp_path)
    known = curves_of(found, trials)
    assert list(known) == trials
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    first, about = math.ceil(summary["examples"]["train"] / 8), summary["held_out"]
    at = [e for e in (4, 8, 12, 16) if e - 1 > first and e + 3 <= 18]
    assert 2 <= len(at) <= 3
    for trial, its in known.items():
        for n, e in enumerate(at):
            near = [lines[step - 1]["loss"][trial.method] for step in range(e - 1, e + 4)]
            assert its.training[n] == pytest.approx(np.mean(near))
            tokens = [about["deciding"], about["supervised"] - about["deciding"]]
            losses = [lines[e - 1]["eval_loss"], lines[e - 1]["eval_examples"]]
            of_all = np.average([losses[0][trial.method], losses[1][trial.method]["boilerplate_loss"]], weights=tokens)
            assert its.validation[n] == pytest.approx(of_all), "the end token is trained, and in both losses here"
        assert len(its.training) == len(at)


def test_a_run_within_its_first_pass_has_a_curve_without_points() -> None:
    steps = [a_step(n, [1.0, 2.0], eval_loss=[1.0, 2.0]) for n in range(1, 7)]
    training, validation = losses_around(steps, 6, HeldOut(2, None, "", 2, 2))
    assert training.shape == validation.shape == (0, 2)
