"""LoRA-FA: A stays as it starts, and AdamW moves B along the gradient whose product with A is nearest to W's."""

import torch
from torch import Tensor

from olora_viz.lanes.optimizers.optimizer import Optimizer, Turn
from olora_viz.lanes.optimizers.riemannian import damped

LEAST = 1e-8
"""Added to the diagonal of AAᵀ, as PEFT does."""


def direction(turn: Turn) -> tuple[Tensor, Tensor]:
    """Return no direction for A, and B's gradient times (AAᵀ)⁻¹ / s²."""
    grad_B, _ = torch.linalg.solve_ex(damped(turn.A @ turn.A.mT, LEAST), turn.grad_B.mT)
    return torch.zeros_like(turn.grad_A), grad_B.mT / turn.scale.square()


LORA_FA = Optimizer(
    "LoRA-FA", "Zhang et al. 2023, arXiv 2308.03303; peft.optimizers.create_lorafa_optimizer", ("beta1", "beta2"),
    direction, freezes_A=True, takes_dense=False,
)  # fmt: skip
