"""Two random, non-zero factors with a zero product."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    draw,
    orthonormal_basis,
    precise,
    seeded,
)


def orthogonal(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from two random factors with B⁰A⁰ = 0.

    `Q (r, r)` a random orthogonal matrix, `X (in, r/2)` and `Y (r/2, out)` Gaussian,
    `A⁰ = (X Q_odd)ᵀ / 10`, `B⁰ = Yᵀ Q_even / 10` with the odd and even rows of Q. `B⁰A⁰` is zero
    because `Q_even Q_oddᵀ = 0`. Unlike in LoRA, both factors have a gradient from the first step.

    Args:
        r: rank, even, 2 ≤ r ≤ min(out, in)

    Returns:
        Start
            A (r, in) and B (out, r) in float32, or float64 if W is float64; `B A` is zero to rounding.

    Raises:
        ValueError: if the rank is odd or exceeds min(out, in).

    References:
        PEFT's `init_lora_weights="orthogonal"`, after datta0.github.io/posts/rethink-lora-init (no paper).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> generator = torch.Generator().manual_seed(0)
        >>> start = ov.orthogonal(torch.eye(6), r=2, generator=generator)
        >>> bool(start.A.any()), bool(start.B.any()), bool((start.B @ start.A).abs().max() < 1e-6)
        (True, True, True)
    """
    check_rank(W, r)
    if r % 2:
        raise ValueError(f"rank {r} is odd, but 'orthogonal' needs an even rank")
    W = precise(W)
    generator = seeded(generator)
    Q = orthonormal_basis(draw(r, r, W, generator))
    X = draw(W.shape[1], r // 2, W, generator)
    Y = draw(r // 2, W.shape[0], W, generator)
    return Start(A=(X @ Q[0::2]).mT / 10, B=Y.mT @ Q[1::2] / 10)


INITIALIZER = Initializer(
    name="orthogonal",
    label="Orthogonal",
    start=orthogonal,
    short="random, with product zero",
    summary="A and B are random and non-zero, and their product is zero; r must be even.",
    source="datta0.github.io/posts/rethink-lora-init, as in PEFT",
    color=("#7a3fa0", "#bf9bf2"),
    place=14,
    random=True,
    zero_product=True,
)
