"""LoftQ: the best correction of a base in four bits, made in turns with that base."""

from torch import Generator, zeros_like

from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start, check_rank, check_scale, precise
from olora_viz.machine.four_bit import nf4


def loftq(
    W: Matrix,
    r: int,
    *,
    s: float = 1.0,
    generator: Generator | None = None,
    calibration: Calibration | None = None,
    iterations: int = 1,
) -> Start:
    """Take turns: Q is W − s BA in four bits, beginning with BA = 0, then s BA the best approximation of W − Q.

    Q is in NF4 with double quantization, and `base` of the result; a race on a four-bit base takes it as the lane's
    own one, with ``start_from=residual``. Elsewhere s B⁰A⁰ is subtracted from W like that of any start.

    References:
        Li et al. 2023, arXiv 2310.08659, algorithm 1.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> W = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        >>> start = ov.starts.loftq(W, r=8, iterations=5)
        >>> bool((start.base + start.B @ start.A - W).norm() < (start.base - W).norm())
        True
    """
    check_rank(W, r)
    check_scale(s)
    W = precise(W)
    start, base = Start(zeros_like(W)[:r], zeros_like(W)[:, :r]), W
    for _ in range(iterations):
        base = nf4(W - s * start.B @ start.A, double=True)
        start = pissa(W - base, r, s=s)
    return Start(start.A, start.B, base)


INITIALIZER = Initializer(
    name="loftq",
    label="LoftQ",
    start=loftq,
    short="what four bits lose of W",
    summary="A and B share the r largest singular triplets of what a base in four bits lacks of W.",
    source="Li et al. 2023, arXiv 2310.08659",
    color=("#8a1f00", "#9988cc"),
    place=19,
    iterates=True,
)
