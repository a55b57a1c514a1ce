"""A lane's best adapter is kept, and a lane that gets no better stops; the others never notice."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.races import small as config

from olora_viz.background.record import ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.races.step import Step
from olora_viz.races.tables import race_json, steps_csv
from olora_viz.races.trainer import adapter_origins, with_best_results
from olora_viz.views.race import race_view

LANES = (Lane("lora", lr=1e-3, r=2), Lane("lora", lr=0.1, r=2, seed=1), Lane("olora", lr=3e-3, r=2))
"""The second one is soon at its best."""

BOTH = config(lanes=LANES, steps=12, eval_every=2, keep_best=True, patience=2)


BEFORE = config(lanes=LANES, steps=12, eval_every=2)


@pytest.fixture(scope="module")
def plain() -> list[Step]:
    return list(race(BEFORE))


def test_the_best_adapter_is_kept_and_training_is_bitwise_the_same(plain: list[Step]) -> None:
    running = race(config(lanes=LANES, steps=12, eval_every=2, keep_best=True))
    at, steps = {}, []
    for step in running:
        steps.append(step)
        at[step.step] = running.snapshot()["theta"]
    assert steps == plain
    kept = adapter_origins(running.config, steps)
    losses = np.array([step.eval_loss for step in steps if step.eval_loss is not None])
    assert [one.step for one in kept] == [2 * (1 + int(k)) for k in losses.argmin(0)]
    assert kept[1].step < 12
    for k, one in enumerate(kept):
        assert torch.equal(running.lanes.theta[k], at[one.step][k])
        assert running.summary()["lanes"][running.lanes.labels[k]]["best_loss"] == one.loss
    judged = with_best_results(running.config, steps)
    its = judged[-1].measures
    assert np.array_equal(its["eval_loss"], losses.min(0))
    assert its["eval_examples"].loss.mean(1) == pytest.approx(losses.min(0), rel=1e-4)
    assert judged[:-1] == steps[:-1]
    assert with_best_results(BEFORE, steps) is steps
    view = race_view(replace(ready_race(running.config), steps=tuple(steps), state="finished"))
    assert "Ranking at each lane&#39;s best evaluation" in view.results
    assert "flatters it" in view.verdict
    # What can be resumed is the training, not the kept adapters.
    assert torch.equal(running.snapshot()["theta"], at[12])


def test_a_lane_that_gets_no_better_stops_and_changes_no_other(plain: list[Step]) -> None:
    running = race(config(lanes=LANES, steps=12, eval_every=2, patience=2))
    steps, at = [], {}
    for step in running:
        steps.append(step)
        at[step.step] = running.lanes.theta[1].detach().clone()
    assert [step.early.tolist() for step in steps[4:6]] == [[False] * 3, [False, True, False]]
    assert torch.equal(at[6], at[12])
    assert not torch.equal(at[5], at[6])
    for ours, before in zip(steps, plain, strict=True):
        for key in ("loss", "grad_norm", "eval_loss"):
            if before.measures.get(key) is not None:
                np.testing.assert_array_equal(ours.measures[key][[0, 2]], before.measures[key][[0, 2]])
    lanes = running.summary()["lanes"]
    (early,) = [lane for lane in lanes.values() if lane["status"] == "stopped early"]
    assert early["adapter_step"] == early["stopped_at"] == early["best_step"] + 4
    labels = running.config.labels
    assert [Step.from_json(step.to_json(labels), labels).status for step in steps] == [step.status for step in steps]


def test_a_race_whose_lanes_have_all_stopped_has_finished() -> None:
    lanes = (Lane("lora", lr=0.3, r=2), Lane("lora", lr=0.3, r=2, seed=1))
    running = race(config(lanes=lanes, steps=60, eval_every=1, patience=1))
    steps = list(running)
    assert len(steps) < 60
    assert running.status == "finished"
    assert all(status == "stopped early" for status in steps[-1].status)


def test_a_run_goes_on_bitwise_and_says_which_step_an_adapter_is_from(tmp_path: Path) -> None:
    whole = race(BOTH)
    steps = list(whole)
    begun = runs.start(BOTH, tmp_path / "run")
    for step in begun:
        if step.step == 7:
            begun.race.close()
    again = runs.resume_run(tmp_path / "run")
    assert [step for step in again] == steps[7:]
    assert torch.equal(again.race.lanes.theta, whole.lanes.theta)
    restored = runs.restored(tmp_path / "run")
    assert torch.equal(restored.lanes.theta, whole.lanes.theta)

    kept, labels = adapter_origins(BOTH, steps), BOTH.labels
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    told = json.loads(race_json(BOTH, steps))["summary"]["lanes"]
    table = list(csv.DictReader(io.StringIO(steps_csv(labels, steps, BOTH))))
    for label, one in zip(labels, kept, strict=True):
        readme = (tmp_path / "run" / "adapters" / label / "README.md").read_text()
        assert f"The adapter is that of step {one.step} of 12" in readme
        assert summary["lanes"][label]["adapter_step"] == one.step
        assert told[label]["adapter_step"] == one.step
        assert {row["adapter_step"] for row in table if row["lane"] == label} == {str(one.step)}


def test_the_readme_of_an_adapter_says_where_its_numbers_are_of_an_earlier_step(tmp_path: Path) -> None:
    short = config(steps=12, eval_every=4)
    begun = runs.start(short, tmp_path / "run")
    for step in begun:
        if step.step == 6:
            begun.race.close()
    readme = tmp_path / "run" / "adapters" / short.labels[0] / "README.md"
    assert "The adapter is that of step 6 of 12" in readme.read_text()
    assert "| base model | at step 4, the last evaluation |" in readme.read_text()
    for _ in runs.resume_run(tmp_path / "run"):
        pass
    assert "| base model | with the adapter |" in readme.read_text()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"keep_best": 1}, "keep_best must be True or False, not 1"),
        ({"patience": -1}, "patience must be a whole number from 0"),
    ],
)
def test_other_values_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(lanes=LANES, **wrong)
