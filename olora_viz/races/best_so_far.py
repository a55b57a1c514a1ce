"""When each lane of a race was best, and which lanes have stopped early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class BestSoFar:
    """When each of K lanes was best, and which have stopped early; part of `RaceState`."""

    loss: np.ndarray
    """(K,) the lowest held-out loss, infinite before the first evaluation."""
    step: np.ndarray
    """(K,) the step of its first occurrence, 0 before."""
    waited: np.ndarray
    """(K,) evaluations since then."""
    stopped_at: np.ndarray
    """(K,) the step at which a lane stopped early, 0 if it has not."""

    @classmethod
    def at_start(cls, K: int) -> BestSoFar:
        """Return the state before the first evaluation."""
        return cls(np.full(K, np.inf), *np.zeros((3, K), dtype=np.int64))

    def evaluated(self, number: int, loss: np.ndarray, out: np.ndarray, patience: int) -> None:
        """Record the evaluation of a step.

        Parameters
        ----------
        loss : (K,) held-out losses.
        out : (K,) which lanes have diverged.
        patience : evaluations without a lower loss after which a lane stops; 0 for never.
        """
        racing = ~out & (self.stopped_at == 0)
        better = racing & (loss < self.loss)
        self.loss = np.where(better, loss, self.loss)
        self.step = np.where(better, number, self.step)
        self.waited = np.where(better, 0, self.waited + racing)
        if patience:
            self.stopped_at[racing & (self.waited >= patience)] = number

    def of_lane(self, k: int) -> dict[str, Any]:
        """Return what is known of lane k as plain values."""
        known = bool(self.step[k])
        return {
            "best_loss": float(self.loss[k]) if known else None,
            "best_step": int(self.step[k]) if known else None,
            "stopped_at": int(self.stopped_at[k]) or None,
        }

    def to_tensor(self) -> Tensor:
        """Return it as (4, K)."""
        return torch.tensor(np.stack([self.loss, self.step, self.waited, self.stopped_at]))

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> BestSoFar:
        """Read back what `to_tensor` returned."""
        loss, *counts = tensor.numpy().copy()
        return cls(loss, *(each.astype(np.int64) for each in counts))
