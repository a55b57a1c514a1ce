"""Groups of lanes that pass through the model together, and how the groups of a race run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeVar

from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.threads import Tell, in_order, side_by_side

R = TypeVar("R")

ACTIVATIONS = {"cpu": 3 * 2**30, "cuda": 24 * 2**30}
"""Maximum memory of a pass of several lanes in bytes, by device."""

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
    return sum(weight.nbytes for weight in plan.model.parameters())


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


def pass_groups(plan: AdapterPlan, bytes_each: float, least: int = 1) -> list[slice]:
    """Split the lanes of a race into groups that pass through the model together; see `lane_groups`."""
    most = ACTIVATIONS[plan.device.type]
    if plan.device.type == "cpu":
        most = min(most, max(CACHED, BY_WEIGHTS * _weights(plan)))
    return lane_groups(len(plan.lanes), bytes_each, most, least)


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


def on_a_core(plan: AdapterPlan, call: Callable[[Tell], R], report: Tell | None = None) -> R:
    """Return the result of a call that uses the model: if this is small, as computed by one core.

    Args:
        report: called with the part that is done, as the call tells it; what it raises ends the call.
    """
    (result,) = _run(plan, [call], report and (lambda parts: report(parts[0])))
    return result


def by_group(
    lanes: Lanes,
    bytes_each: float,
    run: Callable[[slice, Tensor, Tell], R],
    report: Tell | None = None,
    *,
    least: int = 1,
) -> list[R]:
    """Return what `run` returns for each of the `pass_groups`, of a small model side by side.

    Args:
        run: called with the rows of a group, which are the active lanes, and their parameters, see `Lanes.apart`.
        report: called with the part that is done, as the groups tell it; what it raises ends all of them.
    """
    groups = pass_groups(lanes.plan, bytes_each, least)

    def call(rows: slice, tell: Tell) -> R:
        with lanes.apart(rows) as theta:
            return run(rows, theta, tell)

    def weighed(parts: Sequence[float]) -> None:
        if report is not None:
            sizes = [rows.stop - rows.start for rows in groups]
            report(sum(part * size for part, size in zip(parts, sizes, strict=True)) / lanes.count)

    return _run(lanes.plan, [partial(call, rows) for rows in groups], weighed)


def _run(
    plan: AdapterPlan, calls: Sequence[Callable[[Tell], R]], report: Callable[[Sequence[float]], None] | None
) -> list[R]:
    return side_by_side(calls, report) if is_small(plan) else in_order(calls, report)
