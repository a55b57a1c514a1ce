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
    left: tuple[int, ...] = ()
    """The step at which each of its lanes diverged; 0 for one that has not."""
    why_out: str = ""
    """Why it diverged, see `olora_viz.races.state.why_out`; empty if it has not."""
    seeds: int = 1
    """The number of lanes; loss, accuracy and norm are their means."""
    spread: float = math.nan
    """Standard deviation of the losses over the seeds; NaN with one seed."""

    @property
    def out_at(self) -> int:
        """The step at which it diverged, the earliest in a group; 0 if it has not."""
        return min(filter(None, self.left), default=0)


def departure(left: Sequence[int], what: str = "DNF") -> str:
    """Say when a lane, or which share of its seeds, diverged; empty if none has.

    Parameters
    ----------
    left : of each seed, see `Place`.
    what : became of them.

    >>> departure([8]), departure([9, 0, 8]), departure([8, 9, 11])
    ('DNF at step 8', '2 of 3 seeds DNF at steps 8 and 9', 'DNF at steps 8 to 11')
    """
    gone = [step for step in left if step]
    if not gone:
        return ""
    seeds = f"{len(gone)} of {len(left)} seeds " if len(gone) < len(left) else ""
    first, *more = sorted(set(gone))
    until = f" {'to' if len(more) > 1 else 'and'} {more[-1]}" if more else ""
    return f"{seeds}{what} at step{'s' * bool(more)} {first}{until}"


def standings(steps: Sequence[Step], lanes: int, *, by_loss: bool = True) -> list[Place]:
    """Order the lanes by their latest held-out results, the best first and the diverged ones last.

    Parameters
    ----------
    by_loss : whether the loss counts; else accuracy leads, and the loss breaks ties.
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
            left=(left_at[k],),
            why_out=whys[k],
        )
        for k in range(lanes)
    ]
    return sorted(rows, key=lambda row: (row.out_at > 0, *rank(row, by_loss), row.lane))


def rank(row: Place, by_loss: bool) -> tuple[float, float]:
    """Return the sort key of a place; lower is better."""
    led = 0.0 if by_loss else -row.accuracy
    return _last_if_nan(led), _last_if_nan(row.loss)


def _last_if_nan(value: float) -> float:
    return value if math.isfinite(value) else math.inf
