"""Lanes are updated as torch's own AdamW updates each alone, and all that stays is finite."""

import numpy as np
import pytest
import torch

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizer import LaneOptimizer, largest_ratio
from olora_viz.lanes.plan import Layout

P = 50
SHAPES = {"first": (10, 20), "second": (15, 5)}
SIZES = (20, 10, 5, 15)  # of A and B in these layers, of rank 1


def gradients(K: int, steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(K, P, generator=generator) for _ in range(steps)]


def layout(lanes) -> Layout:
    return Layout(SHAPES, dict.fromkeys(SHAPES, [1] * len(lanes)))


def made(lanes) -> tuple[torch.Tensor, LaneOptimizer]:
    theta = torch.randn(4, P, generator=torch.Generator().manual_seed(1))[: len(lanes)]
    theta = theta.clone().requires_grad_()
    return theta, LaneOptimizer(theta, lanes, layout(lanes))


def step(optimizer, theta, gradient, lanes, out=None) -> np.ndarray:
    theta.grad = gradient.clone()
    rates = np.array([lane.lr for lane in lanes])
    out = np.zeros(len(lanes), dtype=bool) if out is None else out
    return optimizer.step(rates, torch.linalg.vector_norm(gradient, dim=1), out, optimizer.before_update())


KINDS = (
    Lane("lora", lr=1e-3),
    Lane("lora", lr=0.1, weight_decay=0.3, beta1=0.5, beta2=0.9),
    Lane("lora", clip=0.5, lora_plus=16.0, weight_decay=0.1),
    Lane("lora", beta1=0.0, beta2=0.99, lora_plus=0.25),
)


def alone(lane: Lane, row: torch.Tensor) -> tuple[list[torch.Tensor], torch.optim.AdamW]:
    """A row's A and B as parameters of torch's own AdamW, with the rates of LoRA+."""
    parts = [part.clone().requires_grad_() for part in row.detach().split(SIZES)]
    groups = [{"params": parts[::2], "lr": lane.lr}, {"params": parts[1::2], "lr": lane.lr * lane.lora_plus}]
    betas = (lane.beta1, lane.beta2)
    return parts, torch.optim.AdamW(groups, betas=betas, weight_decay=lane.weight_decay)


def test_each_row_moves_as_adamw_moves_it_alone():
    theta, optimizer = made(KINDS)
    each = [alone(lane, row) for lane, row in zip(KINDS, theta, strict=True)]
    for gradient in gradients(4, 5):
        assert not step(optimizer, theta, gradient, KINDS).any()
        for (parts, adamw), lane, g in zip(each, KINDS, gradient, strict=True):
            for part, its in zip(parts, g.split(SIZES), strict=True):
                part.grad = its.clone()
            if lane.clip:
                torch.nn.utils.clip_grad_norm_(parts, lane.clip)
            adamw.step()
    rows = torch.stack([torch.cat(parts).detach() for parts, _ in each])
    torch.testing.assert_close(theta.detach(), rows)


def test_a_row_moves_bitwise_the_same_whatever_the_settings_of_the_others():
    theta, optimizer = made(KINDS)
    plain = [KINDS[0], *[Lane("lora")] * 3]
    other, other_optimizer = made(plain)
    for gradient in gradients(4, 5):
        step(optimizer, theta, gradient, KINDS)
        step(other_optimizer, other, gradient, plain)
    assert torch.equal(theta[0], other[0])
    assert not torch.isclose(theta[1:], other[1:]).all(1).any()


@pytest.mark.parametrize(
    "wild",
    [
        Lane("lora", lr=2e33),  # some steps of this size fit into float32, with room for sums
        Lane("lora", lr=1e37),  # each step does, but not its sums
        Lane("lora", lr=1e39),  # not even one
        Lane("lora", lr=1e6, weight_decay=1e3),  # its decay is a growth
        Lane("lora", lr=1e300, weight_decay=1e300),
        Lane("lora", lr=1.0, lora_plus=1e38),  # its B alone
        Lane("lora", lr=1.0, lora_plus=1e6, weight_decay=1e3),
    ],
    ids=lambda lane: f"lr={lane.lr},weight_decay={lane.weight_decay},lora_plus={lane.lora_plus}",
)
def test_an_update_that_is_not_finite_leaves_row_and_moments_as_they_were(wild):
    lanes = [Lane("lora", lr=1e-3), wild]
    theta, optimizer = made(lanes)
    calm, calm_optimizer = made(lanes[:1])
    out = np.array([False, False])
    same = torch.ones(2, P)
    for _ in range(40):
        before = theta.detach().clone()
        state = optimizer.state()
        failed = step(optimizer, theta, same, lanes, out)
        step(calm_optimizer, calm, same[:1], lanes[:1])
        assert torch.linalg.qr(theta.detach().view(-1, 10), mode="r").R.isfinite().all()
        assert torch.equal(theta[0], calm[0])
        assert not failed[0]
        if failed[1] or out[1]:
            assert torch.equal(theta[1], before[1])
            for name, tensor in optimizer.state().items():
                assert torch.equal(tensor[1], state[name][1])
        else:
            assert not torch.equal(theta[1], before[1])
        out |= failed
    assert out.tolist() == [False, True]


@pytest.mark.parametrize(
    ("betas", "least"), [((0.9, 0.999), 2), ((0.5, 0.9), 1), ((0.0, 0.99), 1), ((0.95, 0.91), 0.1)]
)
def test_a_step_of_adam_is_never_longer_than_the_ratio_that_is_counted_on(betas, least):
    """The longest steps follow on a quiet time: rare, growing gradients come near the bound."""
    generator = torch.Generator().manual_seed(0)
    lanes = [Lane("lora", lr=1.0, beta1=betas[0], beta2=betas[1])]
    theta, optimizer = made(lanes)
    longest = 0.0
    for n in range(3000):
        rare = torch.rand(1, P, generator=generator) < 0.001
        gradient = torch.where(rare, torch.randn(1, P, generator=generator) * 10.0 ** (n % 9), 0.0)
        before = theta.detach().clone()
        step(optimizer, theta, gradient, lanes)
        longest = max(longest, float((theta.detach() - before).abs().max()))
    assert least < longest < largest_ratio(*betas) * (1 + 1e-6)


def test_a_restored_optimizer_goes_on_bitwise():
    lanes = [Lane("lora", lr=1e-3), Lane("lora", lr=1e37), KINDS[2]]
    theta, optimizer = made(lanes)
    first, second = gradients(3, 6)[:3], gradients(3, 6)[3:]
    for gradient in first:
        step(optimizer, theta, gradient, lanes)
    later = theta.detach().clone().requires_grad_()
    other = LaneOptimizer(later, lanes, layout(lanes))
    other.restore(optimizer.state())
    for gradient in second:
        step(optimizer, theta, gradient, lanes)
        step(other, later, gradient, lanes)
    assert torch.equal(theta, later)
