"""LoRA-One: one step of gradient descent, at rank r."""

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.calibration import Calibration, gradient_of
from olora_viz.initializers.factor import singular_triplets
from olora_viz.initializers.start import Start, check_rank

GAMMA = 128.0
"""The γ that the authors' experiments use for language models."""


def lora_one(
    W: Float[Tensor, "out in"],
    r: int,
    *,
    s: float = 1.0,
    generator: torch.Generator | None = None,
    calibration: Calibration | None = None,
) -> Start:
    """Start in the direction of the first step that full fine-tuning would make.

    `−G = −∂L/∂W = U diag(S) Vh`, `B⁰ = U_r √(S_r / γσ)`, `A⁰ = √(S_r / γσ) Vh_r` with γ = 128 and
    `σ = S₁`, so that `B⁰A⁰ = −G_r / (γ S₁)`: the best rank-r approximation of the step, of length
    1/γ in its longest direction. In each column of B the entry of largest magnitude is positive.

    What was taken. The paper's spectral initialization, in the form of the authors' code: divided
    by S₁, with γ under the root. There the base stays as it is, and the step `s B⁰A⁰` is made with
    the start; here every start leaves the model's function alone, so that W gives up what the
    factors add, and the first update has yet to be made. The preconditioners that the paper also
    proposes belong to the optimizer and are left out.

    Where a singular value of G is zero, so are its row of A and its column of B: they are finite,
    but as each is the other's gradient, such a component never learns.

    Parameters
    ----------
    W : (out, in), only its shape, dtype and device matter
    r : rank, 1 ≤ r ≤ min(out, in)
    s : scale of the adapter, unused
    generator : unused, nothing is random
    calibration : the gradient of W, (out, in)

    Returns
    -------
    Start
        A (r, in) and B (out, r) in float32, or float64 where W is.

    Raises
    ------
    ValueError
        For a rank that W cannot hold, or without a gradient of W's shape.

    References
    ----------
    Zhang, Liu, Chen 2025, arXiv 2502.01235; github.com/YuanheZ/LoRA-One.

    Examples
    --------
    >>> G = torch.diag(torch.tensor([-8.0, 2.0]))
    >>> start = lora_one(torch.zeros(2, 2), r=1, calibration=Calibration(gradient=G))
    >>> (128 * start.B @ start.A).round(decimals=4)
    tensor([[1., 0.],
            [0., 0.]])
    """
    check_rank(W, r)
    U, S, Vh = singular_triplets(-gradient_of(W, calibration, "lora_one"))
    # A gradient of zeros has zeros for S as well: divided by anything, they stay zeros.
    root = (S[:r] / S[0].clamp(min=torch.finfo(S.dtype).tiny) / GAMMA).sqrt()
    return Start(A=root[:, None] * Vh[:r], B=U[:, :r] * root)
