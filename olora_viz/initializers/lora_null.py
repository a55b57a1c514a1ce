"""LoRA-Null: W on the directions that its inputs excite least."""

import torch
from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    check_scale,
    inputs_of,
    precise,
    singular_triplets,
)


def lora_null(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from W restricted to the null space of its inputs.

    `N (in, r)` holds the eigenvectors of the r smallest eigenvalues of `E[x xᵀ]`, and `W N Nᵀ = U diag(S) Vh`; `B⁰ = U
    √(S / s)`, `A⁰ = √(S / s) Vh`, so `s B⁰A⁰ = W N Nᵀ`. In each column of B the entry of largest magnitude is
    positive. If the inputs leave more than r directions out, N is some orthonormal basis of r of them.

    The authors read the inputs from data whose knowledge is to be kept, such as questions and answers about the world.
    Here they are those of the first batches of the race, so the adapter starts where the task's own inputs are
    weakest, which is not what the method was made for.

    Where a singular value is zero (for instance W = 0), its row of A and its column of B are zero too. They are
    finite, but such a component never learns: each factor's gradient is proportional to the other.

    References:
        Tang et al. 2025, arXiv 2503.02659; github.com/HungerPWAY/LoRA-Null.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> spread = torch.diag(torch.tensor([0.0, 2.0]))
        >>> seen = ov.Calibration(mean=torch.zeros(2), covariance=spread)
        >>> W = torch.diag(torch.tensor([9.0, 4.0]))
        >>> start = ov.lora_null(W, r=1, calibration=seen)
        >>> start.B.T, start.A
        (tensor([[3., 0.]]), tensor([[3., 0.]]))
    """
    check_rank(W, r)
    check_scale(s)
    C = inputs_of(W, calibration, "lora_null").second_moment()
    W = precise(W)
    N = torch.linalg.eigh(C).eigenvectors[:, :r]
    U, S, Vh = singular_triplets(W.double() @ N)  # thin, and Vh Nᵀ has orthonormal rows
    root = (S / s).sqrt()
    return Start(A=(root[:, None] * (Vh @ N.mT)).to(W), B=(U * root).to(W))


INITIALIZER = Initializer(
    name="lora_null",
    label="LoRA-Null",
    start=lora_null,
    short="directions that inputs excite least",
    summary="A and B share W on the r directions that its inputs excite least.",
    source="Tang et al. 2025, arXiv 2503.02659",
    color=("#669952", "#c200b8"),
    place=20,
    needs="inputs",
)
