"""The adapters that the lanes had at their best evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from olora_viz.measures.examples import Examples
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step, stopped_at

BEST = "best_theta"
"""The parameters at the best evaluations, among the tensors of a checkpoint."""


class BestAdapters:
    """Rows of `theta` at the lanes' best evaluations.

    At the end of a race, `show` exchanges them with those of the last step; `hide` undoes it. The
    best evaluation of a lane may be that of the last step, whose rows need not be kept.

    Parameters
    ----------
    theta : (K, P), see `Lanes`; changed in place.
    """

    def __init__(self, theta: Tensor) -> None:
        self._theta, self._best = theta.detach(), torch.zeros_like(theta.detach())
        self._shown: Tensor | None = None

    def keep(self, lanes: np.ndarray) -> None:
        """Keep the present rows of some lanes, (K,) bool."""
        rows = self._mask(lanes)
        self._best[rows] = self._theta[rows]

    def show(self, lanes: np.ndarray) -> None:
        """Put the kept rows of some lanes, (K,) bool, into `theta`."""
        if self._shown is None:
            self._shown = self._mask(lanes)
            self._exchange(self._shown)

    def hide(self) -> None:
        """Put the rows of the last step back."""
        if self._shown is not None:
            self._exchange(self._shown)
            self._shown = None

    def snapshot(self) -> dict[str, Tensor]:
        """Return the rows of the last step and the kept ones, on the CPU."""
        theta, best = self._theta.cpu().clone(), self._best.cpu().clone()
        if self._shown is not None:
            rows = self._shown.cpu()
            theta[rows], best[rows] = best[rows], theta[rows]
        return {"theta": theta, BEST: best}

    def restore(self, best: Tensor) -> None:
        """Restore the kept rows; `theta` has those of the last step."""
        self._best.copy_(best)
        self._shown = None

    def _exchange(self, rows: Tensor) -> None:
        self._theta[rows], self._best[rows] = self._best[rows], self._theta[rows]

    def _mask(self, lanes: np.ndarray) -> Tensor:
        return torch.from_numpy(lanes).to(self._theta.device)


class KeptFrom(NamedTuple):
    """Where the adapter of a lane is from."""

    step: int
    """0 before the first step."""
    loss: float | None
    """Its held-out loss at that step; None if it was not evaluated there."""
    stopped_at: int
    """The step at which the lane stopped early; 0 if it has not."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "adapter_step": self.step,
            "adapter_loss": self.loss,
            "stopped_at": self.stopped_at or None,
        }


def kept_from(config: RaceConfig, steps: Sequence[Step]) -> list[KeptFrom]:
    """Return where the adapters of a race's lanes are from, by the steps it has made.

    With ``keep_best`` that is the first of its lowest held-out losses, otherwise its last step.
    """
    evaluated = [(step.step, step.eval_loss) for step in steps if step.eval_loss is not None]
    found = []
    for k, stopped in enumerate(stopped_at(steps, len(config.lanes))):
        losses = {number: float(loss[k]) for number, loss in evaluated}
        finite = {number: loss for number, loss in losses.items() if np.isfinite(loss)}
        last = stopped or (steps[-1].step if steps else 0)
        at = min(finite, key=finite.__getitem__) if config.keep_best and finite else last
        found.append(KeptFrom(at, finite.get(at), stopped))
    return found


def taken_home(config: RaceConfig, steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps, the last evaluation with the results of the adapters that are kept.

    With ``keep_best`` these are of each lane's best evaluation, chosen on the same examples, which
    flatters them; a diverged lane has none. Otherwise the steps are as they were.
    """
    evaluated = {step.step: step for step in steps if step.eval_loss is not None}
    if not config.keep_best or not evaluated:
        return steps
    last = evaluated[max(evaluated)]
    kept = [one.step if one.step in evaluated else last.step for one in kept_from(config, steps)]
    at = [last.step if out else step for step, out in zip(kept, steps[-1].out, strict=True)]

    keys = {"eval_loss", "eval_accuracy"} & set(last.measures)
    chosen = {
        key: np.stack([evaluated[step].measures[key][k] for k, step in enumerate(at)])
        for key in keys
    }
    measures = {**last.measures, **chosen}
    examples = [evaluated[step].eval_examples for step in at]
    if all(isinstance(one, Examples) for one in examples):
        measures["eval_examples"] = Examples(
            *(
                np.stack([getattr(one, each.name)[k] for k, one in enumerate(examples)])
                for each in fields(Examples)
            )
        )
    return [replace(step, measures=measures) if step is last else step for step in steps]
