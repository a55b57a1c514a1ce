"""EVA: the directions in which the layer's inputs vary most."""

from torch import Generator

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    check_rank,
    inputs_of,
    leading_eigenvectors,
    precise,
)


def eva(
    W: Matrix, r: int, *, s: float = 1.0, generator: Generator | None = None, calibration: Calibration | None = None
) -> Start:
    """Start with the principal components of the inputs in A; B is zero.

    `A⁰ = Vh_r`, the r leading right singular vectors of the centred inputs X (tokens, in), which are the leading
    eigenvectors of their covariance; `B⁰ = 0`. A has orthonormal rows, and in each row the entry of largest magnitude
    is positive.

    As in PEFT, the inputs are centred. The paper also redistributes the ranks between layers, which a lane does with
    `rank_by="eva"` and otherwise not (PEFT's `rho=1`).

    References:
        Paischer et al. 2024, arXiv 2410.07170; PEFT's `init_lora_weights="eva"`.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> spread = torch.diag(torch.tensor([1.0, 4.0]))
        >>> seen = ov.Calibration(mean=torch.ones(2), covariance=spread)
        >>> ov.eva(torch.zeros(3, 2), r=1, calibration=seen).A
        tensor([[0., 1.]])
    """
    check_rank(W, r)
    covariance = inputs_of(W, calibration, "eva").covariance
    assert covariance is not None
    W = precise(W)
    return Start(A=leading_eigenvectors(covariance, r).mT.to(W), B=W.new_zeros(W.shape[0], r))


INITIALIZER = Initializer(
    name="eva",
    label="EVA",
    start=eva,
    short="A from the inputs, B zero",
    summary="A holds the r principal components of the inputs of W; B is zero.",
    source="Paischer et al. 2024, arXiv 2410.07170",
    color=("#00545e", "#2ee0ee"),
    place=18,
    nested=True,
    zero_product=True,
    needs="inputs",
)
