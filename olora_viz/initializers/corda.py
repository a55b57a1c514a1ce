"""CorDA: the principal directions of W, weighted by its inputs."""

import torch
from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    check_scale,
    inputs_of,
    precise,
    singular_triplets,
)

DAMPING = 0.01
"""The share of the mean diagonal of C that is added to the diagonal, as in PEFT and the paper."""


def corda(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the singular triplets of W C, with C the second moment of the inputs.

    `W C = U diag(S) Vh` with `C = E[x xᵀ] + 0.01 c I`, c the mean of the diagonal of `E[x xᵀ]`;
    `B⁰ = U_r √(S_r / s)`, `A⁰ = √(S_r / s) Vh_r C⁻¹`. No inverse is needed: `diag(S_r) Vh_r C⁻¹ =
    U_rᵀ W`, so `A⁰ = U_rᵀ W / √(S_r s)`, and `s B⁰A⁰ = U_r U_rᵀ W` is a projection of W, as in
    OLoRA. In each column of B the entry of largest magnitude is positive.

    This is the paper's instruction-previewed mode, which adapts the leading components; `corda_kpm` is the other one.
    The product does not depend on the scale of C, but the split between A and B does; here `c = 1`. (PEFT divides each
    batch by its largest entry and sums over tokens, so an outlier or a longer batch shifts magnitude between A and B.)

    Where a singular value is zero (for instance W = 0), its row of A and its column of B are zero too. They are
    finite, but such a component never learns: each factor's gradient is proportional to the other.

    References:
        Yang et al. 2024, arXiv 2406.05223; PEFT's `init_lora_weights="corda"`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> spread = torch.diag(torch.tensor([0.0, 2.0]))
        >>> seen = ov.Calibration(mean=torch.zeros(2), covariance=spread)
        >>> start = ov.corda(torch.diag(torch.tensor([9.0, 4.0])), r=1, calibration=seen)
        >>> (start.B @ start.A).round(decimals=4)  # the inputs do not excite the larger one
        tensor([[0., 0.],
                [0., 4.]])
    """
    return weighted_triplets(W, r, s, calibration, "corda", range(r))


def weighted_triplets(W: Matrix, r: int, s: float, calibration: Calibration | None, name: str, places: range) -> Start:
    """Start from the singular triplets of W C in these places; see `corda`."""
    check_rank(W, r)
    check_scale(s)
    C = inputs_of(W, calibration, name).second_moment()
    C = C / C.diagonal().mean().clamp(min=torch.finfo(C.dtype).tiny)
    C.diagonal().add_(DAMPING)
    W = precise(W)
    U, S, _ = singular_triplets(W.double() @ C)
    # Beyond the rank of W, S is rounding noise: do not divide by it.
    noise = S[0] * max(W.shape) * torch.finfo(S.dtype).eps
    U, S = U[:, [*places]], S.masked_fill(noise >= S, 0.0)[[*places]]
    inverse = S.masked_fill(S == 0, torch.inf).mul(s).rsqrt()
    A = inverse[:, None] * (U.mT @ W.double())
    return Start(A=A.to(W), B=(U * (S / s).sqrt()).to(W))


INITIALIZER = Initializer(
    name="corda",
    label="CorDA",
    start=corda,
    short="principal directions, by inputs",
    summary="A and B share the principal directions of W, weighted by its inputs.",
    source="Yang et al. 2024, arXiv 2406.05223",
    color=("#2b2bd6", "#6f7dff"),
    place=19,
    nested=True,
    needs="inputs",
)
