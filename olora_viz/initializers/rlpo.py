"""RLPO: the principal input directions of W, with B = 0."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    precise,
    singular_triplets,
)


def rlpo(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like LoRA, with the r leading right singular vectors of W in A.

    `W = U diag(S) Vh`, `A⁰ = Vh_r`, `B⁰ = 0`. A has orthonormal rows, so the first step of B moves the weight by `−η
    s² G A⁰ᵀA⁰`, the gradient G projected on these directions. Nothing is subtracted from W.

    References:
        Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813; github.com/Richard-ZZZ/geometry-preserving-orthonormal-init-rlvr.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.rlpo(torch.tensor([[9.0, 0.0], [0.0, 4.0]]), r=1)
        >>> start.A, start.B.T
        (tensor([[1., 0.]]), tensor([[0., 0.]]))
    """
    check_rank(W, r)
    W = precise(W)
    _, _, Vh = singular_triplets(W)
    return Start(A=Vh[:r].clone(), B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="rlpo",
    label="RLPO",
    start=rlpo,
    short="A leading singular vectors, B zero",
    summary="A holds the r leading right singular vectors of W; B is zero.",
    source="Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813",
    color=("#703dcc", "#adff00"),
    place=21,
    nested=True,
    zero_product=True,
)
