"""Lists of lanes in a few words: neighbours that differ only in their seed are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_text import write_lane
from olora_viz.lanes.seeds import write_seeds


def runs_of_seeds(lanes: Sequence[Lane]) -> list[list[Lane]]:
    """Split lanes where neighbours differ in more than their seed, or repeat a lane.

    >>> from olora_viz.lanes.lane_text import parse_lanes
    >>> [len(its) for its in runs_of_seeds(parse_lanes("olora:seed=0-2") + [Lane("lora")])]
    [3, 1]
    """
    found: list[list[Lane]] = []
    for lane in lanes:
        last = found[-1] if found else []
        if last and replace(lane, seed=last[0].seed) == last[0] and lane not in last:
            last.append(lane)
        else:
            found.append([lane])
    return found


def write_lanes(lanes: Sequence[Lane]) -> list[str]:
    """Write lanes in the form of `parse_lanes`; neighbours that differ only in the seed are one.

    >>> from olora_viz.lanes.lane_text import parse_lanes
    >>> write_lanes(parse_lanes("olora:lr=1e-3/3e-3,seed=0-2"))
    ['olora:lr=1e-3,r=8,seed=0-2', 'olora:lr=3e-3,r=8,seed=0-2']
    """
    made = []
    for its in runs_of_seeds(lanes):
        seeds = write_seeds([lane.seed for lane in its])
        first = write_lane(replace(its[0], seed=0))
        made.append(write_lane(its[0]) if len(its) == 1 else f"{first},seed={seeds}")
    return made
