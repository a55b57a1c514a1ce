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

from olora_viz.background.record import RaceRecord, ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.races.race import Race, race
from olora_viz.races.step import Step, adapter_origins, with_best_results
from olora_viz.races.tables import race_json, steps_csv
from olora_viz.views.race import race_view
from olora_viz.web.parts.export import EXPORTS

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


FORGETS = (*LANES[:2], Lane("olora", lr=1e-2, r=2))
"""The last one forgets more with every evaluation, and learns more with most."""

LIMITED = config(lanes=FORGETS, steps=12, eval_every=2, keep_best=True, keep="auto")
"""Measured with every evaluation, so that the text loss of each lane's best one is known."""


@pytest.fixture(scope="module")
def of_text() -> tuple[Race, list[Step]]:
    running = race(LIMITED)
    return running, list(running)


def limits(of_text: tuple[Race, list[Step]]) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the base model's loss on the text, and the held-out and the text losses of the evaluations."""
    running, steps = of_text
    evaluated = [step for step in steps if step.eval_loss is not None]
    assert running.text is not None
    return running.text.loss, *(np.array([getattr(e, key) for e in evaluated]) for key in ("eval_loss", "text_loss"))


def test_what_is_forgotten_is_that_of_the_adapter_that_is_kept(of_text: tuple[Race, list[Step]]) -> None:
    running, steps = of_text
    _, losses, text = limits(of_text)
    best = losses.argmin(0)
    assert best[1] < 5
    lanes = list(running.summary()["lanes"].values())
    assert [lane["final_text_loss"] for lane in lanes] == [text[at, k] for k, at in enumerate(best)]
    measured = running._trainer.forgotten(running.go_on) if running.lanes else None
    assert measured is not None
    assert [lane["final_drift"] for lane in lanes] == pytest.approx(measured.drift, abs=1e-6)
    judged = with_best_results(running.config, steps, running.text, float(running.baseline.loss[0]))
    assert judged[-1].drift == pytest.approx(measured.drift, abs=1e-6)


@pytest.fixture(scope="module")
def within_limit(of_text: tuple[Race, list[Step]]) -> tuple[Race, list[Step], dict[int, torch.Tensor]]:
    """Race with a limit within which the last lane has three evaluations; return `theta` after each step as well."""
    base, _, text = limits(of_text)
    running, at = race(replace(LIMITED, forget=float(np.sort(text[:, 2] - base)[2]))), {}
    steps = []
    for step in running:
        steps.append(step)
        at[step.step] = running.snapshot()["theta"]
    return running, steps, at


def test_the_best_step_is_the_lowest_loss_among_evaluations_within_the_limit(
    of_text: tuple[Race, list[Step]], within_limit: tuple[Race, list[Step], dict[int, torch.Tensor]]
) -> None:
    base, losses, text = limits(of_text)
    running, steps, at = within_limit
    limit = running.config.forget
    assert limit is not None
    assert steps == of_text[1]  # the training and all measurements are as without it
    start_loss = float(running.baseline.loss[0])
    within = np.where(text - base <= limit, losses, np.inf)
    expected = np.where(within.min(0) < start_loss, 2 * (1 + within.argmin(0)), 0).tolist()
    assert expected[1] == 0  # at a rate of 0.1 nothing stays within it
    assert 0 < expected[2] < 2 * (1 + losses.argmin(0)[2])
    origins = adapter_origins(running.config, steps, running.text, start_loss)
    lanes = list(running.summary()["lanes"].values())
    assert [origin.step for origin in origins] == expected
    assert [lane["best_step"] for lane in lanes] == [lane["adapter_step"] for lane in lanes] == expected
    fresh = race(running.config)
    for k, step in enumerate(expected):
        theta = at[step][k] if step else fresh.lanes.theta[k]
        assert torch.equal(running.lanes.theta[k], theta)
    assert lanes[1]["final_drift"] == 0.0
    assert lanes[1]["final_text_loss"] == base
    judged = with_best_results(running.config, steps, running.text, start_loss)
    assert judged[-1].eval_loss[1] == pytest.approx(start_loss)
    assert np.isnan(judged[-1].eval_examples.loss[1]).all()


def test_an_export_says_which_adapter_is_kept_and_what_that_one_forgot(
    within_limit: tuple[Race, list[Step], dict[int, torch.Tensor]],
) -> None:
    running, steps, _ = within_limit
    record = replace(RaceRecord.of(running), steps=tuple(steps), state="finished")
    table = list(csv.DictReader(io.StringIO(str(EXPORTS["csv"].make(record)), newline="")))
    told = json.loads(str(EXPORTS["json"].make(record)))["summary"]
    summary = running.summary()
    assert told["base"]["text_loss"] == summary["base"]["text_loss"]
    names = {"adapter_step": "best_step", "adapter_text_loss": "final_text_loss", "adapter_drift": "final_drift"}
    for label, lane in summary["lanes"].items():
        expected = {name: lane[of_summary] for name, of_summary in names.items()}
        assert {name: told["lanes"][label][name] for name in names} == expected
        rows = [{name: float(row[name]) for name in names} for row in table if row["lane"] == label]
        assert rows == [expected] * len(steps)
    free = EXPORTS["csv"].make(replace(record, config=replace(running.config, forget=None)))
    assert free != EXPORTS["csv"].make(record)


def test_an_early_stop_waits_for_a_lower_loss_within_the_limit_and_a_resumed_race_repeats_it() -> None:
    limited = replace(LIMITED, patience=2, forget=0.0)
    running = race(limited)
    steps = list(running)
    lanes = list(running.summary()["lanes"].values())
    assert lanes[1]["stopped_at"] == 4  # two evaluations after the start, which stays its best
    assert lanes[1]["best_step"] == 0
    first, second = race(limited), race(limited)
    for _ in range(3):
        next(first)
    second.restore(first.snapshot())
    assert list(second) == steps[3:]
    assert torch.equal(second.lanes.theta, running.lanes.theta)
    again = second.summary()["lanes"]
    assert again == running.summary()["lanes"]
