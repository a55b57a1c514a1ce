"""PiSSA by a randomized SVD."""

from torch import Generator

from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start

NITER = 6
"""Iterations: at rank 16 on SmolLM2 the worst layer reaches 0.998 of the optimal energy."""


def pissa_fast(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like PiSSA, with the leading singular triplets from a randomized SVD.

    `s B⁰A⁰` is close to the best rank-r approximation of W, at O(out in r) instead of O(out in min(out, in)). It is
    `pissa` with `niter=6`.

    References:
        Meng, Wang, Zhang 2024, arXiv 2404.02948; Musco and Musco 2015, arXiv 1504.05477.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> W = torch.diag(torch.tensor([9.0, 4.0, 1.0]))
        >>> fast = ov.pissa_fast(W, r=1, generator=torch.Generator().manual_seed(0))
        >>> exact = ov.pissa(W, r=1)
        >>> torch.allclose(fast.B @ fast.A, exact.B @ exact.A, atol=1e-3)
        True
    """
    return pissa(W, r, s=s, generator=generator, niter=NITER)


INITIALIZER = Initializer(
    name="pissa_fast",
    label="PiSSA, fast",
    start=pissa_fast,
    short="largest singular vectors, roughly",
    summary="PiSSA with a randomized SVD.",
    source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
    color=("#3793c8", "#a5dbff"),
    place=12,
    random=True,
)
