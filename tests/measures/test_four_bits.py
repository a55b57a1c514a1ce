"""What a layer computes with on a base in four bits, where it is known what a start can save."""

import numpy as np
import pytest
import torch
from support.starts import gaussian

from olora_viz.machine.four_bit import nf4
from olora_viz.measures.four_bits import on_four_bits

W = 20 * gaussian(96, 4) @ gaussian(4, 160) / 8 + 0.01 * gaussian(96, 160)
"""All but a hundredth is of rank 4."""

ALONE = float((nf4(W, double=True) - W).norm())


def error(method: str | int, r: int, weight: torch.Tensor = W) -> float:
    return float((on_four_bits("a layer", weight, method, r) - weight).norm())


@pytest.mark.parametrize("method", ["lora", "orthogonal"])
def test_a_start_whose_product_is_zero_leaves_the_error_of_four_bits_alone(method):
    assert error(method, 4) == ALONE


def test_where_a_few_directions_hold_all_the_start_that_has_them_saves_nearly_all():
    assert error("pissa", 4) < 0.01 * ALONE
    assert error("olora", 4) < 0.03 * ALONE
    assert abs(error("milora", 4) / ALONE - 1) < 0.01
    assert 0.9 < error("random_orthonormal", 4) / ALONE < 1.0
    assert error("pissa", 2) > 0.2 * ALONE


@pytest.mark.parametrize("method", ["pissa", "olora", "milora", "random_orthonormal", 1])
def test_an_adapter_of_the_rank_of_a_weight_leaves_nothing(method):
    assert error(method, 96) < 1e-3 * ALONE


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_loftq_is_its_turns_by_hand(steps):
    BA = np.zeros(W.shape)
    for _ in range(steps):
        Q = nf4(W - torch.tensor(BA, dtype=W.dtype), double=True).numpy()
        U, S, Vh = np.linalg.svd(W.numpy().astype(float) - Q, full_matrices=False)
        BA = U[:, :4] * S[:4] @ Vh[:4]
    by_hand = np.linalg.norm(Q + BA - W.numpy())
    assert error(steps, 4) == pytest.approx(by_hand, rel=1e-3)  # a weight between two values may get either
    assert error(steps, 4) < 0.95 * ALONE
