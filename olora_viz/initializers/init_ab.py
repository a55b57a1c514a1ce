"""Init[AB]: plain LoRA whose B is as random as its A."""

import torch
from torch import Generator

from olora_viz.initializers.lora import lora
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start, seeded


def init_ab(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start with both factors random and of one variance.

    `A⁰, B⁰ ~ U(−1/√in, 1/√in)`: A is that of plain LoRA with the same seed, and the entries of B follow the same law.
    The product is not zero, so `s B⁰A⁰` is subtracted from W.

    The paper draws both factors with a variance of order 1/in, whose size is a setting. Here it is 1/(3 in), that of
    Kaiming uniform initialization with `a = √5`, which PEFT uses for A. The paper also starts without the subtraction,
    and finds that it makes little difference; here every model starts as its base model.

    References:
        Li et al. 2025, arXiv 2505.23194.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.init_ab(torch.zeros(4, 3), r=2)
        >>> start.B.shape, bool((start.B.abs() <= 3**-0.5).all())
        (torch.Size([4, 2]), True)
    """
    generator = seeded(generator)
    A = lora(W, r, generator=generator).A
    bound = W.shape[1] ** -0.5
    B = torch.empty(W.shape[0], r).uniform_(-bound, bound, generator=generator)
    return Start(A=A, B=B.to(A))


INITIALIZER = Initializer(
    name="init_ab",
    label="Init[AB]",
    start=init_ab,
    short="A random, B random",
    summary="A and B are both uniformly random, with the same variance.",
    source="Li et al. 2025, arXiv 2505.23194",
    color=("#19004b", "#4b967d"),
    place=3,
    random=True,
)
