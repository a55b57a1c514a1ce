"""PiSSA: the principal singular triplets of W."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    check_scale,
    precise,
    randomized_triplets,
    singular_triplets,
)


def pissa(
    W: Matrix,
    r: int,
    *,
    s: float = 1.0,
    generator: Generator | None = None,
    calibration: Calibration | None = None,
    niter: int | None = None,
) -> Start:
    """Start from the r largest singular triplets of W.

    `W = U diag(S) Vh`, `B⁰ = U_r √(S_r / s)`, `A⁰ = √(S_r / s) Vh_r`, so `s B⁰A⁰` is the best rank-r approximation of
    W for every s. In each column of B the entry of largest magnitude is positive.

    Where a singular value is zero (for instance W = 0), its row of A and its column of B are zero too. They are
    finite, but such a component never learns: each factor's gradient is proportional to the other.

    Args:
        niter: None for the exact SVD, or the number of iterations of the randomized one, 0 or more

    Raises:
        ValueError: if the rank exceeds min(out, in), the scale is not positive, or `niter` is negative.

    References:
        Meng, Wang, Zhang 2024, arXiv 2404.02948; Musco and Musco 2015, arXiv 1504.05477 (the randomized SVD).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.pissa(torch.tensor([[8.0, 0.0], [0.0, 1.0]]), r=1, s=2.0)
        >>> start.B.T, start.A
        (tensor([[2., 0.]]), tensor([[2., 0.]]))
    """
    check_rank(W, r)
    check_scale(s)
    W = precise(W)
    if niter is None:
        U, S, Vh = singular_triplets(W)
    elif niter >= 0:
        U, S, Vh = randomized_triplets(W, r, niter, generator)
    else:
        raise ValueError(f"niter = {niter} must be None (exact SVD) or at least 0")
    root = (S[:r] / s).sqrt()
    return Start(A=root[:, None] * Vh[:r], B=U[:, :r] * root)


INITIALIZER = Initializer(
    name="pissa",
    label="PiSSA",
    start=pissa,
    short="largest singular vectors of W",
    summary="A and B share the r largest singular triplets of W.",
    source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
    color=("#0072b2", "#5db8f5"),
    place=10,
    nested=True,
)
