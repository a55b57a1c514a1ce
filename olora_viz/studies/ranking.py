"""The ranking of a race: the places of its lanes and of groups of seeds, and which comes first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.races.step import Step, out_at, whys_out
from olora_viz.studies.contest import SeedGroup


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
    """Why it diverged, see `olora_viz.races.step.why_out`; empty if it has not."""
    seeds: int = 1
    """The number of lanes; losses, accuracy and norm are their means."""
    spread: float = math.nan
    """Standard deviation of the losses over the seeds; NaN with one seed."""
    boilerplate: float = math.nan
    """Loss of the boilerplate, see `Examples`; NaN if there is none."""

    @property
    def out_at(self) -> int:
        """The step at which it diverged, the earliest in a group; 0 if it has not."""
        return min(filter(None, self.left), default=0)

    def rank(self, by_loss: bool) -> tuple[float, ...]:
        """Return the sort key: the best first, and what has diverged last."""
        values = (0.0 if by_loss else -self.accuracy, self.loss)
        return (self.out_at > 0, *(value if math.isfinite(value) else math.inf for value in values), self.lane)


def standings(steps: Sequence[Step], lanes: int, *, by_loss: bool = True) -> list[Place]:
    """Order the lanes by their latest held-out results, the best first and the diverged ones last.

    Args:
        by_loss: whether the loss counts; else accuracy leads, and the loss breaks ties.
    """
    newest = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    nothing = [math.nan] * lanes
    loss = nothing if newest is None or newest.eval_loss is None else newest.eval_loss
    share = nothing if newest is None or newest.eval_accuracy is None else newest.eval_accuracy
    apart = nothing if newest is None or newest.eval_examples is None else newest.eval_examples.boilerplate_loss
    left_at, whys = out_at(steps, lanes), whys_out(steps, lanes)
    rows = [
        Place(
            lane=k, loss=float(loss[k]), accuracy=float(share[k]),
            first_grad_norm=float(steps[0].grad_norm[k]) if steps else math.nan, left=(left_at[k],),
            why_out=whys[k], boilerplate=float(apart[k]),
        )
        for k in range(lanes)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row.rank(by_loss))


def group_places(rows: Sequence[Place], groups: Sequence[SeedGroup], *, by_loss: bool = True) -> list[Place]:
    """Order groups by their means, the best first and those with a diverged seed last."""
    of_lane = {row.lane: row for row in rows}
    places = []
    for i, group in enumerate(groups):
        members = [of_lane[k] for k in group.lanes]
        losses = [row.loss for row in members]
        several = len(losses) > 1 and all(map(math.isfinite, losses))
        places.append(
            Place(
                lane=i, seeds=len(members), loss=math.fsum(losses) / len(members),
                spread=statistics.stdev(losses) if several else math.nan,
                accuracy=math.fsum(row.accuracy for row in members) / len(members),
                boilerplate=math.fsum(row.boilerplate for row in members) / len(members),
                first_grad_norm=math.fsum(row.first_grad_norm for row in members) / len(members),
                left=tuple(row.out_at for row in members),
                why_out=", or its ".join(dict.fromkeys(row.why_out for row in members if row.out_at)),
            )
        )  # fmt: skip
    return sorted(places, key=lambda place: place.rank(by_loss))


def lanes_in_order(places: Sequence[Place], groups: Sequence[SeedGroup], rows: Sequence[Place]) -> tuple[int, ...]:
    """Return the lanes group by group, the median seed of each first, which is neither lucky nor unlucky.

    Of an even number of seeds it is the worse of the two in the middle. A diverged seed comes last.

    Args:
        places: of the groups, in order.
        rows: of the lanes, the best first and the diverged ones last.
    """
    rank = {row.lane: place for place, row in enumerate(rows)}
    left = {row.lane for row in rows if not row.out_at}
    order: list[int] = []
    for place in places:
        seeds = sorted(groups[place.lane].lanes, key=lambda k: rank[k])
        median = seeds[len(left.intersection(seeds)) // 2]
        order += [median, *(k for k in seeds if k != median)]
    return tuple(order)


def put_first(places: Sequence[Place], groups: Sequence[SeedGroup], compared: Sequence[Sequence[int]]) -> list[Place]:
    """Return places of groups in which the contender that a comparison names first precedes all others in it.

    Its rate was chosen on half of the examples, so that on all of them another of its rates may look better.

    Args:
        compared: the lanes of each comparison, those of the first contender first.
    """
    order = list(places)
    for lanes in compared:
        rivals = [n for n, place in enumerate(order) if not set(lanes).isdisjoint(groups[place.lane].lanes)]
        (first,) = (n for n in rivals if lanes[0] in groups[order[n].lane].lanes)
        order.insert(rivals[0], order.pop(first))
    return order
