"""OLoRA: the QR factors of W."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    orthonormal_basis,
    precise,
)


def olora(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the QR of W: an orthonormal basis of its first r columns, and W in that basis.

    `W[:, :r] = Q_r T`, `B⁰ = Q_r`, `A⁰ = Q_rᵀ W`. This equals the first r columns of Q and rows of R of the full QR of
    W, at O(out r² + out in r) instead of O(out in min(out, in)). Hence `B⁰A⁰ = Q_r Q_rᵀ W` is the projection of W onto
    the span of its first r columns: which columns are first matters, their order among themselves does not. The sign
    is fixed by diag(T) > 0.

    `BᵀB = I` holds for every W. Where one of the first r columns is zero or depends on the ones before it (for
    instance W = 0), the basis is completed by an orthonormal vector.

    Args:
        s: scale of the adapter, unused: the paper scales the update, not the factors

    References:
        Büyükakyüz 2024, arXiv 2406.01775.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.olora(torch.tensor([[3.0, 5.0], [4.0, 0.0]]), r=1)
        >>> start.B.T, start.A
        (tensor([[0.6000, 0.8000]]), tensor([[5., 3.]]))
    """
    check_rank(W, r)
    W = precise(W)
    B = orthonormal_basis(W[:, :r])
    return Start(A=B.mT @ W, B=B)


INITIALIZER = Initializer(
    name="olora",
    label="OLoRA",
    start=olora,
    short="QR factors of W",
    summary="B is an orthonormal basis of the first r columns of W; A is W in that basis.",
    source="Büyükakyüz 2024, arXiv 2406.01775",
    color=("#d55e00", "#ff9248"),
    place=4,
    nested=True,
)
