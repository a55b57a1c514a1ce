"""MiLoRA: the minor singular triplets of W."""

import torch
from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    check_scale,
    precise,
    singular_triplets,
)


def milora(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the r smallest singular triplets of W.

    `W = U diag(S) Vh`, `B⁰ = U_m √(S_m / s)`, `A⁰ = √(S_m / s) Vh_m`, where m denotes the last r of the min(out, in)
    triplets, the smallest first. `s B⁰A⁰` is the residual of the best approximation of W of rank min(out, in) − r. In
    each column of B the entry of largest magnitude is positive.

    Where a singular value is zero (W is rank-deficient), its row of A and its column of B are zero too. They are
    finite, but such a component never learns: each factor's gradient is proportional to the other.

    References:
        Wang et al. 2024, arXiv 2406.09044.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.milora(torch.tensor([[9.0, 0.0], [0.0, 4.0]]), r=1)
        >>> start.B.T, start.A
        (tensor([[0., 2.]]), tensor([[0., 2.]]))
    """
    check_rank(W, r)
    check_scale(s)
    U, S, Vh = singular_triplets(precise(W))
    last = torch.arange(len(S) - 1, len(S) - 1 - r, -1, device=S.device)
    root = (S[last] / s).sqrt()
    return Start(A=root[:, None] * Vh[last], B=U[:, last] * root)


INITIALIZER = Initializer(
    name="milora",
    label="MiLoRA",
    start=milora,
    short="smallest singular vectors of W",
    summary="A and B share the r smallest singular triplets of W.",
    source="Wang et al. 2024, arXiv 2406.09044",
    color=("#00936b", "#3fcfa3"),
    place=13,
    nested=True,
)
