"""A frozen B stays bitwise what it was, and nothing sees a gradient of it."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from support.races import raced, resumed, small, steps_of
from support.tiny import FAMILIES, tiny, tokens

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.races.race import race

IDS = tokens()
LANES = (
    Lane("lora", lr=3e-3, r=4, weight_decay=0.1),
    Lane("mica", lr=3e-3, r=4, weight_decay=0.3, alpha=6),
    Lane("mica", lr=3e-3, r=2, clip=0.1),
    Lane("olora", lr=1e-3, r=6),
)


config = partial(small, lanes=LANES, steps=6)


def losses(model, K: int) -> torch.Tensor:
    logits = model(input_ids=IDS.repeat(K, 1), use_cache=False).logits
    return logits.log_softmax(-1)[..., 5].unflatten(0, (K, -1)).mean((1, 2)).neg()


def test_b_stays_bitwise_through_a_race_whatever_the_weight_decay_and_the_others_move():
    lanes = raced(config())[0].lanes
    for name in lanes.layers:
        for k in range(4):
            now, start = lanes.factors(name, k), lanes.start_factors(name, k)
            assert torch.equal(now.B, start.B) == (k in (1, 2))
            assert not torch.equal(now.A, start.A)
    frozen = update_spectra(lanes)
    np.testing.assert_allclose(frozen.max_principal_angle[1:3], 0.0, atol=0.1)
    assert (frozen.norm > 0).all()


def test_a_frozen_lane_s_a_is_decayed_as_torch_decays_it():
    lane = LANES[1]
    running = race(config(lanes=(lane,), dtype="float64", steps=4))
    alone = running.lanes.theta.detach().clone()
    trained = ~running.lanes.frozen[0]
    A = torch.nn.Parameter(alone[0][trained])
    optimizer = torch.optim.AdamW([A], lr=lane.lr, weight_decay=lane.weight_decay)
    for _ in running:
        A.grad = running.lanes.theta.grad[0][trained].clone()
        optimizer.step()
    torch.testing.assert_close(running.lanes.theta[0][trained], A, rtol=1e-10, atol=1e-12)


def test_the_norm_of_the_gradient_counts_a_alone():
    running = race(config())
    step = next(running)
    for k in (1, 2):
        grads = [running.lanes.gradient(name, k) for name in running.lanes.layers]
        assert not any(grad.B.any() for grad in grads)
        if LANES[k].clip is None:
            norm = math.sqrt(sum(float(grad.A.double().square().sum()) for grad in grads))
            assert step.grad_norm[k] == pytest.approx(norm, rel=1e-5)
    assert all(running.lanes.gradient(name, 3).B.any() for name in running.lanes.layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_of_a_is_that_of_the_dense_formula_and_b_s_is_zero(family):
    """∂L/∂A = s Bᵀ G, with G from a lane that shares the point: W itself, as A is zero."""
    model = tiny(family, torch.float64)
    lanes = attach(model, [Lane("mica", r=3, alpha=6), Lane("lora", r=3)])
    losses(model, 2).sum().backward()
    for name in lanes.layers:
        mica, lora = lanes.gradient(name, 0), lanes.gradient(name, 1)
        assert not mica.B.any()
        assert lora.B.any()
        # s Bᵀ G seen through lora's A: Aᵀ is common to both, ∂L/∂B of lora is G Aᵀ.
        B, A = lanes.start_factors(name, 0).B, lanes.start_factors(name, 1).A
        torch.testing.assert_close(mica.A @ A.T, 2.0 * B.T @ lora.B, rtol=1e-9, atol=1e-12)


def test_second_derivatives_do_not_see_b_either():
    model = tiny("llama", torch.float64)
    lanes = attach(model, [Lane("mica", r=3), Lane("olora", r=3)])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in lanes.layers:
            now = lanes.factors(name, 0)
            now.A.add_(torch.randn(now.A.shape, generator=generator, dtype=now.A.dtype), alpha=0.1)
            lanes.put(name, 0, now)
    v = torch.randn(lanes.theta.shape, generator=generator, dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        (first,) = torch.autograd.grad(losses(model, 2).sum(), lanes.theta, create_graph=True)
        (second,) = torch.autograd.grad((first * v).sum(), lanes.theta)
    for gradient in (first, second):
        assert not gradient[lanes.frozen].any()
        assert gradient[1].any()
        assert gradient[0][~lanes.frozen[0]].any()
    # What is left is the Hessian of A alone: B's part of v does not matter.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        (first,) = torch.autograd.grad(losses(model, 2).sum(), lanes.theta, create_graph=True)
        without = v.masked_fill(lanes.frozen, 0.0)
        (again,) = torch.autograd.grad((first * without).sum(), lanes.theta)
    assert torch.equal(again, second)


def test_frozen_lanes_resume_bitwise():
    assert list(resumed(config(), 3)) == steps_of(config())[3:]


def test_the_others_do_not_notice_a_frozen_lane():
    without = race(config(lanes=(LANES[0], LANES[0], LANES[0], LANES[3])))
    for one, other in zip(steps_of(config()), without, strict=True):
        for k in (0, 3):
            assert one.loss[k] == other.loss[k]
            assert one.grad_norm[k] == other.grad_norm[k]


def test_a_gradient_that_is_not_finite_leaves_the_frozen_part_alone():
    model = tiny("llama")
    lanes = attach(model, [Lane("mica", r=2)])
    with torch.no_grad():
        lanes.theta[0][~lanes.frozen[0]] = float("nan")
    losses(model, 1).sum().backward()
    assert lanes.theta.grad.isnan().any()
    assert not lanes.theta.grad[lanes.frozen].any()


def test_there_is_nothing_frozen_where_no_lane_says_so():
    assert attach(tiny("llama"), [Lane("lora"), Lane("olora")]).frozen is None
