"""OLoRA as its formula reads: nothing is subtracted, so the model's function changes at once."""

from torch import Generator

from olora_viz.initializers.olora import olora
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start


def olora_unsubtracted(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start from OLoRA's factors, of which nothing is subtracted.

    `B⁰ = Q_r`, `A⁰ = Q_rᵀ W`, and the weight is `W + s B A` instead of `W + s (B A − B⁰A⁰)`: at step 0 it is already
    `W + s Q_r Q_rᵀ W`, so in the span of the first r columns W is 1 + s times as large. This is the paper's formula as
    it reads before its correction of W. The table's `keeps_function` is False.

    References:
        Büyükakyüz 2024, arXiv 2406.01775.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.olora_unsubtracted(torch.tensor([[3.0, 5.0], [4.0, 0.0]]), r=1)
        >>> start.B.T, start.A
        (tensor([[0.6000, 0.8000]]), tensor([[5., 3.]]))
    """
    return olora(W, r)


INITIALIZER = Initializer(
    name="olora_unsubtracted",
    label="OLoRA, unsubtracted",
    start=olora_unsubtracted,
    short="QR factors of W, not subtracted",
    summary="OLoRA with nothing subtracted, which changes the model at once: a control.",
    source="Büyükakyüz 2024, arXiv 2406.01775, its formula as it reads",
    color=("#c25cff", "#667052"),
    place=7,
    nested=True,
    keeps_function=False,
)
