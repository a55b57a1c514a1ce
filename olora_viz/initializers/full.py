"""Full fine-tuning: the dense update of the target layers."""

import torch
from torch import Generator

from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start, check_rank, precise


def full(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start with a frozen B of the first r columns of the identity; A is trained, from zero.

    `B⁰ = I[:, :r]`, `A⁰ = 0`. With r = out and s = 1, `ΔW = B A = A` is any matrix, and Adam on A is Adam on W: full
    fine-tuning. A lane of this start always trains so, whatever its rank and alpha, see `Initializer.dense`.

    References:
        Devlin et al. 2018, arXiv 1810.04805.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.full(torch.ones(3, 2), r=1)
        >>> start.B.T, start.A
        (tensor([[1., 0., 0.]]), tensor([[0., 0.]]))
    """
    check_rank(W, r)
    W = precise(W)
    B = torch.eye(W.shape[0], r, dtype=W.dtype, device=W.device)
    return Start(A=W.new_zeros(r, W.shape[1]), B=B)


INITIALIZER = Initializer(
    name="full",
    label="Full fine-tuning",
    start=full,
    short="no A, no B",
    summary="The whole of W is trained, without A and B: a reference for small models.",
    source="Devlin et al. 2018, arXiv 1810.04805",
    color=("#5a0f4b", "#ffd3f3"),
    place=24,
    nested=True,
    zero_product=True,
    frozen_B=True,
    dense=True,
)
