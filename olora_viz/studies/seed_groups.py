"""Groups of lanes that differ only in their seed: one contender, repeated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.lanes.lane import Lane
from olora_viz.studies.standings import Place, rank


@dataclass(frozen=True)
class SeedGroup:
    """One contender with all its seeds."""

    lane: Lane
    """The first lane of the group."""
    lanes: tuple[int, ...]
    """Indices of the lanes."""


def seed_groups(lanes: Sequence[Lane]) -> tuple[SeedGroup, ...]:
    """Group lanes that differ only in their seed.

    Parameters
    ----------
    lanes : of the race.
    """
    groups: dict[tuple[Lane, int], list[int]] = {}
    for k, lane in enumerate(lanes):
        # A duplicate lane, including its seed, is not a repetition: it forms a group of its own.
        copy = list(lanes[:k]).count(lane)
        groups.setdefault((replace(lane, seed=0), copy), []).append(k)
    return tuple(SeedGroup(lanes[ks[0]], tuple(ks)) for ks in groups.values())


def group_places(
    rows: Sequence[Place], groups: Sequence[SeedGroup], *, by_loss: bool = True
) -> list[Place]:
    """Order groups by their means, the best first and those with a diverged seed last.

    Parameters
    ----------
    rows, by_loss : of `standings`, one row per lane.
    """
    of_lane = {row.lane: row for row in rows}
    made = [_place(i, [of_lane[k] for k in group.lanes]) for i, group in enumerate(groups)]
    return sorted(made, key=lambda p: (p.out_at > 0, *rank(p, by_loss), p.lane))


def _place(group: int, rows: Sequence[Place]) -> Place:
    whys = dict.fromkeys(row.why_out for row in rows if row.out_at)
    losses = [row.loss for row in rows]
    known = len(rows) > 1 and all(map(math.isfinite, losses))
    return Place(
        lane=group,
        seeds=len(rows),
        loss=math.fsum(losses) / len(rows),
        spread=statistics.stdev(losses) if known else math.nan,
        accuracy=math.fsum(row.accuracy for row in rows) / len(rows),
        first_grad_norm=math.fsum(row.first_grad_norm for row in rows) / len(rows),
        left=tuple(row.out_at for row in rows),
        why_out=", or its ".join(whys),
    )
