"""What a lesson reads of its recorded race: every number that it says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from olora_viz.learn.gallery import Recording
from olora_viz.machine.numbers import compact
from olora_viz.studies.rate_sweep import Point, rate_curves
from olora_viz.studies.story import compare


@dataclass(frozen=True)
class Recorded:
    """A recorded race, asked for a number at a time."""

    race: Recording

    def lanes(self, init: str, lr: float | None = None) -> list[int]:
        """Return the places of a start's lanes, of all rates or of one.

        Raises
        ------
        ValueError : there is none.
        """
        every = enumerate(self.race.config.lanes)
        found = [k for k, lane in every if lane.init == init and lr in (None, lane.lr)]
        if not found:
            raise ValueError(f"{self.race.name} has no lane {init} at {lr}")
        return found

    @property
    def steps(self) -> int:
        """How many steps it took."""
        return len(self.race.steps)

    @property
    def base_loss(self) -> float:
        """Held-out loss of the base model, nats."""
        return float(self.race.baseline.loss[0])

    @property
    def base_accuracy(self) -> float:
        """Share of the base model's right held-out answers."""
        return float(self.race.baseline.accuracy[0])

    def rates(self, init: str) -> list[float]:
        """Return the rates that a start raced at, the lowest first."""
        return sorted({self.race.config.lanes[k].lr for k in self.lanes(init)})

    def loss(self, init: str, lr: float | None = None) -> float:
        """Return the final held-out loss of a start, a mean over its seeds; nats."""
        return float(np.mean(self._final("eval_loss")[self.lanes(init, lr)]))

    def accuracy(self, init: str, lr: float | None = None) -> float:
        """Return the final share of right held-out answers, a mean over the seeds."""
        return float(np.mean(self._final("eval_accuracy")[self.lanes(init, lr)]))

    def best(self, init: str) -> Point:
        """Return a start's best rate, with the losses of its seeds there.

        Raises
        ------
        ValueError : a seed left the race at every rate.
        """
        curves = rate_curves(self.race.config.lanes, self.race.steps)
        (best,) = (curve.optimum for curve in curves if curve.lane.init == init)
        if best is None:
            raise ValueError(f"{init} has no rate without a diverged seed in {self.race.name}")
        return best

    def first_gradient(self, init: str) -> float:
        """Return the norm of a start's first gradient, a mean over its lanes."""
        return float(np.mean(self.race.steps[0].grad_norm[self.lanes(init)]))

    def of_spectra(self, measure: str, init: str, last: bool = True) -> float:
        """Return a measure of ΔW or B, a mean over the layers, at the last or the first look."""
        found = [step.update_spectra for step in self.race.steps if step.update_spectra is not None]
        values = getattr(found[-1 if last else 0], measure)[self.lanes(init)]
        return float(np.mean(values))

    def curvature(self, init: str, lr: float, last: bool = False) -> float:
        """Return the largest Hessian eigenvalue of a lane at the first look, or at the last."""
        found = [step.curvature for step in self.race.steps if step.curvature is not None]
        (k,) = self.lanes(init, lr)
        return float(found[-1 if last else 0].lambda_max[k])

    @property
    def first_look(self) -> int:
        """The step at which the curvature was first measured."""
        return next(step.step for step in self.race.steps if step.curvature is not None)

    def _final(self, name: str) -> np.ndarray:
        values = (getattr(step, name) for step in reversed(self.race.steps))
        return next(value for value in values if value is not None)


def nats(loss: float) -> str:
    """Write a loss.

    >>> nats(0.4907)
    '0.49'
    """
    return f"{loss:.2f}" if math.isfinite(loss) else "–"


def percent(share: float) -> str:
    """Write a share.

    >>> percent(0.906)
    '91%'
    """
    return f"{100 * share:.0f}%"


__all__ = ["Recorded", "compact", "compare", "nats", "percent"]
