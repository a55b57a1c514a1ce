"""The clock and the state of every lane of a race, and its best evaluation so far."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from olora_viz.machine.text import finite_or_none
from olora_viz.tasks.evaluation import Evaluation


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

        Args:
            loss: (K,) held-out losses.
            out: (K,) which lanes have diverged.
            patience: evaluations without a lower loss after which a lane stops; 0 for never.
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


RACING, FINISHED, STOPPED, DIVERGED = "racing", "finished", "stopped", "diverged"
"""The statuses of a lane, and of a race whose lanes all have it."""

STOPPED_EARLY = "stopped early"
"""The status of a lane that trains no more, see `RaceConfig.patience`."""


NOT_FINITE = "loss or gradient was no longer finite"
NO_GRADIENT = "gradient was exactly zero for two steps, with a loss above the base model's"
"""Why a lane diverged: what became of its own."""


def why_out(last_grad_norm: float) -> str:
    """Return why a lane diverged, from the norm of its gradient in the step before."""
    return NO_GRADIENT if last_grad_norm == 0 else NOT_FINITE


def statuses(out: np.ndarray, race: str = RACING, early: np.ndarray | None = None) -> tuple[str, ...]:
    """Return every lane's status: the race's, or that of a lane that trains no more.

    Args:
        out: (K,) which lanes have diverged.
        race: status of the race: ``racing``, ``finished`` or ``stopped``.
        early: (K,) which lanes have stopped early; by default none.
    """
    early = np.zeros_like(out) if early is None else early
    return tuple(
        DIVERGED if has_diverged else STOPPED_EARLY if has_stopped else race
        for has_diverged, has_stopped in zip(out, early, strict=True)
    )


@dataclass
class RaceState:
    """The clock of a race and the last results of its K lanes."""

    diverged_at: np.ndarray
    """(K,) the step at which a lane diverged, 0 if it has not."""
    last_loss: np.ndarray
    """(K,) the last finite training loss."""
    first_grad_norm: np.ndarray
    """(K,) the gradient's norm at the first step."""
    last_grad_norm: np.ndarray
    """(K,) the gradient's norm at the last step before the lane diverged."""
    last_eval: Evaluation
    """The last held-out results, NaN for a lane that had diverged."""
    last_eval_step: int = 0
    done: int = 0
    """The number of completed steps."""
    seconds: float = 0.0
    tokens: int = 0
    best: BestSoFar | None = None
    """When each lane was best; None if the race does not follow it."""

    @classmethod
    def at_start(cls, evaluation: Evaluation, *, follows_best: bool = False) -> RaceState:
        """Return the state before the first step, from the lanes' held-out results."""
        K = len(evaluation.loss)
        return cls(
            diverged_at=np.zeros(K, dtype=np.int64),
            last_loss=np.full(K, np.nan),
            first_grad_norm=np.full(K, np.nan),
            last_grad_norm=np.full(K, np.nan),
            last_eval=evaluation,
            best=BestSoFar.at_start(K) if follows_best else None,
        )

    def copy(self) -> RaceState:
        """Return a copy, which changes alone."""
        return deepcopy(self)

    @property
    def out(self) -> np.ndarray:
        """(K,) which lanes have diverged."""
        return self.diverged_at > 0

    @property
    def early(self) -> np.ndarray:
        """(K,) which lanes have stopped early."""
        return np.zeros_like(self.out) if self.best is None else self.best.stopped_at > 0

    @property
    def resting(self) -> np.ndarray:
        """(K,) which lanes train no more."""
        return self.out | self.early

    def lose(self, lanes: np.ndarray, number: int) -> None:
        """Mark lanes (K,) as diverged at a step, unless they train no more."""
        self.diverged_at[lanes & ~self.resting] = number

    def trained(self, number: int, loss: np.ndarray, norm: np.ndarray, base_loss: float) -> None:
        """Record a step's losses and gradient norms.

        A lane diverges if they are not finite, or if it cannot learn any more: its gradient, which was not zero at the
        start, is exactly zero for two steps, and its loss is above the base model's. A lane that has learned
        everything has a gradient of zero and a lower loss.
        """
        self.lose(~(np.isfinite(loss) & np.isfinite(norm)), number)
        silent = (norm == 0) & (self.last_grad_norm == 0) & (self.first_grad_norm > 0)
        self.lose(silent & (np.minimum(loss, self.last_loss) > base_loss), number)
        if number == 1:
            self.first_grad_norm = norm
        self.last_loss = np.where(self.out, self.last_loss, loss)
        self.last_grad_norm = np.where(self.out, self.last_grad_norm, norm)

    def evaluated(self, number: int, evaluation: Evaluation, patience: int = 0) -> None:
        """Record a step's held-out results; a lane diverges if its loss is not finite.

        Args:
            patience: see `RaceConfig`.
        """
        self.lose(~np.isfinite(evaluation.loss), number)
        evaluation.lose(self.out)
        self.last_eval, self.last_eval_step = evaluation, number
        if self.best is not None:
            self.best.evaluated(number, evaluation.loss, self.out, patience)

    def of_lanes(self, labels: Sequence[str], status: str) -> dict[str, dict[str, Any]]:
        """Return each lane's results as plain values; diverged lanes have no final results."""
        of_lanes = statuses(self.out, status, self.early)
        return {
            label: {
                "status": of_lanes[k],
                "final_loss": None if out else finite_or_none(self.last_eval.loss[k]),
                "final_accuracy": None if out else finite_or_none(self.last_eval.accuracy[k]),
                "final_accuracy_normalized": (None if out else finite_or_none(self.last_eval.accuracy_normalized[k])),
                "final_loss_step": None if out else self.last_eval_step,
                "train_loss": finite_or_none(self.last_loss[k]),
                "first_grad_norm": finite_or_none(self.first_grad_norm[k]),
                "diverged_at": int(self.diverged_at[k]) or None,
                "diverged_why": why_out(self.last_grad_norm[k]) if out else None,
                **({} if self.best is None else self.best.of_lane(k)),
            }
            for k, (label, out) in enumerate(zip(labels, self.out, strict=True))
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors."""
        clock = [self.done, self.seconds, self.tokens, self.last_eval_step]
        return {
            "diverged_at": torch.tensor(self.diverged_at),
            "last_loss": torch.tensor(self.last_loss),
            "first_grad_norm": torch.tensor(self.first_grad_norm),
            "last_grad_norm": torch.tensor(self.last_grad_norm),
            "last_eval": torch.tensor(np.stack([self.last_eval.loss, self.last_eval.accuracy])),
            "clock": torch.tensor(clock, dtype=torch.float64),
            **({} if self.best is None else {"best": self.best.to_tensor()}),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> RaceState:
        """Read back what `to_tensors` returned."""
        done, seconds, tokens, last_eval_step = tensors["clock"].tolist()
        return cls(
            diverged_at=tensors["diverged_at"].numpy().copy(),
            last_loss=tensors["last_loss"].numpy().copy(),
            first_grad_norm=tensors["first_grad_norm"].numpy().copy(),
            last_grad_norm=tensors["last_grad_norm"].numpy().copy(),
            last_eval=Evaluation.of_totals(*tensors["last_eval"].numpy().copy()),
            last_eval_step=int(last_eval_step),
            done=int(done),
            seconds=seconds,
            tokens=int(tokens),
            best=BestSoFar.from_tensor(tensors["best"]) if "best" in tensors else None,
        )
