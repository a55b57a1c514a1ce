"""With batches by seed, lanes of one seed train on the same batches and every lane as if alone."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.races import resumed, small, steps_of
from support.tiny import tiny, tokens

from olora_viz.__main__ import main
from olora_viz.background.record import ready_race
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.tasks import Encoded, Example, Task, collate, losses
from olora_viz.views.race import race_view

LANES = (
    Lane("olora", r=2),
    Lane("olora", r=2, seed=1),
    Lane("lora", lr=3e-3, r=4, seed=1),
    Lane("pissa", r=2, seed=5),
    Lane("olora", r=2, label="again"),
)


config = partial(small, lanes=LANES, steps=6, eval_every=3, eval_size=16, batches="by-seed", task="addition")


def test_lanes_of_one_seed_see_the_same_batches_and_those_of_another_see_others():
    steps = steps_of(config())
    first = steps[0].loss  # every lane is the same function: its loss is the batch's
    assert first[0] == pytest.approx(first[4], rel=1e-5)
    assert first[1] == pytest.approx(first[2], rel=1e-5)
    assert len({round(float(first[k]), 3) for k in (0, 1, 3)}) == 3
    last = steps[-1].eval_loss
    assert last is not None
    assert abs(last[0] - last[1]) > 1e-3  # OLoRA heeds no seed: with shared batches they are one
    shared = list(race(config(batches="shared")))[-1].eval_loss
    assert shared is not None
    assert shared[0] == pytest.approx(shared[1], rel=1e-6)


@pytest.mark.parametrize("k", range(4))
def test_a_lane_among_other_seeds_trains_as_it_does_alone(k):
    alone = race(config(lanes=LANES[k : k + 1]))
    for a, b in zip(steps_of(config()), alone, strict=True):
        np.testing.assert_allclose(a.loss[k], b.loss[0], rtol=2e-4)
        np.testing.assert_allclose(a.grad_norm[k], b.grad_norm[0], rtol=2e-3)


def test_the_order_of_a_lane_is_that_of_a_race_of_the_sum_of_both_seeds():
    assert [config(seed=2).order(lane) for lane in LANES] == [2, 3, 3, 7, 2]
    assert {config(seed=2, batches="shared").order(lane) for lane in LANES} == {2}


def test_where_all_lanes_have_seed_0_by_seed_is_bitwise_the_shared_race():
    lanes = tuple(replace(lane, seed=0, label=f"lane {k}") for k, lane in enumerate(LANES))
    assert list(race(config(lanes=lanes))) == list(race(config(lanes=lanes, batches="shared")))


def test_a_race_by_seed_repeats_and_goes_on_from_its_state_bitwise():
    assert list(resumed(config(), 2)) == steps_of(config())[2:]


def test_the_loss_of_a_lane_on_its_own_batch_is_that_of_the_batch_alone_with_its_gradient():
    model = tiny("llama", torch.float64)
    lanes = attach(model, [Lane("gaussian", r=2, seed=s) for s in range(3)])
    rows = tokens(5, 9).tolist()
    batches = [
        collate([Encoded(tuple(row[:n]), n - 2) for row in part], pad_id=0)
        for part, n in ((rows[:2], 5), (rows[:5], 9), (rows[3:4], 4))
    ]
    with torch.no_grad():
        lanes.theta.add_(torch.randn_like(lanes.theta) * 0.05)
    found = losses.own_losses(model, batches, pad_id=3)
    found.sum().backward()
    assert lanes.theta.grad is not None
    together = lanes.theta.grad.clone()
    for k, batch in enumerate(batches):
        lanes.theta.grad = None
        with lanes.some(slice(k, k + 1)):
            alone = losses.lane_losses(model, batch, 1)
            alone.sum().backward()
        assert lanes.theta.grad is not None
        torch.testing.assert_close(found[k], alone[0])
        torch.testing.assert_close(together[k], lanes.theta.grad[k])


def test_a_config_says_how_batches_are_dealt_and_survives_json():
    its = config()
    assert RaceConfig.from_json(its.to_json()) == its
    with pytest.raises(ValueError, match=r"'by-lane'.*shared, by-seed"):
        config(batches="by-lane")


def test_the_command_line_takes_batches_by_seed_and_names_what_it_does_not_know(capsys):
    assert main(["race", "--batches", "by-lane"]) == 2
    assert re.search("'by-lane'.*shared, by-seed", capsys.readouterr().err)


def test_with_one_training_example_seeds_that_repeat_a_run_are_told_as_one():
    task = Task("one", "", (Example("a b", " c"),), (Example("d e", " f"), Example("g h", " i")))
    lanes = tuple(Lane(init, r=2, seed=seed) for init in ("lora", "olora") for seed in (0, 1))
    racing = race(small(lanes, steps=2, batches="auto"), task=task)
    record = replace(ready_race(racing.config), steps=tuple(racing), held_out=racing.data.about_held_out)
    view = race_view(replace(record, state="finished", complete=True))
    assert "2 seeds, of some lanes one run; sorted" in view.results
    assert "are one run, on shared batches" in view.story
    assert "vary by seed" not in view.story
    assert "one run" in view.verdict
