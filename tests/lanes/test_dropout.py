"""Dropout of a lane: PEFT's, in training steps alone, the lane's own and nobody else's."""

from functools import partial

import numpy as np
import peft
import pytest
import torch
from support.races import resumed, small, steps_of
from support.tiny import tiny, tokens

from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.linear import Dropout
from olora_viz.machine.devices import KINDS, DeviceKind
from olora_viz.races import data
from olora_viz.races.race import race

LANES = (
    Lane("lora", r=2, dropout=0.3, lr=1e-2),
    Lane("olora", r=2, dropout=0.1, seed=1),
    Lane("olora", r=2),
    Lane("pissa", r=4, seed=2),
)
config = partial(small, lanes=LANES, steps=3, batches="by-seed", task="addition", eval_every=2)


def without_dropout(lane: Lane) -> Lane:
    return Lane(lane.init, r=lane.r, lr=lane.lr, seed=lane.seed)


def test_lanes_without_dropout_train_bitwise_as_if_no_lane_had_any():
    plain = steps_of(config(lanes=tuple(map(without_dropout, LANES))))
    for step, other in zip(steps_of(config()), plain, strict=True):
        np.testing.assert_array_equal(step.loss[2:], other.loss[2:])
        np.testing.assert_array_equal(step.grad_norm[2:], other.grad_norm[2:])
        if step.step > 1:
            assert not np.isclose(step.loss[:2], other.loss[:2], rtol=1e-4).any()


def test_a_lane_draws_the_same_masks_among_others_in_groups_and_alone(monkeypatch):
    exact = partial(config, dtype="float64")
    together = list(race(exact()))
    alone = [list(race(exact(lanes=(lane,)))) for lane in LANES]
    monkeypatch.setitem(KINDS, "cpu", DeviceKind(lanes=1, dtype=torch.float32))
    apart = list(race(exact()))
    for n, step in enumerate(together):
        np.testing.assert_allclose(apart[n].loss, step.loss, rtol=1e-6)
        np.testing.assert_allclose([its[n].loss[0] for its in alone], step.loss, rtol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_lane_draws_the_same_masks_with_padding_and_without(accumulate, monkeypatch):
    exact = partial(config, dtype="float64", task="number-words", accumulate=accumulate)
    without = race(exact())
    assert without.data.unpads
    steps = list(without)
    monkeypatch.setattr(data, "can_unpad", lambda model: False)
    for step, other in zip(race(exact()), steps, strict=True):
        np.testing.assert_allclose(other.loss, step.loss, rtol=1e-6)


def test_a_race_with_dropout_repeats_and_goes_on_from_its_state_bitwise():
    assert list(race(config())) == steps_of(config())
    assert list(resumed(config(), 2)) == steps_of(config())[2:]


def test_evaluation_and_answers_are_without_dropout():
    running = race(config())
    list(running)
    np.testing.assert_array_equal(running.data.evaluate(4).loss, running.data.evaluate(4).loss)
    np.testing.assert_array_equal(running.data.evaluate(4).loss, running.state.last_eval.loss)


def attached(lanes: list[Lane]) -> tuple[torch.nn.Module, Lanes]:
    model = tiny("llama", torch.float64)
    its = attach(model, lanes)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(its.theta.shape, generator=generator, dtype=its.theta.dtype)
    with torch.no_grad():
        its.theta.add_(0.05 * noise)
    return model, its


@pytest.mark.parametrize("init", ["lora", "olora"])
def test_with_the_same_masks_a_layer_and_its_gradients_are_those_of_peft(init, monkeypatch):
    """PEFT's own layer, with the masks that our lane drew."""
    lane = Lane(init, r=3, alpha=6, dropout=0.4)
    model, lanes = attached([lane])
    name = lanes.layers[0]
    layer = model.get_submodule(name)
    W, factors, start = layer.weight, lanes.factors(name, 0), lanes.start_factors(name, 0)
    X = torch.randn(2, 5, W.shape[1], dtype=torch.float64)
    noise = Dropout((lane,), (7, 0)).noise(name, 0, X)
    kept = ((X + noise) / X).round(decimals=9)
    assert set(kept.unique().tolist()) == {0.0, round(1 / 0.6, 9)}

    base = torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=torch.float64)
    base.weight.data = W - lane.scale * start.B @ start.A
    config = peft.LoraConfig(r=3, lora_alpha=6, lora_dropout=0.4, target_modules=["0"])
    theirs = peft.get_peft_model(torch.nn.Sequential(base), config).base_model.model[0]
    theirs.lora_A["default"].weight.data = factors.A.clone()
    theirs.lora_B["default"].weight.data = factors.B.clone()
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_: x * kept)
    G = torch.randn(2, 5, W.shape[0], dtype=torch.float64)
    ours_X, theirs_X = X.clone().requires_grad_(), X.clone().requires_grad_()
    Y = theirs(theirs_X)
    (Y * G).sum().backward()
    monkeypatch.undo()

    lanes._passes.split()
    with lanes.some(slice(0, 1), Dropout((lane,), (7, 0))):
        found = layer(ours_X)
    (found * G).sum().backward()
    torch.testing.assert_close(found, Y)
    torch.testing.assert_close(ours_X.grad, theirs_X.grad)
    gradient = lanes.gradient(name, 0)
    torch.testing.assert_close(gradient.A, theirs.lora_A["default"].weight.grad)
    torch.testing.assert_close(gradient.B, theirs.lora_B["default"].weight.grad)


def test_the_mean_over_many_masks_of_a_layer_is_its_output_without_dropout():
    lane = Lane("gaussian", r=3, dropout=0.5)
    model, lanes = attached([lane])
    name = lanes.layers[0]
    layer = model.get_submodule(name)
    X = torch.randn(1, 3, layer.weight.shape[1], dtype=torch.float64)
    lanes._passes.split()
    with torch.no_grad():
        plain = layer(X)
        found = []
        for step in range(4000):
            with lanes.some(slice(0, 1), Dropout((lane,), (step, 0))):
                found.append(layer(X))
    values = torch.stack(found)
    error = values.std(0) / len(found) ** 0.5
    assert ((values.mean(0) - plain).abs() < 5 * error).all()
    assert len({float(value.sum()) for value in found}) == len(found)


def test_padding_that_other_lanes_need_changes_no_mask():
    lane = Lane("lora", r=2, dropout=0.5)
    X = torch.randn(4, 7, 6)
    narrow = Dropout((lane,), (1, 0), [(2, 5)]).noise("a", 0, X)
    assert torch.equal(narrow[:2, :5], Dropout((lane,), (1, 0)).noise("a", 0, X[:2, :5]))
    assert not narrow[2:].any()
    assert not narrow[:, 5:].any()


def test_the_model_with_dropout_differs_from_part_to_part_and_is_itself_again_behind_it():
    model, lanes = attached([LANES[0]])
    ids = tokens(2, 6)
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        dropped = []
        for step in ((1, 0), (1, 0), (1, 1)):
            with lanes.some(slice(0, 1), Dropout(lanes.lanes, step)):
                dropped.append(model(input_ids=ids).logits)
        assert torch.equal(dropped[0], dropped[1])
        assert not torch.allclose(dropped[0], dropped[2])
        assert torch.equal(model(input_ids=ids).logits, plain)
