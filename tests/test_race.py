"""A race repeats bitwise, is fair to every lane, and trains as torch's own AdamW does."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from olora_viz import lane_groups, losses
from olora_viz.adapters import attach
from olora_viz.answers import greedy
from olora_viz.lane import Lane
from olora_viz.models import load_model, memory
from olora_viz.race import race
from olora_viz.race_config import RaceConfig
from olora_viz.step import Step
from olora_viz.tasks import batch_indices, collate, encode, load_task

FOUR = (
    Lane("lora", lr=3e-3, r=4),
    Lane("olora", lr=1e-3, r=4, alpha=8, weight_decay=0.1),
    Lane("pissa", lr=1e-3, r=2, clip=0.5),
    Lane("gaussian", lr=1e-2, r=6, seed=3),
)


def config(**changes) -> RaceConfig:
    values = {"lanes": FOUR, "steps": 8, "batch_size": 4, "eval_every": 4, "eval_size": 16}
    return RaceConfig(**{**values, **changes})


def test_the_same_config_gives_bitwise_the_same_steps():
    first, second = list(race(config())), list(race(config()))
    assert [step.step for step in first] == list(range(1, 9))
    assert first == second


def test_another_seed_gives_other_batches():
    first, second = next(race(config())), next(race(config(seed=1)))
    assert not np.array_equal(first.loss, second.loss)


@pytest.mark.parametrize("at", [1, 5])
def test_a_race_restored_from_its_state_goes_on_bitwise(at):
    whole = list(race(config()))
    running = race(config())
    for _ in range(at):
        next(running)
    later = race(config())
    later.restore(running.state())
    assert list(later) == whole[at:]
    assert later.summary()["lanes"] == _finished(config()).summary()["lanes"]


def _finished(set_up):
    running = race(set_up)
    list(running)
    return running


def test_a_step_measures_before_its_update_and_evaluates_after_it():
    steps = list(race(config(lanes=(FOUR[0], FOUR[1]), steps=5)))
    assert [s.eval_loss is not None for s in steps] == [False, False, False, True, True]
    assert steps[0].loss[0] == steps[0].loss[1]
    assert all(s.lr.tolist() == [3e-3, 1e-3] for s in steps)
    assert [s.tokens for s in steps] == sorted({s.tokens for s in steps})


def test_the_baseline_is_the_held_out_loss_of_the_base_model():
    running = race(config())
    at_start = losses.evaluate(
        running.model, running._held_out, running.lanes.count, pad_id=0, batch_size=4
    )
    np.testing.assert_array_equal(at_start.accuracy, np.repeat(running.baseline.accuracy, 4))
    np.testing.assert_allclose(at_start.loss, np.repeat(running.baseline.loss, 4), rtol=1e-6)


@pytest.mark.parametrize("k", range(4))
def test_each_lane_trains_as_torch_adamw_trains_it_alone(k):
    lane, set_up = FOUR[k], config(dtype="float64", schedule="cosine", warmup=2)
    running = race(set_up)
    steps = list(running)
    model, tokenizer = load_model("glassllm", dtype=torch.float64)
    alone = attach(model, [lane])
    # Every A and B is a parameter of its own here, as in any other program.
    optimizer = torch.optim.AdamW([alone.theta], lr=lane.lr, weight_decay=lane.weight_decay)
    task = load_task(set_up.task, set_up.seed)
    train = encode(task.train, tokenizer, context=128).kept
    for step in steps:
        chosen = batch_indices(len(train), 4, set_up.seed, step.step - 1)
        batch = collate([train[i] for i in chosen], 0)
        optimizer.zero_grad()
        logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.index]
        loss = torch.nn.functional.cross_entropy(logits, batch.targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([alone.theta], lane.clip or math.inf)
        optimizer.param_groups[0]["lr"] = float(step.lr[k])
        optimizer.step()
        np.testing.assert_allclose(step.loss[k], loss.item(), rtol=1e-9)
        np.testing.assert_allclose(step.grad_norm[k], norm.item(), rtol=1e-7)
    for name in alone.layers:
        mine, theirs = running.lanes.factors(name, k), alone.factors(name, 0)
        torch.testing.assert_close(mine.A, theirs.A, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(mine.B, theirs.B, rtol=1e-6, atol=1e-9)


def test_what_a_lane_does_is_bitwise_independent_of_the_others():
    other = (FOUR[0], Lane("milora", lr=0.5, r=6), *FOUR[2:])
    for a, b in zip(race(config()), race(config(lanes=other)), strict=True):
        for k in (0, 2, 3):
            assert a.loss[k] == b.loss[k]
            assert a.grad_norm[k] == b.grad_norm[k]


def test_a_lane_that_diverges_is_out_and_the_others_go_on_bitwise():
    wild = (FOUR[0], Lane("olora", lr=1e30, r=4), *FOUR[2:])
    running = race(config(lanes=wild))
    steps = list(running)
    gone = next(s.step for s in steps if s.status[1] == "diverged")
    assert 2 <= gone < 8
    assert running.lanes.theta[1].isfinite().all()
    for step, healthy in zip(steps, race(config()), strict=True):
        assert [step.loss[k] for k in (0, 2, 3)] == [healthy.loss[k] for k in (0, 2, 3)]
        assert math.isnan(step.loss[1]) == (step.step >= gone)
        if step.eval_loss is not None and step.step >= gone:
            assert math.isnan(step.eval_loss[1])
            assert np.isfinite(np.delete(step.eval_loss, 1)).all()
    summary = running.summary()
    label = running.lanes.labels[1]
    assert summary["status"] == "finished"
    assert summary["lanes"][label]["status"] == "diverged"
    assert summary["lanes"][label]["diverged_at"] == gone


def test_a_race_ends_where_every_lane_has_diverged():
    running = race(config(lanes=(Lane("olora", lr=1e30), Lane("pissa", lr=1e30)), steps=50))
    assert len(list(running)) < 50
    assert running.status == "diverged"


def test_a_closed_race_has_stopped_and_makes_no_further_step():
    running = race(config())
    next(running)
    next(running)
    running.close()
    assert list(running) == []
    assert running.status == "stopped"
    assert running.summary()["steps"] == 2


def test_a_race_that_pauses_goes_on_where_it_was():
    running, whole = race(config()), list(race(config()))
    first = [step for step, _ in zip(running, range(3), strict=False)]
    assert [step.step for step in first] == [1, 2, 3]
    assert list(running) == whole[4:]  # zip took one step more before it saw that range was over


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_learning_rate_rises_over_the_warm_up_and_then_follows_its_schedule(schedule):
    running = race(config(lanes=FOUR[:1], steps=6, warmup=2, schedule=schedule, eval_every=0))
    factors = np.array([step.lr[0] for step in running]) / 3e-3
    expected = {
        "constant": [0.5, 1, 1, 1, 1, 1],
        "linear": [0.5, 1, 1, 0.75, 0.5, 0.25],
        "cosine": [0.5, 1] + [0.5 + 0.5 * math.cos(math.pi * i / 4) for i in range(4)],
    }
    np.testing.assert_allclose(factors, expected[schedule])


def test_a_sweep_of_45_lanes_is_one_race():
    sweep = tuple(
        Lane(init, lr=lr, seed=seed, r=2)
        for init in ("lora", "olora", "sketch")
        for lr in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
        for seed in range(3)
    )
    step = next(race(config(lanes=sweep, steps=1)))
    assert step.loss.shape == step.grad_norm.shape == (45,)
    assert len(set(RaceConfig(lanes=sweep).labels)) == 45


@pytest.mark.parametrize("task", ["text", "addition"])
def test_answers_come_from_the_base_and_from_every_lane(task):
    running = race(config(task=task, steps=2))
    list(running)
    answers = running.answers(3)
    assert len(answers) == 3
    assert all(len(answer.lanes) == 4 and answer.expected for answer in answers)


def test_looking_at_the_spectra_changes_nothing_of_the_race():
    plain, traced = list(race(config())), list(race(config(trace_every=3)))
    assert [step.step for step in traced if step.trace] == [3, 6]
    for one, other in zip(plain, traced, strict=True):
        assert one == replace(other, trace=None)
        back = Step.from_json(other.to_json(config().labels), config().labels)
        assert (back.trace is None) == (other.trace is None)


def test_lanes_dealt_into_groups_train_as_they_do_together(monkeypatch):
    together = list(race(config(steps=3, dtype="float64")))
    monkeypatch.setattr(lane_groups, "ACTIVATIONS", {"cpu": 1})
    apart = list(race(config(steps=3, dtype="float64")))
    assert len(lane_groups.lane_groups(4, 100.0, "cpu")) == 4
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-10)
        np.testing.assert_allclose(one.grad_norm, other.grad_norm, rtol=1e-9)


def test_more_lanes_than_the_memory_holds_are_refused_before_anything_is_made():
    lanes = tuple(Lane("lora", r=64, seed=k) for k in range(64))
    model, tokenizer = load_model("glassllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_memory", lambda _: 10**8)
        with pytest.raises(ValueError, match=r"64 lanes of rank up to 64 on 'glassllm' needs .*GB"):
            race(config(lanes=lanes), model=model, tokenizer=tokenizer)
    attach(model, [Lane("lora")]).detach()


def test_a_wrong_answer_that_is_cut_within_a_word_says_so():
    running = race(config(task="number-words", lanes=FOUR[:2], steps=30))
    list(running)
    said = [(a.expected, text) for a in running.answers(8) for text in a.lanes]
    wrong = [text for expected, text in said if text != expected]
    assert any(text.endswith("…") for text in wrong)
    assert not any(f"{expected}…" == text for expected, text in said)


def test_greedy_answers_are_those_of_generate():
    running = race(config(lanes=FOUR[:2], steps=4))
    list(running)
    prompts = [e.ids[: e.supervised_from] for e in running._held_out[:5]]
    for k in range(2):
        ours = greedy(running.model, prompts, 4, 2, 0)[k]
        with running.lanes.only(k):
            for prompt, tokens in zip(prompts, ours, strict=True):
                theirs = running.model.generate(
                    torch.tensor([prompt]), max_new_tokens=4, do_sample=False, eos_token_id=None
                )
                assert theirs[0, len(prompt) :].tolist() == tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'; did you mean 'bfloat16' or 'float64'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"warmup": 8}, "warmup 8 must be shorter than the 8 steps"),
        ({"lanes": ()}, "a race takes 1 to 64 lanes, not 0"),
        ({"lanes": (Lane("lora"),) * 65}, "a race takes 1 to 64 lanes, not 65"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "glasllm"}, "glassllm"),
        ({"task": "adition"}, "addition"),
        (
            {"lanes": (Lane("olora", r=65),)},
            r"rank 65 exceeds min\(out, in\) = 64 of 'model.layers",
        ),
        ({"max_length": 500}, "500.*128"),
    ],
)
def test_a_race_that_cannot_start_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        race(config(**changes))


def test_a_config_survives_json():
    set_up = config(targets=("q_proj",), max_length=64)
    assert RaceConfig.from_json(set_up.to_json()) == set_up
