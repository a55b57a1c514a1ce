"""AdamW along gradients that are preconditioned by the other factor."""

import torch
from torch import Tensor

from olora_viz.lanes.optimizers.optimizer import Optimizer, Turn


def damped(gram: Tensor, damping: Tensor | float) -> Tensor:
    """Return a Gram matrix (…, r, r) + δI."""
    return gram + damping * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)


def direction(turn: Turn) -> tuple[Tensor, Tensor]:
    """Return (BᵀB + δI)⁻¹ times A's gradient, and B's times (AAᵀ + δI)⁻¹."""
    of_B, of_A = damped(turn.B.mT @ turn.B, turn.damping), damped(turn.A @ turn.A.mT, turn.damping)
    grad_A, _ = torch.linalg.solve_ex(of_B, turn.grad_A)
    grad_B, _ = torch.linalg.solve_ex(of_A, turn.grad_B.mT)
    return grad_A, grad_B.mT


RIEMANNIAN = Optimizer(
    "Riemannian", "Zhang & Pilanci 2024, arXiv 2402.02347; peft.optimizers.create_riemannian_optimizer",
    ("beta1", "beta2", "lora_plus", "damping"), direction, takes_dense=False,
)  # fmt: skip
