"""LoRA-DA: a natural-gradient step of W, on the directions where it is largest and least noisy."""

import torch
from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    fisher_of,
    leading_eigenvectors,
    precise,
)

DAMPING = 1e-6
"""Added to both factors of the Fisher information."""
VARIANCE = 0.03
"""Weight β of the variance."""
GAMMA = 1024.0
"""γ: the spectral norm of B⁰A⁰ is at most 1/γ."""


def lora_da(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the r directions of a natural-gradient step that leave the least expected error.

    `F = (Z + δI) ⊗ diag(y + δ)` is the Fisher information of W by K-FAC, with `Z = E[x xᵀ]` of its inputs and `y =
    E[(∂L/∂output)²]` of its outputs, and `D = −diag(y + δ)⁻¹ G (Z + δI)⁻¹` is the step of W that it gives. The
    guidance matrix

        `Ω = β Σᵢ 1/(yᵢ + δ) / N · (Z + δI)⁻¹ − DᵀD`

    weighs the variance of training on N examples against the part of D that is missed. `A⁰` holds the eigenvectors of
    its r smallest eigenvalues in its rows, over √γ, and `B⁰ = D A⁰ᵀ / σ₁(D)`, so that `B⁰A⁰` is D on these directions,
    with a spectral norm of at most 1/γ. δ = 1e-6, β = 0.03 and γ = 1024 are those of the authors' code, which also
    divides D by its largest singular value; the paper does not. In each row of A the entry of largest magnitude is
    positive.

    Eigenvectors are exact here, where the authors iterate. They keep the base weight, so that the start makes the step
    `s B⁰A⁰`. Here every start preserves the model's function: `s B⁰A⁰` is subtracted from W, and the first step is
    still to come. They read 256 examples; a race reads its first batches.

    Args:
        calibration: the gradient of W (out, in), mean (in,) and covariance (in, in) of its inputs, squared gradient
            (out,) of its outputs, and the number of examples to train on

    References:
        Zhang et al. 2025, arXiv 2510.24561; github.com/zqy0126/LoRA-DA.

    Examples:
        Directions in which the inputs are large count less, since W has to move less there:

        >>> import torch
        >>> import olora_viz as ov
        >>> data = ov.Calibration(
        ...     gradient=torch.diag(torch.tensor([4.0, 3.0])), mean=torch.zeros(2),
        ...     covariance=torch.diag(torch.tensor([4.0, 1.0])), squares=torch.ones(2),
        ...     examples=9,
        ... )
        >>> start = ov.lora_da(torch.zeros(2, 2), r=1, calibration=data)
        >>> (32 * start.A).round(decimals=3), (32 * start.B.T).round(decimals=3)
        (tensor([[0., 1.]]), tensor([[ 0., -1.]]))
    """
    check_rank(W, r)
    G, Z, y, N = fisher_of(W, calibration, "lora_da")
    spread, V = torch.linalg.eigh(Z)
    Z_inverse = V / (spread.clamp(min=0) + DAMPING) @ V.mT
    y_inverse = 1 / (y + DAMPING)
    D = -y_inverse[:, None] * (G @ Z_inverse)
    variance = VARIANCE * y_inverse.sum() / N * Z_inverse
    directions = leading_eigenvectors(D.mT @ D - variance, r)
    largest = torch.linalg.matrix_norm(D, 2).clamp(min=torch.finfo(D.dtype).tiny)
    W = precise(W)
    A, B = directions.mT, D @ directions / largest
    return Start(A=(A / GAMMA**0.5).to(W), B=(B / GAMMA**0.5).to(W))


INITIALIZER = Initializer(
    name="lora_da",
    label="LoRA-DA",
    start=lora_da,
    short="a natural-gradient step",
    summary="A and B hold a natural-gradient step of W, on its r surest directions.",
    source="Zhang et al. 2025, arXiv 2510.24561",
    color=("#190019", "#966496"),
    place=17,
    nested=True,
    needs="fisher",
)
