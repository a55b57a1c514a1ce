"""Muon: the moment of A and of B, with its singular values made about one."""

import math

from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.optimizers.optimizer import Optimizer, Turn

COEFFICIENTS, TIMES, LEAST = (3.4445, -4.7750, 2.0315), 5, 1e-7
"""Of the polynomial a x + b x³ + c x⁵, how often it is applied to the singular values, and the least norm."""


def orthogonalized(M: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch rows columns"]:
    """Return matrices with the singular vectors of M and singular values between about 0.7 and 1.2.

    Newton-Schulz iterations in the dtype of M, where ``torch.optim.Muon`` takes bfloat16.
    """
    if M.shape[-2] > M.shape[-1]:
        return orthogonalized(M.mT).mT
    a, b, c = COEFFICIENTS
    X = M / M.flatten(-2).norm(dim=-1).clamp(min=LEAST)[..., None, None]
    for _ in range(TIMES):
        gram = X @ X.mT
        X = a * X + (b * gram + c * (gram @ gram)) @ X
    return X


def direction(turn: Turn) -> tuple[Tensor, Tensor]:
    """Return the orthogonalized moments, looking one step ahead, times √(rows / columns) where that exceeds 1."""

    def of(grad: Tensor, moment: Tensor) -> Tensor:
        if not grad.numel():
            return grad
        return orthogonalized(grad + turn.momentum * moment) * math.sqrt(max(1.0, grad.shape[-2] / grad.shape[-1]))

    return of(turn.grad_A, turn.moment_A), of(turn.grad_B, turn.moment_B)


MUON = Optimizer(
    "Muon", "Jordan et al. 2024, kellerjordan.github.io/posts/muon; torch.optim.Muon", ("lora_plus", "momentum"),
    direction, momentum=0.95, rate=3.0,
)  # fmt: skip
