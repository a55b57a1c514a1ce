"""Lanes are updated as torch's own AdamW updates each alone, and all that stays is finite."""

import numpy as np
import pytest
import torch

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizer import LARGEST_RATIO, LaneOptimizer

P = 50


def gradients(K: int, steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(K, P, generator=generator) for _ in range(steps)]


def made(lanes) -> tuple[torch.Tensor, LaneOptimizer]:
    theta = torch.randn(4, P, generator=torch.Generator().manual_seed(1))[: len(lanes)]
    theta = theta.clone().requires_grad_()
    return theta, LaneOptimizer(theta, lanes)


def step(optimizer, theta, gradient, lanes, out=None) -> np.ndarray:
    theta.grad = gradient.clone()
    rates = np.array([lane.lr for lane in lanes])
    out = np.zeros(len(lanes), dtype=bool) if out is None else out
    return optimizer.step(rates, torch.linalg.vector_norm(gradient, dim=1), out)


def test_each_row_moves_as_adamw_moves_it_alone():
    lanes = [Lane("lora", lr=1e-3), Lane("lora", lr=0.1, weight_decay=0.3), Lane("lora", clip=0.5)]
    theta, optimizer = made(lanes)
    alone = [torch.nn.Parameter(row.clone()) for row in theta.detach()]
    each = [
        torch.optim.AdamW([row], lr=lane.lr, weight_decay=lane.weight_decay)
        for row, lane in zip(alone, lanes, strict=True)
    ]
    for gradient in gradients(3, 5):
        assert not step(optimizer, theta, gradient, lanes).any()
        for row, adamw, lane, g in zip(alone, each, lanes, gradient, strict=True):
            row.grad = g.clone()
            if lane.clip:
                torch.nn.utils.clip_grad_norm_([row], lane.clip)
            adamw.step()
    torch.testing.assert_close(theta.detach(), torch.stack([row.detach() for row in alone]))


@pytest.mark.parametrize(
    "wild",
    [
        Lane("lora", lr=2e33),  # some steps of this size fit into float32, with room for sums
        Lane("lora", lr=1e37),  # each step does, but not its sums
        Lane("lora", lr=1e39),  # not even one
        Lane("lora", lr=1e6, weight_decay=1e3),  # its decay is a growth
        Lane("lora", lr=1e300, weight_decay=1e300),
    ],
    ids=lambda lane: f"lr={lane.lr},weight_decay={lane.weight_decay}",
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


def test_a_step_of_adam_is_never_longer_than_the_ratio_that_is_counted_on():
    """The longest steps follow on a quiet time: rare, growing gradients come near the bound."""
    generator = torch.Generator().manual_seed(0)
    lanes = [Lane("lora", lr=1.0)]
    theta, optimizer = made(lanes)
    longest = 0.0
    for n in range(3000):
        rare = torch.rand(1, P, generator=generator) < 0.001
        gradient = torch.where(rare, torch.randn(1, P, generator=generator) * 10.0 ** (n % 9), 0.0)
        before = theta.detach().clone()
        step(optimizer, theta, gradient, lanes)
        longest = max(longest, float((theta.detach() - before).abs().max()))
    assert 2.0 < longest < LARGEST_RATIO


def test_a_restored_optimizer_goes_on_bitwise():
    lanes = [Lane("lora", lr=1e-3), Lane("lora", lr=1e37)]
    theta, optimizer = made(lanes)
    first, second = gradients(2, 6)[:3], gradients(2, 6)[3:]
    for gradient in first:
        step(optimizer, theta, gradient, lanes)
    later = theta.detach().clone().requires_grad_()
    other = LaneOptimizer(later, lanes)
    other.restore(optimizer.state())
    for gradient in second:
        step(optimizer, theta, gradient, lanes)
        step(other, later, gradient, lanes)
    assert torch.equal(theta, later)
