"""A batch whose pass would not fit into memory is computed in parts, or refused by numbers."""

from functools import partial

import numpy as np
import pytest
from support.queued import asked, wait
from support.races import small
from support.verbs import run

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.memory import Footprint
from olora_viz.machine import memory
from olora_viz.races import data as kept
from olora_viz.races import run as runs
from olora_viz.races.race import race
from olora_viz.races.start import ROWS_JUDGED
from olora_viz.views.race import race_view
from olora_viz.web.jobs.queue import Jobs

KINDS = (
    Lane("lora", r=2, lr=3e-3, dropout=0.3),
    Lane("olora", r=3, rslora=True, lora_plus=4.0),
    Lane("mica", r=2, seed=1),
    Lane("lora_ga", r=2, seed=1, weight_decay=0.1),
)
config = partial(small, lanes=KINDS, task="text", batch_size=16, max_length=96, steps=2, dtype="float64")


@pytest.fixture
def tight(monkeypatch):
    """A machine where a pass may take about half of what a batch of eight needs."""
    monkeypatch.setenv(memory.LIMIT, "60")


def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_result(tight, monkeypatch):
    its = config(batch_size=8)
    in_parts = race(its)
    count = in_parts.config.accumulate
    assert count > 1
    together = list(in_parts)
    monkeypatch.delenv(memory.LIMIT)
    whole = race(its)
    assert (whole.config, whole.in_parts) == (its, "")
    for step, other in zip(together, whole, strict=True):
        np.testing.assert_allclose(step.loss, other.loss, rtol=1e-12)
        np.testing.assert_allclose(step.grad_norm, other.grad_norm, rtol=1e-9)
    its, other = in_parts.lanes.theta.grad, whole.lanes.theta.grad
    np.testing.assert_allclose(its.numpy(), other.numpy(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(in_parts.state.last_eval.loss, whole.state.last_eval.loss, 1e-12)
    said = in_parts.summary()["in_parts"]
    assert said.startswith(f"each batch of 8 prompts is computed in {count} parts, so that")


def test_a_small_batch_is_evaluated_in_larger_passes_that_take_no_more_memory():
    racing = race(small(batch_size=2, eval_size=24, dtype="float64"))
    data, cost = racing.data, Footprint.of(racing.lanes.plan, branching=racing.data.branching)
    assert 2 < data.judged_rows <= ROWS_JUDGED
    assert cost.evaluation.bytes(data.judged_size) <= cost.training.bytes(data.trained_with(2))
    together = racing._trainer.evaluate(racing.go_on)
    data.judged_rows = 2
    np.testing.assert_allclose(together.loss, racing._trainer.evaluate(racing.go_on).loss, rtol=1e-12)
    assert race(small(batch_size=4, accumulate=2)).data.judged_rows == 2


def test_a_run_goes_on_in_the_parts_that_it_began_with(tight, monkeypatch, tmp_path):
    its = config(lanes=KINDS[::3], batch_size=8)
    begun = runs.start(its, tmp_path / "run")
    steps = iter(begun)
    first = next(steps)
    steps.close()
    monkeypatch.delenv(memory.LIMIT)
    again = runs.resume_run(tmp_path / "run")
    assert again.race.config.accumulate == begun.race.config.accumulate > 1
    assert again.race.in_parts == begun.race.in_parts
    rest = list(again)
    monkeypatch.setenv(memory.LIMIT, "60")
    assert [first, *rest] == list(race(its))
    monkeypatch.setenv(memory.LIMIT, "1")  # neither are the parts of a run made smaller
    assert runs.restored(tmp_path / "run").config == begun.race.config


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setenv(memory.LIMIT, "9")
    said = []
    words = (
        r"^a pass of one lane over one prompt of \d+ tokens needs \d+ MB of memory, but a pass may "
        r"take 10 MB here: up to \d+ tokens would fit$"
    )
    with pytest.raises(ValueError, match=words):
        race(config(), progress=lambda _, text: said.append(text))
    assert "reading the first batches" not in said
    assert "starting adapters" not in said


def test_what_is_not_free_at_the_moment_is_refused_with_what_would_fit(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda _: 9 * 10**7)
    with pytest.raises(
        ValueError, match=r"over 16 prompts of up to \d+ tokens needs 2\d\d MB .* only \d+ MB are free: \d "
    ):
        race(config())


def test_the_command_line_says_in_how_many_parts(monkeypatch):
    monkeypatch.setenv(memory.LIMIT, "30")
    done = run(
        "race", "--task", "text", "--max-length", "96", "--steps", "1", "--lane", "lora:r=2",
        "--eval-size", "4", "--test-size", "4",
    )  # fmt: skip
    assert "each batch of 16 prompts is computed in" in done.stdout + done.stderr


@pytest.mark.parametrize("asked", [{"curvature_every": 1}, {"lanes": (Lane("olora", fair=True),)}])
def test_a_curvature_that_does_not_fit_is_refused_before_the_lanes_start(monkeypatch, asked):
    monkeypatch.setenv(memory.LIMIT, "140")
    said = []
    with pytest.raises(ValueError, match=r"curvature .* of 16 prompts .*: \d prompts per step"):
        race(config(**asked), progress=lambda _, text: said.append(text))
    assert "starting adapters" not in said


def test_a_page_is_told_of_the_parts_or_of_what_would_fit(monkeypatch, tmp_path):
    loaded = []
    load = kept.load_model
    monkeypatch.setattr(kept, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k))
    jobs = Jobs(folder=tmp_path / "jobs")
    try:
        monkeypatch.setenv(memory.LIMIT, "3")
        told = race_view(wait(jobs.start(asked(batch=16, steps=1))).record()).results
        assert "Each batch of 16 prompts is computed in 4 parts" in str(told)
        monkeypatch.setenv(memory.LIMIT, "1")
        refused = wait(jobs.start(asked(task="text", batch=64, steps=1)))
        assert refused.state == "failed"
        assert "one prompt of" in refused.note
        assert "may take 2 MB here: up to" in refused.note
        assert len(loaded) == 1, "the model of the first race serves the second"
    finally:
        jobs.close()
