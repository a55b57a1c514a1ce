"""A schedule is a name or a function of the step; a function is in no file."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.races import small, steps_of
from transformers import TrainingArguments

import olora_viz as ov
from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.races import run as runs
from olora_viz.races.config import Settings
from olora_viz.races.script import olora_viz_script, peft_script


def named(name: str):
    """The function of a named schedule without a warm-up."""
    return {
        "constant": lambda step, steps: 1,
        "linear": lambda step, steps: 1 - (step - 1) / steps,
        "cosine": lambda step, steps: 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)),
    }[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_function_trains_bitwise_as_the_named_schedule_of_its_values(name):
    assert list(ov.race(small(schedule=named(name)))) == steps_of(small(schedule=name))


def test_a_page_has_no_place_for_a_function():
    with pytest.raises(ValueError, match=r"^a schedule that is a Python function cannot be shown"):
        Settings.of(small(schedule=named("linear")))


def test_the_rates_are_those_of_the_function_after_the_warm_up():
    config = small(schedule=lambda step, steps: step / steps, steps=8, warmup=2)
    factors = [config.rates(number)[0] / 1e-3 for number in range(1, 9)]
    np.testing.assert_allclose(factors, [1 / 2, 1, *(n / 8 for n in range(3, 9))])


def cyclic(step: int, steps: int) -> float:
    return 1.0 if step % 2 else 0.1


def test_a_function_is_written_to_no_file_and_nothing_is_left_behind(tmp_path):
    config = small(schedule=cyclic)
    for write in (
        config.to_json,
        lambda: runs.start(config, tmp_path / "run"),
        lambda: olora_viz_script(config),
        lambda: peft_script(config),
    ):
        with pytest.raises(ValueError, match="Python function cannot be written to a run folder"):
            write()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (lambda step, steps: math.nan, "the schedule gives nan at step 1: it must be a finite"),
        (lambda step, steps: 2 - step, "the schedule gives -1 at step 3"),
        (lambda step, steps: None, "the schedule gives None at step 1"),
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
    ],
)
def test_a_schedule_that_is_none_gets_a_sentence(schedule, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(schedule=schedule)


OWN = tuple(
    ov.Lane(init, lr=lr, r=2, schedule=name, warmup=warmup)
    for init, lr in (("lora", 3e-3), ("olora", 1e-3))
    for name, warmup in ((None, None), ("constant", 0), ("linear", None), ("cosine", 3), (None, 1))
)
"""Lanes with and without a schedule and a warm-up of their own."""


def test_a_lane_with_its_own_schedule_trains_bitwise_as_in_a_race_of_that_schedule():
    race = partial(small, steps=6, schedule="linear", warmup=2, eval_every=3)
    mixed = steps_of(race(OWN))
    for name, warmup in {race(OWN).schedule_of(lane) for lane in OWN}:
        plain = tuple(replace(lane, schedule=None, warmup=None) for lane in OWN)
        alike = steps_of(race(plain, schedule=name, warmup=warmup))
        rows = [k for k, lane in enumerate(OWN) if race(OWN).schedule_of(lane) == (name, warmup)]
        for step, same in zip(mixed, alike, strict=True):
            for key in ("loss", "grad_norm", "lr", "eval_loss"):
                if getattr(step, key) is not None:
                    np.testing.assert_array_equal(getattr(step, key)[rows], getattr(same, key)[rows])


@pytest.mark.parametrize("lane", OWN)
def test_the_rates_of_a_lane_are_those_of_torch_with_its_schedule(lane):
    steps, config = 9, small((lane,), steps=9, schedule="linear", warmup=2)
    name, warmup = config.schedule_of(lane)

    def factor(done: int) -> float:
        if done < warmup:
            return (done + 1) / warmup
        return named(name)(done - warmup + 1, steps - warmup)

    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=lane.lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for number in range(1, steps + 1):
        np.testing.assert_allclose(config.rates(number), scheduler.get_last_lr(), rtol=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_function_of_the_race_is_for_the_lanes_without_their_own_schedule():
    lanes = (ov.Lane("lora", lr=1.0), ov.Lane("lora", lr=1.0, schedule="linear"), ov.Lane("lora", lr=1.0, warmup=2))
    config = small(lanes, schedule=cyclic, steps=4)
    rates = np.array([config.rates(number) for number in range(1, 5)])
    np.testing.assert_allclose(rates.T, [[1, 0.1, 1, 0.1], [1, 0.75, 0.5, 0.25], [0.5, 1, 1, 0.1]])


@pytest.mark.parametrize("share", [0.03, 0.07, 0.1, 0.5])
@pytest.mark.parametrize("steps", [3, 30, 100, 301])
def test_a_warm_up_over_a_share_of_the_steps_has_as_many_as_in_transformers(share: float, steps: int) -> None:
    config = small((ov.Lane("lora", lr=1.0, warmup=share),), steps=steps, schedule="linear")
    of_trainer = TrainingArguments(warmup_steps=share, use_cpu=True).get_warmup_steps(steps)
    assert config.schedule_of(config.lanes[0]) == ("linear", of_trainer)
    rates = [config.rates(number)[0] for number in range(1, steps + 1)]
    assert rates.index(max(rates)) + 1 == of_trainer


def test_a_warm_up_of_more_steps_than_epochs_take_ends_below_the_peak() -> None:
    lanes = ov.Lane("lora", lr=1.0, warmup=100), ov.Lane("lora", lr=1.0, warmup=4), ov.Lane("lora", lr=1.0, warmup=0.5)
    config = ov.RaceConfig(lanes=lanes, epochs=1.0, batch_size=4).with_steps(40)
    assert [config.schedule_of(lane)[1] for lane in config.lanes] == [100, 4, 5]
    assert [config.rates(number)[0] for number in range(1, 11)] == [number / 100 for number in range(1, 11)]


def test_a_run_whose_warm_up_is_a_share_of_its_steps_cannot_have_others(tmp_path) -> None:
    ov.race(small((ov.Lane("lora", warmup=0.5),), steps=2)).save(tmp_path / "run")
    with pytest.raises(ValueError, match="warms up over a share of its 2 steps: it cannot have 4 instead"):
        ov.resume_run(tmp_path / "run", steps=4)


@pytest.mark.parametrize(
    ("lane", "sentence"),
    [
        ({"warmup": 4}, "^warmup 4 must be shorter than the 4 steps$"),
        ({"schedule": "cosin"}, "^unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"warmup": -1}, "^warmup must be a whole number from 0"),
    ],
)
def test_a_lane_s_schedule_that_does_not_fit_gets_a_sentence(lane, sentence):
    with pytest.raises(ValueError, match=sentence):
        small((ov.Lane("lora"), ov.Lane("olora", **lane)))
