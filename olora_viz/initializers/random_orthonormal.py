"""A random orthonormal basis: the control for what the columns of W contribute."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    draw_columns,
    orthonormal_basis,
    precise,
)


def random_orthonormal(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like OLoRA, but on a uniformly random subspace instead of one taken from W.

    `Ω (out, r)` is Gaussian, drawn column by column so that a larger rank extends a smaller one; `B⁰ = Q` of the QR of
    Ω, `A⁰ = BᵀW`. With diag(R) > 0, Q is Haar-distributed (uniform over the orthonormal bases).

    References:
        Mezzadri 2007, arXiv math-ph/0609050 (why the sign of R matters for the distribution).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = ov.random_orthonormal(torch.eye(6), r=2, generator=generator)
        >>> torch.allclose(start.B.T @ start.B, torch.eye(2), atol=1e-6)
        True
    """
    check_rank(W, r)
    W = precise(W)
    B = orthonormal_basis(draw_columns(W.shape[0], r, W, generator))
    return Start(A=B.mT @ W, B=B)


INITIALIZER = Initializer(
    name="random_orthonormal",
    label="Random basis",
    start=random_orthonormal,
    short="B a random basis",
    summary="OLoRA on a random orthonormal basis, independent of W: a control.",
    source="Mezzadri 2007, arXiv math-ph/0609050",
    color=("#c4699a", "#e3a3c6"),
    place=8,
    random=True,
    nested=True,
)
