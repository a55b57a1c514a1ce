"""PEFT as the oracle: the same start and the same training."""

import math

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from support.nightly import at_night
from support.pefts import logits, peft_model
from support.races import raced, small
from support.tiny import tiny

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.models import load_model
from olora_viz.tasks import batch_indices, collate, encode, load_task
from olora_viz.tasks.losses import lane_losses


@pytest.mark.parametrize("alpha", [4, 10])
def test_olora_starts_from_the_same_product_as_peft_s_on_linear_layers(alpha):
    lane = Lane("olora", r=4, alpha=alpha)
    lanes = attach(tiny("llama"), [lane])
    theirs = peft_model(lane, lanes.layers, tiny("llama"), "olora")
    for name in lanes.layers:
        mine = lanes.start_factors(name, 0)
        layer = theirs.base_model.model.get_submodule(name)
        product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        torch.testing.assert_close(mine.B @ mine.A, product, rtol=1e-5, atol=1e-6)
        moved = weight_of(lanes.model.get_submodule(name)) - layer.base_layer.weight
        torch.testing.assert_close(lane.scale * mine.B @ mine.A, moved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("init", ["lora", "olora", "pissa"])
def test_the_function_at_the_start_is_the_one_that_peft_starts_from(init):
    lane = Lane(init, r=4, alpha=10)
    model = tiny("llama")
    lanes = attach(model, [lane])
    theirs = peft_model(lane, lanes.layers, tiny("llama"), True if init == "lora" else init)
    torch.testing.assert_close(logits(model), logits(theirs.eval()), rtol=1e-4, atol=1e-4)


SETTINGS = {"default": {}, "all-settings": {"rslora": True, "lora_plus": 4.0, "beta1": 0.8, "beta2": 0.95}}
TRAINED = {
    f"{init}-{name}": Lane(init, lr=1e-3, r=8, alpha=4, **settings)
    for init in ("lora", "olora", "pissa", "lora_ga", "lora_one", "eva", "corda")
    for name, settings in SETTINGS.items()
}
"""What PEFT trains as well."""
MICA = Lane("mica", lr=1e-3, r=8, alpha=4)
LANES = (Lane("gaussian", lr=1e-2), *TRAINED.values(), MICA, Lane("pissa", lr=1e-3, r=4))


def ten_steps():
    """Race all lanes in float64, beside each other and beside some that differ from all."""
    return raced(small(LANES, steps=10, dtype="float64"))


def trains_alike(theirs, lane: Lane, steps, tolerance: float) -> None:
    """Train PEFT's model on the race's batches and compare every loss and gradient norm."""
    k = LANES.index(lane)
    _, tokenizer = load_model("glassllm")
    trainable = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = create_loraplus_optimizer(
        theirs, torch.optim.AdamW, lr=lane.lr, loraplus_lr_ratio=lane.lora_plus, betas=(lane.beta1, lane.beta2)
    )
    train = encode(load_task("number-words", 0).train, tokenizer, context=128).kept
    for step in steps:
        chosen = batch_indices(len(train), 4, 0, step.step - 1)
        batch = collate([train[i] for i in chosen], 0)
        optimizer.zero_grad()
        (loss,) = lane_losses(theirs.base_model.model, batch, 1)
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in trainable]).norm()
        optimizer.step()
        assert math.isclose(step.loss[k], loss.item(), rel_tol=tolerance)
        assert math.isclose(step.grad_norm[k], norm.item(), rel_tol=tolerance)


DAILY = [*(key for key in TRAINED if key.endswith("-default")), "olora-all-settings"]
"""Every start, and the other settings on one of them."""


@pytest.mark.parametrize("key", [*DAILY, *at_night(*(key for key in TRAINED if key not in DAILY))])
def test_ten_steps_of_a_lane_are_ten_steps_of_peft(key):
    """In float64, from the same start: PEFT trains s B A on the textbook's W - s B⁰A⁰."""
    lane = TRAINED[key]
    k = LANES.index(lane)
    running, steps = ten_steps()
    model, _ = load_model("glassllm", dtype=torch.float64)
    theirs = peft_model(lane, running.lanes.layers, model, init=True)
    for name in running.lanes.layers:
        layer, start = (theirs.base_model.model.get_submodule(name), running.lanes.start_factors(name, k))
        layer.base_layer.weight.data -= lane.scale * start.B @ start.A
        layer.lora_A["default"].weight.data = start.A.clone()
        layer.lora_B["default"].weight.data = start.B.clone()
    trains_alike(theirs, lane, steps, tolerance=1e-8)
    for name in running.lanes.layers:
        layer = theirs.base_model.model.get_submodule(name)
        weight = layer.base_layer.weight + layer.get_delta_weight("default")
        mine = weight_of(running.model.get_submodule(name)) + running.lanes.delta(name, k)
        torch.testing.assert_close(mine, weight, rtol=1e-8, atol=1e-8)


def test_ten_steps_of_olora_are_ten_steps_from_peft_s_own_start():
    """PEFT factorizes in float32 alone, hence the tolerance."""
    lane = TRAINED["olora-default"]
    running, steps = ten_steps()
    model, _ = load_model("glassllm")
    theirs = peft_model(lane, running.lanes.layers, model, "olora")
    for parameter in theirs.parameters():
        parameter.data = parameter.data.double()
    trains_alike(theirs, lane, steps, tolerance=1e-4)


def test_ten_steps_of_mica_are_ten_steps_from_peft_s_own_start():
    """PEFT freezes B by itself, and factorizes in float32 alone, hence the tolerance."""
    running, steps = ten_steps()
    model, _ = load_model("glassllm")
    theirs = peft_model(MICA, running.lanes.layers, model, "mica")
    for parameter in theirs.parameters():
        parameter.data = parameter.data.double()
    assert all("lora_B" not in n for n, p in theirs.named_parameters() if p.requires_grad)
    trains_alike(theirs, MICA, steps, tolerance=1e-4)
