"""PiSSA without the singular values: the control for what their sizes contribute."""

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


def pissa_flat(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from the r leading singular vectors of W, all of the same length.

    `W = U diag(S) Vh`, `B⁰ = U_r`, `A⁰ = Vh_r`: the directions of PiSSA without their sizes, so both factors are
    orthonormal. Where W has equal singular values, or none (W = 0), the directions are some orthonormal ones.

    References:
        A variant of Meng, Wang, Zhang 2024, arXiv 2404.02948.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.pissa_flat(torch.tensor([[8.0, 0.0], [0.0, 1.0]]), r=1)
        >>> start.B.T, start.A
        (tensor([[1., 0.]]), tensor([[1., 0.]]))
    """
    check_rank(W, r)
    U, _, Vh = singular_triplets(precise(W))
    return Start(A=Vh[:r].clone(), B=U[:, :r])


INITIALIZER = Initializer(
    name="pissa_flat",
    label="PiSSA, flat",
    start=pissa_flat,
    short="largest singular vectors, orthonormal",
    summary="PiSSA without the singular values, so A and B are orthonormal: a control.",
    source="a variant of Meng, Wang, Zhang 2024, arXiv 2404.02948",
    color=("#47008f", "#7a3dff"),
    place=11,
    nested=True,
)
