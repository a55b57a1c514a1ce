"""Groups of lanes that pass through the model together, and how the groups of a race run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from olora_viz.lanes.layers import bytes_of
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.process import Progress, warn_of_spinning
from olora_viz.machine.threads import Call, Report, in_order, side_by_side

if TYPE_CHECKING:
    from olora_viz.lanes.adapters import Lanes

R = TypeVar("R")

CACHED, BY_WEIGHTS = 2**28, 6
"""Memory of a pass on a CPU, in bytes and as a multiple of the model's weights, the larger one: few lanes leave less
for the caches to hold, many read the weights less often. Measured on glassllm, where passes of 60 lanes take a fifth
longer than four of 15, and on SmolLM2, the other way round.
"""

SIDE_BY_SIDE = {8: 2**30, 4: 3 * 2**27, 2: 2**27}
"""Groups of the lanes of a small model, by the least memory in bytes that a step of all lanes takes: every pass also
takes a time of its own, of about half a lane on glassllm, and threads wait for each other to call the next operation.
"""


def is_small(plan: AdapterPlan) -> bool:
    """Whether the caches hold a model, so that groups of its lanes lose nothing side by side, on a core each."""
    return plan.device.type == "cpu" and BY_WEIGHTS * _weights(plan) <= CACHED


def _weights(plan: AdapterPlan) -> int:
    return bytes_of(plan.model)


def lane_groups(K: int, bytes_each: float, most: float, least: int = 1) -> list[slice]:
    """Split K lanes into groups, as few and as even as memory allows.

    The lanes share no parameters, so one pass per group gives the same result as one pass for all. The groups depend
    on the set-up only, never on the free memory, so that a race is reproducible.

    Args:
        bytes_each: of one lane in a pass, see `Footprint`.
        most: bytes of one group; one lane may exceed them.
        least: groups, if there are so many lanes.

    >>> lane_groups(10, bytes_each=512 * 2**20, most=3 * 2**30)
    [slice(0, 5, None), slice(5, 10, None)]
    """
    together = max(1, int(most // max(bytes_each, 1.0)))
    count = max(math.ceil(K / together), min(least, K))
    borders = [math.ceil(i * K / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(borders)]


def pass_groups(plan: AdapterPlan, bytes_each: float, least: int = 1, count: int | None = None) -> list[slice]:
    """Split the lanes of a race, or the first so many, into groups that pass through the model together.

    See `lane_groups`.
    """
    most = plan.pass_bytes
    if plan.device.type == "cpu":
        most = min(most, max(CACHED, BY_WEIGHTS * _weights(plan)))
    return lane_groups(len(plan.lanes) if count is None else count, bytes_each, most, least)


def groups_of(plan: AdapterPlan, bytes_each: float) -> int:
    """Return the least number of groups of a race, which is one unless the model is small.

    It is the same whatever the number of cores, so that results are the same on all machines.

    Args:
        bytes_each: of one lane in a step.
    """
    if not is_small(plan):
        return 1
    counts = (count for count, worth in SIDE_BY_SIDE.items() if len(plan.lanes) * bytes_each >= worth)
    return next(counts, 1)


def largest_pass(plan: AdapterPlan, bytes_each: float, least: int = 1) -> float:
    """Return the memory of a pass of the largest of `pass_groups`, or of those that run side by side."""
    groups = pass_groups(plan, bytes_each, least)
    return bytes_each * (len(plan.lanes) if least > 1 else max(group.stop - group.start for group in groups))


def on_a_core(plan: AdapterPlan, call: Call[R], progress: Progress | None = None) -> R:
    """Return the result of a call that reports its progress: on a small model, as computed by one core."""

    def report(parts: Sequence[float], words: str) -> None:
        if progress is not None:
            progress(parts[0], words)

    (result,) = _run(plan, [call], report)
    return result


def as_base(lanes: Lanes, call: Call[R], progress: Progress | None = None) -> R:
    """Return the result of a call, see `on_a_core`, in which the model runs without lanes."""

    def without_lanes(tell: Progress) -> R:
        with lanes.apart(None):
            return call(tell)

    return on_a_core(lanes.plan, without_lanes, progress)


def by_group(
    lanes: Lanes,
    bytes_each: float,
    run: Callable[[slice, Tensor, Progress], R],
    progress: Progress | None = None,
    *,
    least: int = 1,
    groups: Sequence[slice] | None = None,
) -> list[R]:
    """Return what `run` returns for each of the `pass_groups`, of a small model side by side.

    Args:
        run: called with the rows of a group, which are the active lanes, their parameters (see `Lanes.apart`), and
            what to report the progress of the group to.
        least: number of groups.
        groups: those to run, if they are not the `pass_groups` of all lanes.
    """
    groups = pass_groups(lanes.plan, bytes_each, least) if groups is None else groups

    def call(rows: slice, tell: Progress) -> R:
        with lanes.apart(rows) as theta:
            return run(rows, theta, tell)

    def report(parts: Sequence[float], words: str) -> None:
        if progress is not None:
            sizes = [rows.stop - rows.start for rows in groups]
            progress(sum(part * size for part, size in zip(parts, sizes, strict=True)) / lanes.count, words)

    return _run(lanes.plan, [partial(call, rows) for rows in groups], report)


def _run(plan: AdapterPlan, calls: Sequence[Call[R]], report: Report | None) -> list[R]:
    if is_small(plan):
        return side_by_side(calls, report)
    if plan.device.type == "cpu" and torch.get_num_threads() > 1:
        warn_of_spinning()
    return in_order(calls, report)
