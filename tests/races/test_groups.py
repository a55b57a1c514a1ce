"""Groups of lanes side by side: bitwise the same on any number of cores, and nothing torn where they end early."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.races import FOUR, small

from olora_viz.lanes import groups
from olora_viz.lanes.lane import Lane
from olora_viz.machine.threads import REPORT_EVERY
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race

LANES = (
    *FOUR, Lane("mica", lr=1e-3, r=2), Lane("lora", r=2, dropout=0.3), Lane("lora", r=2, lr=0.03, dim=50, replay=0.2),
    Lane("olora", r=2, keep_kl=0.5, dropout=0.1),
)  # fmt: skip
"""Lanes that differ in everything: one has a frozen B, another one dropout, a third trains along directions."""


def config(**changes) -> RaceConfig:
    """Return a race that measures all that groups compute."""
    every = {"eval_every": 2, "gradients_every": 1, "spectra_every": 3}
    return small(LANES, **({"steps": 3, **every, "keep": "auto", "batches": "by-seed"} | changes))


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make four groups of races however small, and give torch its threads back."""
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", {4: 0})
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_race_is_bitwise_the_same_on_any_number_of_cores_and_after_a_stop_in_an_evaluation() -> None:
    torch.set_num_threads(1)
    whole = race(config())
    steps, answers = list(whole), whole.answers(1)
    torch.set_num_threads(3)
    first, second = race(config()), race(config())

    def close(*_: object) -> None:
        if first.done == 1 and not torch.is_grad_enabled():
            first.close()
            time.sleep(4 * REPORT_EVERY)  # until it is noticed

    hook = first.model.model.layers[1].register_forward_pre_hook(close)
    begun = list(first)
    hook.remove()
    assert (first.status, first.torn, len(begun)) == ("stopped", False, 1)
    second.restore(first.snapshot())
    assert [*begun, *second] == steps
    assert second.answers(1) == answers
    assert second.baseline.loss == whole.baseline.loss
    assert torch.equal(second.lanes.theta, whole.lanes.theta)
    assert torch.equal(second.lanes.start, whole.lanes.start)


def test_lanes_in_groups_train_as_they_do_together(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    exact = {"dtype": "float64", "steps": 2, "eval_every": 0, "spectra_every": 0}
    apart = list(race(config(**exact)))
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", {})
    for one, other in zip(race(config(**exact)), apart, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-9)
        np.testing.assert_allclose(one.grad_norm, other.grad_norm, rtol=1e-8)
        assert one.gradients is not None
        assert other.gradients is not None
        np.testing.assert_allclose(one.gradients.input, other.gradients.input, rtol=1e-8)


def test_an_error_in_a_group_comes_out_of_the_race_and_the_model_stays_whole() -> None:
    torch.set_num_threads(2)
    running = race(config())

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    layer = running.model.model.layers[1]
    hooks = len(layer._forward_pre_hooks)
    hook = layer.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError, match="no room"):
        next(running)
    hook.remove()
    assert len(layer._forward_pre_hooks) == hooks
    with running.lanes.off():  # contexts of this thread are its own again
        assert running.model(input_ids=torch.zeros(1, 2, dtype=torch.long)).logits.shape[0] == 1
