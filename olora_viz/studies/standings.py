"""The lanes of a race in the order of their held-out results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.races.step import Step, out_at, whys_out


@dataclass(frozen=True)
class Place:
    """The result of a lane, or of a group of lanes that differ only in their seed."""

    lane: int
    """Index of the lane, or of the group."""
    loss: float
    """Held-out loss at the latest evaluation, nats; NaN if there is none."""
    accuracy: float
    """Held-out accuracy, NaN if there is none."""
    first_grad_norm: float
    out_at: int
    """The step at which it diverged, the earliest in a group; 0 if it has not."""
    why_out: str = ""
    """Why it diverged, see `olora_viz.races.state.why_out`; empty if it has not."""
    seeds: int = 1
    """The number of lanes; loss, accuracy and norm are their means."""
    spread: float = math.nan
    """Standard deviation of the losses over the seeds; NaN with one seed."""
    lost: int = 0
    """The number of diverged seeds of a group."""


def standings(steps: Sequence[Step], lanes: int, *, plain_text: bool = True) -> list[Place]:
    """Order the lanes by their latest held-out results, the best first and the diverged ones last.

    Parameters
    ----------
    plain_text : whether the loss alone counts; else accuracy leads, and the loss breaks ties.
    """
    newest = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    nothing = [math.nan] * lanes
    loss = nothing if newest is None or newest.eval_loss is None else newest.eval_loss
    share = nothing if newest is None or newest.eval_accuracy is None else newest.eval_accuracy
    left_at, whys = out_at(steps, lanes), whys_out(steps, lanes)
    rows = [
        Place(
            lane=k,
            loss=float(loss[k]),
            accuracy=float(share[k]),
            first_grad_norm=float(steps[0].grad_norm[k]) if steps else math.nan,
            out_at=left_at[k],
            why_out=whys[k],
        )
        for k in range(lanes)
    ]
    return sorted(rows, key=lambda row: (row.out_at > 0, *rank(row, plain_text), row.lane))


def rank(row: Place, plain_text: bool) -> tuple[float, float]:
    """Return the sort key of a place; lower is better."""
    led = 0.0 if plain_text else -row.accuracy
    return _last_if_nan(led), _last_if_nan(row.loss)


def _last_if_nan(value: float) -> float:
    return value if math.isfinite(value) else math.inf
