"""LoRA with a Gaussian A."""

from torch import Generator

from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start, check_rank, draw, precise


def gaussian(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start LoRA with a Gaussian A, as in the paper, with PEFT's standard deviation.

    `A⁰ ~ N(0, 1/r²)`, `B⁰ = 0`.

    References:
        Hu et al. 2021, arXiv 2106.09685, section 4.1; PEFT's `init_lora_weights="gaussian"`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = ov.gaussian(torch.ones(6, 4), r=2, generator=generator)
        >>> start.A.shape, start.B.count_nonzero().item()
        (torch.Size([2, 4]), 0)
    """
    check_rank(W, r)
    W = precise(W)
    return Start(A=draw(r, W.shape[1], W, generator) / r, B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="gaussian",
    label="LoRA, Gaussian A",
    start=gaussian,
    short="A Gaussian, B zero",
    summary="A is Gaussian with standard deviation 1/r and B is zero.",
    source="Hu et al. 2021, arXiv 2106.09685",
    color=("#2b303b", "#e8ebf1"),
    place=2,
    random=True,
    zero_product=True,
)
