"""Eval mode during a race, and every module's own mode afterwards."""

from __future__ import annotations

from torch import nn


class EvalMode:
    """Keeps a model in eval mode, so without dropout, until it is closed.

    Parameters
    ----------
    model : its modules may be in any mixture of modes.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._training: list[nn.Module] = []
        self.open()

    def open(self) -> None:
        """Enter eval mode, unless the model is already in it."""
        training = [module for module in self._model.modules() if module.training]
        self._training += training
        for module in training:
            module.training = False

    def close(self) -> None:
        """Restore the mode of every module."""
        training, self._training = self._training, []
        for module in training:
            module.training = True
