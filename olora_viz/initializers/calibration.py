"""The data that some initializations need besides the weight: its gradient or its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEEDS = {
    "gradient": "the gradient of W",
    "inputs": "the inputs of W",
    "fisher": "the gradient and the Fisher information of W",
}
"""The kinds of calibration data, as worded in messages."""

READS = {
    "gradient": ("gradient",),
    "inputs": ("inputs",),
    "fisher": ("gradient", "inputs", "outputs"),
}
"""The statistics of a layer that each kind consists of."""


@dataclass(frozen=True)
class Calibration:
    """Statistics of one layer over some data, in float32 or better; unused fields are None.

    >>> Calibration(mean=torch.ones(2), covariance=torch.eye(2)).second_moment()
    tensor([[2., 1.],
            [1., 2.]])
    """

    gradient: Float[Tensor, "out in"] | None = None
    """G = ∂L/∂W, averaged over some batches."""
    mean: Float[Tensor, " in"] | None = None
    """x̄, the mean of the layer's inputs x over tokens."""
    covariance: Float[Tensor, "in in"] | None = None
    """The mean of (x − x̄)(x − x̄)ᵀ over the same tokens."""
    squares: Float[Tensor, " out"] | None = None
    """The mean over the same tokens of (∂L/∂y)², entry by entry of the layer's outputs y, where L
    is the mean loss of the token's own row."""
    examples: int = 0
    """N, the number of examples to train on."""

    def second_moment(self) -> Float[Tensor, "in in"]:
        """Return the mean of x xᵀ.

        The covariance is stored, since subtracting x̄x̄ᵀ from the second moment loses digits.
        """
        if self.mean is None or self.covariance is None:
            raise ValueError("the second moment needs both a mean and a covariance")
        return self.covariance + torch.outer(self.mean, self.mean)


def lacking(name: str, needs: str) -> ValueError:
    """Return the error of an initialization that lacks its calibration data.

    >>> print(lacking("eva", "inputs"))
    'eva' needs the inputs of W over some data: use it in a race, or pass calibration=…
    """
    return ValueError(
        f"{name!r} needs {NEEDS[needs]} over some data: use it in a race, or pass calibration=…"
    )


def gradient_of(
    W: Float[Tensor, "out in"], calibration: Calibration | None, name: str
) -> Float[Tensor, "out in"]:
    """Return the gradient on the device of W, in float32, or float64 if W is float64.

    Raises
    ------
    ValueError
        If there is no gradient, or its shape is not that of W.
    """
    if calibration is None or calibration.gradient is None:
        raise lacking(name, "gradient")
    _check_shape("gradient", calibration.gradient, tuple(W.shape))
    dtype = torch.promote_types(W.dtype, torch.float32)
    return calibration.gradient.detach().to(W.device, dtype)


def inputs_of(
    W: Float[Tensor, "out in"], calibration: Calibration | None, name: str
) -> Calibration:
    """Return mean and covariance on the device of W.

    They are float64, since their eigenvalues are squares of singular values.

    Raises
    ------
    ValueError
        If there are none, or their shapes do not match W.
    """
    if calibration is None or calibration.mean is None or calibration.covariance is None:
        raise lacking(name, "inputs")
    features = W.shape[1]
    _check_shape("mean", calibration.mean, (features,))
    _check_shape("covariance", calibration.covariance, (features, features))
    return Calibration(
        mean=calibration.mean.detach().to(W.device, torch.float64),
        covariance=calibration.covariance.detach().to(W.device, torch.float64),
    )


def fisher_of(
    W: Float[Tensor, "out in"], calibration: Calibration | None, name: str
) -> tuple[Float[Tensor, "out in"], Float[Tensor, "in in"], Float[Tensor, " out"], int]:
    """Return the gradient, the inputs' second moment, the outputs' squares, and N.

    They are on the device of W, in float64.

    Raises
    ------
    ValueError
        If one of them is missing, or its shape does not match W.
    """
    if calibration is None or calibration.squares is None or calibration.examples < 1:
        raise lacking(name, "fisher")
    G = gradient_of(W, calibration, name).double()
    Z = inputs_of(W, calibration, name).second_moment()
    _check_shape("squares", calibration.squares, (W.shape[0],))
    y = calibration.squares.detach().to(W.device, torch.float64)
    return G, Z, y, calibration.examples


def _check_shape(what: str, found: Tensor, wanted: tuple[int, ...]) -> None:
    if found.shape != wanted:
        raise ValueError(
            f"the calibration's {what} has shape {tuple(found.shape)}, but W needs {wanted}"
        )
