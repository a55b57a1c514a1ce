"""What some initializations are told beside the weight: a gradient, or statistics of its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEEDS = {"gradient": "the gradient of W", "inputs": "the inputs of W"}
"""What an initialization can ask for, and how a sentence calls it."""


@dataclass(frozen=True)
class Calibration:
    """What some data say about one layer, in float32 or better; fields that nobody needs are None.

    >>> Calibration(mean=torch.ones(2), covariance=torch.eye(2)).second_moment()
    tensor([[2., 1.],
            [1., 2.]])
    """

    gradient: Float[Tensor, "out in"] | None = None
    """G = ∂L/∂W, the mean over some batches."""
    mean: Float[Tensor, " in"] | None = None
    """x̄, the mean of the layer's inputs x over tokens."""
    covariance: Float[Tensor, "in in"] | None = None
    """The mean of (x − x̄)(x − x̄)ᵀ over the same tokens."""

    def second_moment(self) -> Float[Tensor, "in in"]:
        """Return the mean of x xᵀ: the covariance is kept, as taking x̄x̄ᵀ off would lose digits."""
        if self.mean is None or self.covariance is None:
            raise ValueError("there is no second moment without a mean and a covariance")
        return self.covariance + torch.outer(self.mean, self.mean)


def lacking(name: str, needs: str) -> ValueError:
    """Return the error of an initialization that was not told what it needs.

    >>> print(lacking("eva", "inputs"))
    'eva' starts from the inputs of W over some data: use it in a race, or give calibration=…
    """
    return ValueError(
        f"{name!r} starts from {NEEDS[needs]} over some data: use it in a race, or give "
        "calibration=…"
    )


def gradient_of(
    W: Float[Tensor, "out in"], calibration: Calibration | None, name: str
) -> Float[Tensor, "out in"]:
    """Return the gradient on W's device, in float32, or float64 where W is.

    Raises
    ------
    ValueError
        Where there is none, or it belongs to another layer.
    """
    if calibration is None or calibration.gradient is None:
        raise lacking(name, "gradient")
    _check_shape("gradient", calibration.gradient, tuple(W.shape))
    dtype = torch.promote_types(W.dtype, torch.float32)
    return calibration.gradient.detach().to(W.device, dtype)


def inputs_of(
    W: Float[Tensor, "out in"], calibration: Calibration | None, name: str
) -> Calibration:
    """Return mean and covariance on W's device, in float64: what is made of them squares ratios.

    Raises
    ------
    ValueError
        Where there are none, or they belong to another layer.
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


def _check_shape(what: str, found: Tensor, wanted: tuple[int, ...]) -> None:
    if found.shape != wanted:
        raise ValueError(f"the calibration's {what} is {tuple(found.shape)}, and W wants {wanted}")
