"""PiSSA by a randomized SVD."""

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.start import Calibration, Initializer, Start

NITER = 6
"""Iterations: at rank 16 on SmolLM2 the worst layer reaches 0.998 of the optimal energy."""


def pissa_fast(
    W: Float[Tensor, "out in"],
    r: int,
    *,
    s: float = 1.0,
    generator: torch.Generator | None = None,
    calibration: Calibration | None = None,
) -> Start:
    """Start like PiSSA, with the leading singular triplets from a randomized SVD.

    `s B⁰A⁰` is close to the best rank-r approximation of W, at O(out in r) instead of O(out in min(out, in)). It is
    `pissa` with `niter=6`.

    Args:
        W: (out, in)
        r: rank, 1 ≤ r ≤ min(out, in)
        s: scale of the adapter, positive
        generator: CPU generator that draws the sketch; None means seed 0
        calibration: unused

    Returns:
        Start
            A (r, in) and B (out, r) in float32, or float64 if W is float64.

    Raises:
        ValueError: if the rank exceeds min(out, in) or the scale is not positive.

    References:
        Meng, Wang, Zhang 2024, arXiv 2404.02948; Musco and Musco 2015, arXiv 1504.05477.
    """
    return pissa(W, r, s=s, generator=generator, niter=NITER)


INITIALIZER = Initializer(
    name="pissa_fast",
    label="PiSSA, fast",
    start=pissa_fast,
    summary="PiSSA with a randomized SVD.",
    source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
    color=("#3793c8", "#a5dbff"),
    place=12,
    random=True,
)
