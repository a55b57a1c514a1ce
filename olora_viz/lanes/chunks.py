"""Chunks of lanes that pass through the model together, limited by the memory of a pass."""

from __future__ import annotations

import math
from itertools import pairwise

from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.memory import check_memory

ACTIVATIONS = {"cpu": 3 * 2**30, "cuda": 24 * 2**30}
"""Maximum memory of a pass of several lanes in bytes, by device."""

CACHED, BY_WEIGHTS = 2**28, 6
"""Memory of a pass on a CPU, in bytes and as a multiple of the model's weights, the larger one: few
lanes leave less for the caches to hold, many read the weights less often. Measured on glassllm,
where passes of 60 lanes take a fifth longer than four of 15, and on SmolLM2, the other way round.
"""

COPIES = 7
"""Matrices (K, P) of a race: theta, its start, the gradient, two moments, theta before an update
(if that is measured), and a temporary one."""


def lane_groups(K: int, bytes_each: float, most: float) -> list[slice]:
    """Split K lanes into groups, as few and as even as memory allows.

    The lanes share no parameters, so one pass per group gives the same result as one pass for all.
    The groups depend on the set-up only, never on the free memory, so that a race is reproducible.

    Parameters
    ----------
    K : lanes.
    bytes_each : of one lane in a pass, see `Footprint`.
    most : bytes of one group; one lane may exceed them.

    >>> lane_groups(10, bytes_each=512 * 2**20, most=3 * 2**30)
    [slice(0, 5, None), slice(5, 10, None)]
    """
    together = max(1, int(most // max(bytes_each, 1.0)))
    count = math.ceil(K / together)
    borders = [math.ceil(i * K / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(borders)]


def pass_groups(plan: AdapterPlan, bytes_each: float) -> list[slice]:
    """Split the lanes of a race into groups that pass through the model together."""
    return lane_groups(len(plan.lanes), bytes_each, _pass_bytes(plan))


def largest_pass(plan: AdapterPlan, bytes_each: float) -> float:
    """Return the memory of a pass of the largest of `pass_groups`."""
    return bytes_each * max(group.stop - group.start for group in pass_groups(plan, bytes_each))


def _pass_bytes(plan: AdapterPlan) -> float:
    most = ACTIVATIONS[plan.device.type]
    if plan.device.type != "cpu":
        return most
    weights = sum(weight.nbytes for weight in plan.model.parameters())
    return min(most, max(CACHED, BY_WEIGHTS * weights))


def check_adapters(plan: AdapterPlan, name: str, more: int = 0) -> None:
    """Check that the lanes fit into memory; otherwise the system would kill the process.

    Parameters
    ----------
    plan : the layers and lanes; its base model is called `name` in the message.
    more : copies of the adapters that the race keeps.

    Raises
    ------
    ValueError : there is not enough free memory for adapters and optimizer.
    """
    K, dense = len(plan.lanes), len(plan.dense)
    ranks = f" of rank up to {plan.rank}" if dense < K else ""
    trained = f", {dense} of full fine-tuning," if dense else ""
    what = f"{K} lane{'s' * (K > 1)}{ranks}{trained} on {name}"
    check_memory(adapter_bytes(plan, more), plan.device, what)


def adapter_bytes(plan: AdapterPlan, more: int = 0) -> int:
    """Return the memory of the lanes' adapters and their optimizer, and of more copies."""
    return (COPIES + more) * len(plan.lanes) * plan.layout.width * plan.dtype.itemsize
