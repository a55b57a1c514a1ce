"""LoRA: a random A and B = 0."""

import math

import torch
from torch import Generator

from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start, check_rank, precise, seeded


def lora(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start plain LoRA: A uniform, B zero.

    `A⁰ ~ U(−1/√in, 1/√in)`, `B⁰ = 0`. This is Kaiming uniform initialization with `a = √5`, as in PEFT and the
    reference code; the paper itself says "random Gaussian" (see `gaussian`).

    References:
        Hu et al. 2021, arXiv 2106.09685; He et al. 2015, arXiv 1502.01852 (Kaiming initialization).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.lora(torch.ones(4, 3), r=2)
        >>> start.A.shape, start.B.abs().max().item()
        (torch.Size([2, 3]), 0.0)
    """
    check_rank(W, r)
    W = precise(W)
    A = torch.empty(r, W.shape[1])
    torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=seeded(generator))
    return Start(A=A.to(W), B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="lora",
    label="LoRA",
    start=lora,
    short="A random, B zero",
    summary="A is uniformly random and B is zero, so the first step moves B alone.",
    source="Hu et al. 2021, arXiv 2106.09685",
    color=("#6b7688", "#a9b4c6"),
    place=1,
    random=True,
    zero_product=True,
)
