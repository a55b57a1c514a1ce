"""The example matrix of the QR lesson."""

import torch
from jaxtyping import Float
from torch import Tensor


def example_matrix() -> Float[Tensor, "out in"]:
    """Return the example matrix of the QR lesson: small and of full rank."""
    return torch.tensor(
        [
            [2.0, 1.5, -1.0, 0.5],
            [1.0, -0.5, 1.5, 1.0],
            [-1.0, 1.0, 0.5, -1.5],
            [0.5, 2.0, 1.0, 0.0],
            [1.5, 0.0, -0.5, 2.0],
            [0.0, -1.0, 2.0, 0.5],
        ]
    )
