"""RLMO: the minor input directions of W, with B = 0."""

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


def rlmo(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like LoRA, with the last r right singular vectors of W in A.

    `W = U diag(S) Vh`, `A⁰ = Vh_m`, `B⁰ = 0`, where m denotes the last r of the min(out, in) triplets, the smallest
    first. A has orthonormal rows. Nothing is subtracted from W. See `rlpo` for the principal directions, and `mica`
    for the minor ones of the outputs.

    References:
        Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813; github.com/Richard-ZZZ/geometry-preserving-orthonormal-init-rlvr.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.rlmo(torch.tensor([[9.0, 0.0], [0.0, 4.0]]), r=1)
        >>> start.A, start.B.T
        (tensor([[0., 1.]]), tensor([[0., 0.]]))
    """
    check_rank(W, r)
    W = precise(W)
    _, _, Vh = singular_triplets(W)
    return Start(A=Vh[-r:].flip(0), B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="rlmo",
    label="RLMO",
    start=rlmo,
    short="A last singular vectors, B zero",
    summary="A holds the last r right singular vectors of W; B is zero.",
    source="Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813",
    color=("#3d291f", "#f51f66"),
    place=22,
    nested=True,
    zero_product=True,
)
