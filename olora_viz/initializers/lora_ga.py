"""LoRA-GA: the singular vectors of the gradient."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    gradient_of,
    precise,
    singular_triplets,
)

GAMMA = 16.0
"""PEFT's γ."""


def lora_ga(
    W: Matrix,
    r: int,
    *,
    s: float = 1.0,
    generator: Generator | None = None,
    calibration: Calibration | None = None,
    weighted: bool = True,
) -> Start:
    """Start so that the first step of the adapter approximates a step of W itself.

    `G = ∂L/∂W = U diag(S) Vh`: A takes the first r right singular vectors, B the next r left ones.

    - `A⁰ = Vh_[1..r]`, `B⁰ = U_[r+1..2r] diag(S_[r+1..2r]) ∜out / √γ` with γ = 16, as in PEFT
      (`direction="ArB2r"`, `scale="stable"`);
    - with `weighted=False`, as in the paper: `A⁰ = Vh_[1..r] ∜out / √γ`,
      `B⁰ = U_[r+1..2r] ∜out / √γ`, which does not depend on the norm of the gradient.

    A and B take different singular vectors, so ∂L/∂B and ∂L/∂A together span the 2r leading directions of G. The sign
    of G does not matter. In each column of B the entry of largest magnitude is positive.

    Args:
        r: rank, 1 ≤ r ≤ min(out, in) / 2
        weighted: whether B carries the singular values of G, as in PEFT, or not, as in the paper

    Raises:
        ValueError: if 2 r exceeds min(out, in), or the gradient is missing or of another shape.

    References:
        Wang, Yu, Li 2024, arXiv 2407.05000; PEFT's `init_lora_weights="lora_ga"`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> G = torch.diag(torch.tensor([9.0, 4.0]))
        >>> seen = ov.Calibration(gradient=G)
        >>> start = ov.lora_ga(torch.zeros(2, 2), r=1, calibration=seen)
        >>> start.A, start.B.T / 2**0.25
        (tensor([[1., 0.]]), tensor([[0., 1.]]))
    """
    check_rank(W, r, vectors=2)
    U, S, Vh = singular_triplets(gradient_of(W, calibration, "lora_ga"))
    W = precise(W)
    stable = W.shape[0] ** 0.25 / GAMMA**0.5
    A, B = Vh[:r], U[:, r : 2 * r] * stable
    return Start(A=A, B=B * S[r : 2 * r]) if weighted else Start(A=A * stable, B=B)


INITIALIZER = Initializer(
    name="lora_ga",
    label="LoRA-GA",
    start=lora_ga,
    short="singular vectors of the gradient",
    summary="A and B take different singular vectors of the gradient of W.",
    source="Wang, Yu, Li 2024, arXiv 2407.05000",
    color=("#b0124a", "#ff6f96"),
    place=15,
    needs="gradient",
    vectors=2,
)
