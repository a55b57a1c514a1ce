"""MiCA: a frozen B in the minor left singular directions of W."""

import torch
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


def mica(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start with a frozen B in the minor directions of W; only A is trained, from zero.

    `W = U diag(S) Vh`, `B⁰ = U_m`, `A⁰ = 0`, where m denotes the last r of the min(out, in) triplets, the smallest
    first. B has orthonormal columns, and in each column the entry of largest magnitude is positive.

    References:
        Rüdiger, Raschka 2026, arXiv 2604.01694; PEFT's `init_lora_weights="mica"`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.mica(torch.tensor([[9.0, 0.0], [0.0, 4.0]]), r=1)
        >>> start.B.T, start.A
        (tensor([[0., 1.]]), tensor([[0., 0.]]))
    """
    check_rank(W, r)
    W = precise(W)
    U, S, _ = singular_triplets(W)
    last = torch.arange(len(S) - 1, len(S) - 1 - r, -1, device=S.device)
    return Start(A=W.new_zeros(r, W.shape[1]), B=U[:, last])


INITIALIZER = Initializer(
    name="mica",
    label="MiCA",
    start=mica,
    short="B last singular vectors, frozen",
    summary="B is frozen at the last r left singular vectors of W; A starts at zero.",
    source="Rüdiger, Raschka 2026, arXiv 2604.01694",
    color=("#2f5a10", "#cdf09a"),
    place=23,
    nested=True,
    zero_product=True,
    frozen_B=True,
)
