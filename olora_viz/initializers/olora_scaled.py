"""OLoRA at LoRA's curvature: the control for what the size of its factors contributes."""

from torch import Generator

from olora_viz.initializers.olora import olora
from olora_viz.initializers.start import Calibration, Initializer, Matrix, Start


def olora_scaled(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start like OLoRA, with both factors shrunk until the curvature is plain LoRA's.

    `B⁰ = c Q_r`, `A⁰ = c Q_rᵀ W`, with c from the shape and the size of the factors alone. A small change of the
    factors changes the weight by `s (B⁰ δA + δB A⁰)`. If the loss curves alike in all directions of W, the trace of
    its curvature in A and B is therefore proportional to `in ‖B⁰‖² + out ‖A⁰‖²` (Frobenius norms). LoRA's start, with
    B⁰ = 0 and E‖A⁰‖² = r/3, has `out r / 3`; here `in c² r + out c² ‖Q_rᵀ W‖²` is made equal to it:

        c² = (r / 3) / (‖Q_rᵀ W‖² + r in / out).

    The expected squared norm of the gradient becomes equal by the same c, if its directions are random. The loss of a
    real model curves more in some directions than in others. So what remains of the difference to LoRA is due to the
    directions of Q_r and not to their size: on glassllm at rank 8, the largest eigenvalue of the Gauss-Newton matrix
    is about twice LoRA's, where that of OLoRA is about twenty times LoRA's.

    Args:
        s: scale of the adapter, unused: LoRA's curvature depends on it alike

    References:
        A variant of Büyükakyüz 2024, arXiv 2406.01775.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> start = ov.olora_scaled(2 * torch.eye(3), r=1)
        >>> start.B.T @ start.B + start.A @ start.A.T  # in = out: they add up to r / 3
        tensor([[0.3333]])
    """
    start = olora(W, r)
    out, into = W.shape
    c = (r / 3 / (start.A.square().sum() + r * into / out)).sqrt()
    return Start(A=c * start.A, B=c * start.B)


INITIALIZER = Initializer(
    name="olora_scaled",
    label="OLoRA, scaled",
    start=olora_scaled,
    short="QR factors of W, shrunk",
    summary="OLoRA with both factors shrunk to the curvature of plain LoRA: a control.",
    source="a variant of Büyükakyüz 2024, arXiv 2406.01775",
    color=("#290000", "#b84700"),
    place=6,
)
