"""LoRA with a Gaussian A."""

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.start import Calibration, Initializer, Start, check_rank, draw, precise


def gaussian(
    W: Float[Tensor, "out in"],
    r: int,
    *,
    s: float = 1.0,
    generator: torch.Generator | None = None,
    calibration: Calibration | None = None,
) -> Start:
    """Start LoRA with a Gaussian A, as in the paper, with PEFT's standard deviation.

    `A⁰ ~ N(0, 1/r²)`, `B⁰ = 0`.

    Args:
        W: (out, in); only its shape, dtype and device matter
        r: rank, 1 ≤ r ≤ min(out, in)
        s: scale of the adapter, unused
        generator: CPU generator that draws A; None means seed 0
        calibration: unused

    Returns:
        Start
            A (r, in) and B (out, r) in float32, or float64 if W is float64.

    Raises:
        ValueError: if the rank exceeds min(out, in).

    References:
        Hu et al. 2021, arXiv 2106.09685, section 4.1; PEFT's `init_lora_weights="gaussian"`.
    """
    check_rank(W, r)
    W = precise(W)
    return Start(A=draw(r, W.shape[1], W, generator) / r, B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="gaussian",
    label="LoRA, Gaussian A",
    start=gaussian,
    summary="A is Gaussian with standard deviation 1/r and B is zero.",
    source="Hu et al. 2021, arXiv 2106.09685",
    color=("#2b303b", "#e8ebf1"),
    place=2,
    random=True,
    zero_product=True,
)
