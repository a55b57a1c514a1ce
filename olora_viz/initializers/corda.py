"""CorDA: the principal directions of W as its inputs see them."""

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.calibration import Calibration, inputs_of
from olora_viz.initializers.factor import singular_triplets
from olora_viz.initializers.start import Start, check_rank, check_scale, precise

DAMPING = 0.01
"""The share of the mean of C's diagonal that is added to it, PEFT's and the authors'."""


def corda(
    W: Float[Tensor, "out in"],
    r: int,
    *,
    s: float = 1.0,
    generator: torch.Generator | None = None,
    calibration: Calibration | None = None,
) -> Start:
    """Start from what W does to the inputs that it gets: PiSSA of W times their second moment.

    `W C = U diag(S) Vh` with `C = E[x xᵀ] + 0.01 c I`, c the mean of the diagonal of `E[x xᵀ]`;
    `B⁰ = U_r √(S_r / s)`, `A⁰ = √(S_r / s) Vh_r C⁻¹`. No inverse is needed: `diag(S_r) Vh_r C⁻¹ =
    U_rᵀ W`, so that `A⁰ = U_rᵀ W / √(S_r s)`, and `s B⁰A⁰ = U_r U_rᵀ W` is a projection of W, as
    OLoRA's is. In each column of B the entry of largest magnitude is positive.

    This is the paper's instruction-previewed mode, which adapts the leading components. The product
    does not depend on the size of C, but how it is dealt out between A and B does; here `c = 1`.
    (PEFT divides each batch by its largest entry and sums over its tokens, so that an outlier or a
    longer batch moves magnitude from B to A or back.)

    Where a singular value is zero (W = 0, say), so are its row of A and its column of B. They are
    finite, but as each is the other's gradient, such a component never learns.

    Parameters
    ----------
    W : (out, in)
    r : rank, 1 ≤ r ≤ min(out, in)
    s : scale of the adapter, positive
    generator : unused, nothing is random
    calibration : mean (in,) and covariance (in, in) of the inputs

    Returns
    -------
    Start
        A (r, in) and B (out, r) in float32, or float64 where W is.

    Raises
    ------
    ValueError
        For a rank that W cannot hold, a scale that is not positive, or without inputs of W's width.

    References
    ----------
    Yang et al. 2024, arXiv 2406.05223; PEFT's `init_lora_weights="corda"`.

    Examples
    --------
    >>> seen = Calibration(mean=torch.zeros(2), covariance=torch.diag(torch.tensor([0.0, 2.0])))
    >>> start = corda(torch.diag(torch.tensor([9.0, 4.0])), r=1, calibration=seen)
    >>> (start.B @ start.A).round(decimals=4)  # the inputs do not reach the larger one
    tensor([[0., 0.],
            [0., 4.]])
    """
    check_rank(W, r)
    check_scale(s)
    C = inputs_of(W, calibration, "corda").second_moment()
    C = C / C.diagonal().mean().clamp(min=torch.finfo(C.dtype).tiny)
    C.diagonal().add_(DAMPING)
    W = precise(W)
    U, S, _ = singular_triplets(W.double() @ C)
    U, S = U[:, :r], S[:r]
    # Where W runs out of rank, S is noise, and so is what is divided by it.
    noise = S[0] * max(W.shape) * torch.finfo(S.dtype).eps
    S = S.masked_fill(noise >= S, 0.0)
    inverse = S.masked_fill(S == 0, torch.inf).mul(s).rsqrt()
    A = inverse[:, None] * (U.mT @ W.double())
    return Start(A=A.to(W), B=(U * (S / s).sqrt()).to(W))
