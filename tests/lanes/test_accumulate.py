"""The gradient of a step, summed up over parts of its batch, is the one of the whole batch."""

from functools import partial

import numpy as np
import pytest
from support.nightly import at_night
from support.races import resumed, small, steps_of

from olora_viz.__main__ import main
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race

LANES = (
    Lane("lora", r=2, lr=3e-3),
    Lane("olora", r=2, seed=1, weight_decay=0.1, lora_plus=4.0),
    Lane("pissa", r=3, clip=0.5),
)
config = partial(small, lanes=LANES, steps=2, batch_size=7, eval_every=2, dtype="float64", gradients_every=1)


@pytest.mark.parametrize(
    ("count", "task", "batches"),  # every two of them together, at night
    [
        (2, "text", "by-seed"), (3, "addition", "by-seed"), (7, "addition", "shared"),
        *at_night((2, "addition", "shared"), (3, "text", "shared"), (7, "text", "by-seed")),
    ],
)  # fmt: skip
def test_steps_of_several_passes_are_those_of_one(count, task, batches):
    its = partial(config, task=task, batches=batches, max_length=96 if task == "text" else None)
    for one, other in zip(steps_of(its()), race(its(accumulate=count)), strict=True):
        np.testing.assert_allclose(other.loss, one.loss, rtol=1e-6)
        np.testing.assert_allclose(other.grad_norm, one.grad_norm, rtol=1e-5)
        assert other.tokens == one.tokens
        if one.eval_loss is not None:
            np.testing.assert_allclose(other.eval_loss, one.eval_loss, rtol=1e-6)
        for name in ("gradient", "update", "input"):
            mine, theirs = getattr(other.gradients, name), getattr(one.gradients, name)
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-9)


def test_the_parts_differ_in_their_tokens_so_that_a_plain_mean_would_be_another_loss():
    running = race(config(task="text", max_length=96, accumulate=3))
    parts = running.data.parts(1, 0)
    assert [len(part.input_ids) for part in parts] == [2, 2, 3]
    assert len({part.index.numel() for part in parts}) == 3


def test_no_pass_reads_more_than_its_part(monkeypatch):
    running = race(config(accumulate=3))
    most = 0

    def watch(_, args, kwargs):
        nonlocal most
        most = max(most, len(kwargs["input_ids"]))

    running.model.register_forward_pre_hook(watch, with_kwargs=True)
    list(running)
    assert most == 3 * len(LANES)


def test_a_race_in_parts_repeats_and_goes_on_from_its_state_bitwise():
    its = config(accumulate=2, steps=4, lanes=(*LANES, Lane("lora", dropout=0.2)))
    assert list(race(its)) == steps_of(its)
    assert list(resumed(its, 2)) == steps_of(its)[2:]


def test_a_config_says_how_many_parts_and_older_ones_have_one(capsys):
    its = config(accumulate=7)
    assert RaceConfig.from_json(its.to_json()) == its
    old = {key: value for key, value in its.to_json().items() if key != "accumulate"}
    assert RaceConfig.from_json(old).accumulate == 1
    with pytest.raises(ValueError, match="accumulate 8 exceeds the 7 prompts of a step"):
        config(accumulate=8)
    assert main(["race", "--batch-size", "4", "--accumulate", "5"]) == 2
    assert "accumulate 5 exceeds the 4 prompts" in capsys.readouterr().err
