"""OLoRA with column pivoting: the basis does not depend on the order of the input features."""

import torch
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

TIE = 1e-13
"""Squared residuals closer than this, relative to the largest column of W, count as equal.

The tolerance is well above float64 rounding, so every machine picks the same column among equals. A residual below it
(3e-7 of the largest column's norm) counts as zero."""

COLUMNS_AT_ONCE = 512
"""The columns whose squares are in memory at once."""


def olora_pivoted(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the column-pivoted QR of W: the columns of largest residual come first.

    `W[:, pivots] = Q_r T`, `B⁰ = Q_r`, `A⁰ = Q_rᵀ W`. Each pivot is the column with the largest residual after the
    ones picked before it; ties go to the first one. Permuting the input features permutes the columns of A and leaves
    B unchanged, unlike in `olora`. Equals the first r steps of LAPACK's `geqp3` (SciPy's `qr(W, pivoting=True)`) up to
    sign, at O(out in r).

    `BᵀB = I` holds for every W. Where the rank of W is below r (for instance W = 0), the remaining pivots are the
    first columns not yet picked, the basis is completed by orthonormal vectors, and A is zero on them to rounding.

    References:
        Büyükakyüz 2024, arXiv 2406.01775; Businger and Golub 1965, Numerische Mathematik 7, 269–276.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> ov.olora_pivoted(torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 4.0]]), r=1).B.T
        tensor([[0.6000, 0.8000]])
    """
    check_rank(W, r)
    W = precise(W)
    B = orthonormal_basis(W[:, greedy_pivots(W, r)])
    return Start(A=B.mT @ W, B=B)


def greedy_pivots(W: Matrix, r: int) -> list[int]:
    """Return the first r pivots of the column-pivoted QR of W, without the full factorization.

    Gram–Schmidt, r steps. W is not modified: the squared residual of column j after k steps is `‖W_j‖² − Σ_{i≤k} (q_iᵀ
    W_j)²`, so a step costs one product `q_kᵀ W`. The difference cancels digits, hence float64 throughout.

    Examples:
        >>> greedy_pivots(torch.eye(4), 2)
        [0, 1]
    """
    W = W.double()
    residual = torch.cat([columns.square().sum(0) for columns in W.split(COLUMNS_AT_ONCE, dim=1)])  # (in,)
    tie = TIE * residual.max()
    Q = W.new_zeros(r, W.shape[0])  # rows are the basis: both products read contiguous memory
    R = W.new_zeros(r, W.shape[1])
    pivots: list[int] = []
    for k in range(r):
        j = int((residual >= residual.max() - tie).int().argmax())  # the first of equals
        if residual[j] > tie:
            q = W[:, j] - R[:k, j] @ Q[:k]
            Q[k] = q / q.norm()
            R[k] = Q[k] @ W
        residual -= R[k].square()
        residual[j] = -torch.inf
        pivots.append(j)
    return pivots


INITIALIZER = Initializer(
    name="olora_pivoted",
    label="OLoRA, pivoted",
    start=olora_pivoted,
    short="pivoted QR factors of W",
    summary="OLoRA on the r columns of W that a column-pivoted QR picks.",
    source="Businger and Golub 1965, Numerische Mathematik 7, on arXiv 2406.01775",
    color=("#b97a00", "#f2b134"),
    place=5,
    nested=True,
)
