"""A race repeats bitwise, is fair to every lane, and trains as torch's own AdamW does."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from support.races import FOUR, raced, resumed, small, steps_of
from support.steps import without
from transformers import BloomConfig, BloomForCausalLM

from olora_viz.lanes import groups as lane_groups
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.machine import memory
from olora_viz.machine.devices import KINDS, DeviceKind
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.races.step import Step
from olora_viz.tasks import batch_indices, collate, encode, evaluation, load_task

config = partial(small, lanes=FOUR, steps=8, eval_every=4, eval_size=16)


def test_the_same_config_gives_bitwise_the_same_steps():
    first, second = steps_of(config()), list(race(config()))
    assert [step.step for step in first] == list(range(1, 9))
    assert first == second


def test_another_seed_gives_other_batches():
    first, second = next(race(config())), next(race(config(seed=1)))
    assert not np.array_equal(first.loss, second.loss)


@pytest.mark.parametrize("at", [1, 5])
def test_a_race_restored_from_its_state_goes_on_bitwise(at):
    whole, steps = raced(config())
    later = resumed(config(), at)
    assert list(later) == steps[at:]
    assert later.summary()["lanes"] == whole.summary()["lanes"]


def interrupt_evaluation(monkeypatch, number: int) -> None:
    """Let Ctrl-C come in the middle of an evaluation, the `number`-th from now."""
    evaluate, calls = evaluation.evaluate, iter(range(1, 1000))

    def interrupted(*given, **more):
        if next(calls) == number:
            raise KeyboardInterrupt
        return evaluate(*given, **more)

    monkeypatch.setattr(evaluation, "evaluate", interrupted)


def test_a_step_that_was_cut_short_is_not_taken_for_a_whole_one(monkeypatch):
    whole = list(race(config(steps=4, eval_every=1)))
    running, other = race(config(steps=4, eval_every=1)), race(config(steps=4, eval_every=1))
    next(running)
    next(running)
    interrupt_evaluation(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert (running.torn, running.done, running.updates) == (False, 2, 3)
    other.restore(running.snapshot())
    assert list(running) == list(other) == whole[2:]


def test_the_state_of_another_race_is_refused():
    running = race(config())
    other = race(config(lanes=(*FOUR[:3], Lane("gaussian", r=7)))).snapshot()
    with pytest.raises(ValueError, match=r"'theta' is \(4, \d+\) in the snapshot, \(4, \d+\) in this"):
        running.restore(other)
    with pytest.raises(ValueError, match="'clock' is missing in the snapshot"):
        running.restore({k: v for k, v in running.snapshot().items() if k != "clock"})
    assert list(running) == steps_of(config())


def test_tokens_count_the_examples_trained_on_without_padding():
    running = race(config(steps=3))
    train = running.data.train
    lengths = [sum(len(train[i].ids) for i in batch_indices(len(train), 4, 0, n)) for n in range(3)]
    assert [step.tokens for step in running] == np.cumsum(lengths).tolist()


def test_a_step_measures_before_its_update_and_evaluates_after_it():
    steps = list(race(config(lanes=(FOUR[0], FOUR[1]), steps=5)))
    assert [s.eval_loss is not None for s in steps] == [False, False, False, True, True]
    assert steps[0].loss[0] == steps[0].loss[1]
    assert all(s.lr.tolist() == [3e-3, 1e-3] for s in steps)
    assert [s.tokens for s in steps] == sorted({s.tokens for s in steps})


def test_the_baseline_is_the_held_out_loss_of_the_base_model():
    running = race(config())
    at_start = evaluation.evaluate(running.model, running.data.held_out, running.lanes.count, pad_id=0, batch_size=4)
    np.testing.assert_array_equal(at_start.accuracy, np.repeat(running.baseline.accuracy, 4))
    np.testing.assert_allclose(at_start.loss, np.repeat(running.baseline.loss, 4), rtol=1e-6)


@pytest.mark.parametrize("k", range(4))
def test_each_lane_trains_as_torch_adamw_trains_it_alone(k):
    lane, set_up = FOUR[k], config(dtype="float64", schedule="cosine", warmup=2)
    running, steps = raced(set_up)
    model, tokenizer = load_model("glassllm", dtype=torch.float64)
    alone = attach(model, [lane])
    # All of A and B is one parameter here: AdamW looks at each number by itself, so that how they
    # are dealt into parameters changes nothing.
    optimizer = torch.optim.AdamW([alone.theta], lr=lane.lr, weight_decay=lane.weight_decay)
    task = load_task(set_up.task, set_up.split_seed)
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
    for a, b in zip(steps_of(config()), race(config(lanes=other)), strict=True):
        for k in (0, 2, 3):
            assert a.loss[k] == b.loss[k]
            assert a.grad_norm[k] == b.grad_norm[k]


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_lanes_that_are_alike_have_the_same_bits_wherever_they_are(batch_size):
    alike = Lane("olora", lr=1e-3), Lane("olora", lr=1e-3, weight_decay=1e-30)
    for step in race(small((alike[0], Lane("lora", r=3), alike[1]), batch_size=batch_size)):
        assert step.loss[0] == step.loss[2]
        assert step.grad_norm[0] == step.grad_norm[2]


def test_a_closed_race_has_stopped_and_makes_no_further_step():
    running = race(config())
    next(running)
    next(running)
    running.close()
    assert list(running) == []
    assert running.status == "stopped"
    assert running.summary()["steps"] == 2


def test_a_race_that_pauses_goes_on_where_it_was():
    running, whole = race(config()), steps_of(config())
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


def test_looking_at_the_spectra_changes_nothing_of_the_race():
    plain, traced = steps_of(config()), list(race(config(spectra_every=3)))
    assert [step.step for step in traced if step.update_spectra] == [3, 6]
    for one, other in zip(plain, traced, strict=True):
        assert one == without(other, "update_spectra")
        back = Step.from_json(other.to_json(config().labels), config().labels)
        assert (back.update_spectra is None) == (other.update_spectra is None)


def test_lanes_dealt_into_groups_train_as_they_do_together(monkeypatch):
    together = list(race(config(steps=3, dtype="float64")))
    monkeypatch.setitem(KINDS, "cpu", DeviceKind(lanes=1, dtype=torch.float32))
    apart = list(race(config(steps=3, dtype="float64")))
    assert len(lane_groups.lane_groups(4, 100.0, 1.0)) == 4
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-10)
        np.testing.assert_allclose(one.grad_norm, other.grad_norm, rtol=1e-9)


def weights(count: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.empty(count, device="meta"))


def test_a_pass_has_as_many_lanes_as_caches_hold_or_the_weights_are_worth():
    lanes = attach(load_model("glassllm")[0], [Lane("lora", r=1)] * 10)
    plan = lanes.plan
    assert len(lane_groups.pass_groups(plan, 2**28 // 10)) == 1
    assert len(lane_groups.pass_groups(plan, 2**28 // 5)) == 2
    plan.model.register_parameter("heavy", weights(2**24))
    assert len(lane_groups.pass_groups(plan, 2**28 // 5)) == 2
    plan.model.register_parameter("heavier", weights(2**26))
    assert len(lane_groups.pass_groups(plan, 2**28 // 5)) == 1
    lanes.detach()


def test_more_lanes_than_the_memory_holds_are_refused_before_anything_is_made():
    lanes = tuple(Lane("lora", r=64, seed=k) for k in range(64))
    model, tokenizer = load_model("glassllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_memory", lambda _: 10**8)
        with pytest.raises(ValueError, match=r"64 lanes of rank up to 64 on 'glassllm' needs .*GB"):
            race(config(lanes=lanes), model=model, tokenizer=tokenizer)
    attach(model, [Lane("lora")]).detach()


def test_held_out_examples_that_are_too_long_make_room_for_others():
    _, tokenizer = load_model("glassllm")
    held_out = load_task("number-words", 0).held_out
    lengths = [len(e.ids) for e in encode(held_out, tokenizer, context=128).kept]
    limit = sorted(lengths)[len(lengths) // 2]
    fitting = sum(length <= limit for length in lengths)
    running = race(config(max_length=limit, eval_size=fitting))
    assert len(running.data.held_out) == fitting
    assert running.data.held_out_left_out == len(lengths) - fitting > 0
    assert running.summary()["held_out_left_out"] == running.data.held_out_left_out
    assert running.summary()["left_out"] == running.data.left_out > 0


@pytest.mark.parametrize("init", ["lora", "pissa"])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("model.layers.1.mlp.up_proj", r"weight 'model\.layers\.1\.mlp\.up_proj' holds NaN or inf"),
        ("model.norm", "the held-out loss of 'glassllm' is nan before any training"),
    ],
)
def test_a_base_model_that_is_not_finite_is_refused_and_left_alone(init, broken, message):
    model, tokenizer = load_model("glassllm")
    with torch.no_grad():
        model.get_submodule(broken).weight.view(-1)[0] = math.nan
    with pytest.raises(ValueError, match=message):
        race(config(lanes=(Lane(init),)), model=model, tokenizer=tokenizer)
    assert "forward" not in model.model.layers[0].mlp.up_proj.__dict__


def test_a_model_that_names_no_context_can_race_and_answer():
    _, tokenizer = load_model("glassllm")
    shape = BloomConfig(vocab_size=1024, hidden_size=32, n_layer=2, n_head=4)
    assert not hasattr(shape, "max_position_embeddings")
    running = race(config(steps=2), model=BloomForCausalLM(shape).eval(), tokenizer=tokenizer)
    assert [np.isfinite(step.loss).all() for step in running] == [True, True]
    assert len(running.answers(2)) == 2


@pytest.mark.parametrize("lacks", ["model", "tokenizer"])
def test_a_model_and_its_tokenizer_go_together(lacks):
    given = dict(zip(("model", "tokenizer"), load_model("glassllm"), strict=True))
    with pytest.raises(ValueError, match=f"has a .* but no {lacks}: pass both"):
        race(config(), **{**given, lacks: None})


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
        ({"lanes": (Lane("olora", r=65),)}, r"rank 65 exceeds min\(out, in\) = 64 of 'model\."),
        ({"max_length": 500}, "500.*128"),
    ],
)
def test_a_race_that_cannot_start_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        race(config(**changes))


def test_a_config_survives_json():
    set_up = config(targets=("q_proj",), max_length=64)
    assert RaceConfig.from_json(json.loads(json.dumps(set_up.to_json()))) == set_up
