"""LoRA-One: one step of gradient descent, at rank r."""

import torch
from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    gradient_of,
    singular_triplets,
)

GAMMA = 128.0
"""The γ that the authors' experiments use for language models."""


def lora_one(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start in the direction of the first step of full fine-tuning.

    `−G = −∂L/∂W = U diag(S) Vh`, `B⁰ = U_r √(S_r / γσ)`, `A⁰ = √(S_r / γσ) Vh_r` with γ = 128 and `σ = S₁`. So `B⁰A⁰ =
    −G_r / (γ S₁)`, the best rank-r approximation of the step, with spectral norm 1/γ. In each column of B the entry of
    largest magnitude is positive.

    This is the paper's spectral initialization as in the authors' code, divided by S₁ and with γ under the root. The
    authors keep the base weight, so the start itself makes the step `s B⁰A⁰`. Here every start preserves the model's
    function: `s B⁰A⁰` is subtracted from W, and the first step is still to come. The paper's preconditioners belong to
    the optimizer and are not included.

    Where a singular value of G is zero, its row of A and its column of B are zero too. They are finite, but such a
    component never learns: each factor's gradient is proportional to the other.

    References:
        Zhang, Liu, Chen 2025, arXiv 2502.01235; github.com/YuanheZ/LoRA-One.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> G = torch.diag(torch.tensor([-8.0, 2.0]))
        >>> seen = ov.Calibration(gradient=G)
        >>> start = ov.lora_one(torch.zeros(2, 2), r=1, calibration=seen)
        >>> (128 * start.B @ start.A).round(decimals=4)
        tensor([[1., 0.],
                [0., 0.]])
    """
    check_rank(W, r)
    U, S, Vh = singular_triplets(-gradient_of(W, calibration, "lora_one"))
    # A zero gradient has S = 0, which stays zero whatever it is divided by.
    root = (S[:r] / S[0].clamp(min=torch.finfo(S.dtype).tiny) / GAMMA).sqrt()
    return Start(A=root[:, None] * Vh[:r], B=U[:, :r] * root)


INITIALIZER = Initializer(
    name="lora_one",
    label="LoRA-One",
    start=lora_one,
    short="largest triplets of the gradient",
    summary="A and B share the r largest singular triplets of the negative gradient of W.",
    source="Zhang, Liu, Chen 2025, arXiv 2502.01235",
    color=("#5c2b0a", "#c98a4e"),
    place=16,
    nested=True,
    needs="gradient",
)
