"""Gradient descent with momentum, whose steps are as large as the gradients."""

from torch import Tensor

from olora_viz.lanes.optimizers.optimizer import Optimizer, Turn


def direction(turn: Turn) -> tuple[Tensor, Tensor]:
    """Return the moments."""
    return turn.moment_A, turn.moment_B


SGD = Optimizer("SGD", "torch.optim.SGD", ("lora_plus", "momentum"), direction, momentum=0.9, rate=100.0)
