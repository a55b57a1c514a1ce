"""A sketch of W: a basis from random mixtures of all its columns."""

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


def sketch(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like OLoRA, but on r random mixtures of all columns instead of the first r columns.

    `Ω (in, r)` is Gaussian, drawn column by column so that a larger rank extends a smaller one; `B⁰ = Q` of the QR of
    `W Ω`, `A⁰ = BᵀW`. The span leans towards the leading singular vectors of W, without a factorization of W. This is
    the control between a random basis (`random_orthonormal`) and the columns of W in their order (`olora`).

    `BᵀB = I` holds for every W. Where the rank of W is below r, the basis is completed by orthonormal vectors, and A
    is zero on them to rounding.

    References:
        Halko, Martinsson, Tropp 2011, arXiv 0909.4061, algorithm 4.1.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> W = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])  # of rank 1
        >>> start = ov.sketch(W, r=1, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(start.B @ start.A, W)
        True
    """
    check_rank(W, r)
    W = precise(W)
    B = orthonormal_basis(W @ draw_columns(W.shape[1], r, W, generator))
    return Start(A=B.mT @ W, B=B)


INITIALIZER = Initializer(
    name="sketch",
    label="Sketch",
    start=sketch,
    short="mixtures of the columns of W",
    summary="OLoRA on r random mixtures of all the columns of W: a control.",
    source="Halko, Martinsson, Tropp 2011, arXiv 0909.4061",
    color=("#857a00", "#e5db4c"),
    place=9,
    random=True,
    nested=True,
)
