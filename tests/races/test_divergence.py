"""A lane that diverges is out of its race, is said to be, and takes no other lane along."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from support.races import FOUR, small, steps_of

from olora_viz.lanes.lane import Lane
from olora_viz.races.race import race

config = partial(small, lanes=FOUR, steps=8, eval_every=4, eval_size=16)


@pytest.mark.parametrize("out", [0, 1])
def test_a_lane_that_diverges_is_out_and_the_others_go_on_bitwise(out: int):
    wild = (*FOUR[:out], Lane("olora", lr=1e30, r=4), *FOUR[out + 1 :])
    others = [k for k in range(4) if k != out]
    running = race(config(lanes=wild))
    steps = list(running)
    gone = next(s.step for s in steps if s.status[out] == "diverged")
    assert 2 <= gone < 8
    assert running.lanes.theta[out].isfinite().all()
    for step, healthy in zip(steps, steps_of(config()), strict=True):
        assert [step.loss[k] for k in others] == [healthy.loss[k] for k in others]
        assert math.isnan(step.loss[out]) == (step.step >= gone)
        if step.eval_loss is not None and step.step >= gone:
            assert math.isnan(step.eval_loss[out])
            assert np.isfinite(step.eval_loss[others]).all()
    summary = running.summary()
    label = running.lanes.labels[out]
    assert summary["status"] == "finished"
    assert summary["lanes"][label]["status"] == "diverged"
    assert summary["lanes"][label]["diverged_at"] == gone


@pytest.mark.parametrize("lr", [1e30, 3e37, 1e300])
def test_a_lane_that_has_diverged_far_can_still_be_traced(lr):
    wild = (FOUR[0], Lane("olora", lr=lr, r=4))
    for step in race(config(lanes=wild, spectra_every=1, steps=3)):
        assert step.update_spectra is not None
        assert np.isfinite(step.update_spectra.sigma).all()


@pytest.mark.parametrize("eval_every", [1, 0])
def test_a_lane_that_diverges_in_the_very_last_update_has_diverged(eval_every):
    running = race(config(lanes=(FOUR[0], Lane("olora", lr=1e30)), steps=1, eval_every=eval_every))
    (step,) = running
    assert step.status == ("racing", "diverged")
    assert np.isfinite(step.loss[0])
    assert np.isnan(step.loss[1])
    lora, olora = running.summary()["lanes"].values()
    assert (lora["status"], lora["diverged_at"]) == ("finished", None)
    assert lora["final_loss"] == step.eval_loss[0]
    assert (olora["status"], olora["diverged_at"]) == ("diverged", 1)
    assert olora["final_loss"] is olora["final_accuracy"] is olora["final_loss_step"] is None


def test_a_lane_that_diverged_before_the_first_evaluation_has_no_final_loss():
    running = race(config(lanes=(FOUR[0], Lane("olora", lr=1e30)), eval_every=0))
    while not running.state.out.any():
        next(running)
    lora, olora = running.summary()["lanes"].values()
    assert (lora["final_loss"], lora["final_loss_step"]) == (running.baseline.loss[0], 0)
    assert (olora["status"], olora["final_loss"]) == ("diverged", None)


def test_a_lane_whose_update_overflows_keeps_what_it_had_and_the_others_go_on_bitwise():
    wild = (FOUR[0], Lane("olora", lr=1e39, r=4), *FOUR[2:])
    running = race(config(lanes=wild, eval_every=0))
    steps = list(running)
    assert torch.equal(running.lanes.theta[1], running.lanes.start[1])
    assert not running.snapshot()["exp_avg"][1].any()
    assert running.summary()["lanes"]["olora"]["diverged_at"] == 1
    for step, healthy in zip(steps, steps_of(config()), strict=True):
        assert [step.loss[k] for k in (0, 2, 3)] == [healthy.loss[k] for k in (0, 2, 3)]


def test_a_race_ends_where_every_lane_has_diverged():
    running = race(config(lanes=(Lane("olora", lr=1e30), Lane("pissa", lr=1e30)), steps=50))
    assert len(list(running)) < 50
    assert running.status == "diverged"
