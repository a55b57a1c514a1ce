"""The memory of products with the lanes' Hessians: what fits together, and what does not fit."""

from __future__ import annotations

from typing import Any

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.chunks import lane_groups
from olora_viz.lanes.footprint import PassCost, known_cost
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine import memory
from olora_viz.machine.memory import bytes_words, check_memory
from olora_viz.measures.curvature import curvature, gauss_newton
from olora_viz.tasks import Batch, losses
from olora_viz.tasks.batches import Size

BUDGET = {"cpu": 6 * 2**30, "cuda": 40 * 2**30}
"""Memory for the lanes of one group, in bytes, by device."""

TRACKED = 12
"""Hessian-vector products per measurement during a race, where a rough estimate is enough."""

VECTORS = 6
"""Vectors over the parameters that are in memory besides one for each product."""


def product_groups(lanes: Lanes, batch: Batch, layer: str | None, steps: int) -> list[slice]:
    """Split the lanes into groups that fit into memory, or raise with the memory they need."""
    size = sum(r * c for r, c in lanes.shapes(layer)) if layer else lanes.theta.shape[1]
    vectors = (steps + VECTORS) * size * lanes.theta.element_size()
    each = vectors + product_cost(lanes.plan, layer, lanes).bytes(batch.size)
    device = lanes.theta.device
    groups = lane_groups(lanes.count, each, BUDGET[device.type])
    largest = max(rows.stop - rows.start for rows in groups)
    what = f"the curvature of {largest} lane{'s' * (largest > 1)} over {size:,} parameters each"
    try:
        check_memory(int(largest * each), device, what)
    except ValueError as error:
        if layer:
            raise ValueError(f"{error}: use a smaller batch") from None
        raise ValueError(
            f"{error}: use a smaller batch, or one layer, such as {lanes.layers[-1]!r}"
        ) from None
    return groups


def check_tracking(plan: AdapterPlan, size: Size) -> None:
    """Check, before lanes are attached, that a race can measure their curvature on a batch.

    Raises
    ------
    ValueError : one lane would need more than a pass may take, see `pass_limit`, or than is free.
    """
    bounds = [memory.pass_limit(plan.device), memory.available_memory(plan.device)]
    most = min((bound for bound in bounds if bound is not None), default=None)
    need = product_bytes(plan, size, TRACKED)
    if most is None or need <= most:
        return
    smaller = {
        rows: Size(rows, size.width, round(size.supervised * rows / size.rows))
        for rows in range(1, size.rows)
    }
    fitting = [rows for rows, its in smaller.items() if product_bytes(plan, its, TRACKED) <= most]
    fits = max(fitting, default=0)
    raise ValueError(
        f"the curvature of one lane on a batch of {size.rows} prompts of up to {size.width} tokens "
        f"needs {bytes_words(need)} of memory, but may take {bytes_words(most)} here: "
        + (f"{fits} prompts per step would fit" if fits else "not even one prompt would fit")
    )


def product_bytes(plan: AdapterPlan, size: Size, steps: int) -> float:
    """Return the memory of one lane's curvature from so many products, over all layers.

    Parameters
    ----------
    plan : of a model without lanes.
    """
    vectors = (steps + VECTORS) * plan.layout.width * plan.dtype.itemsize
    return vectors + product_cost(plan).bytes(size)


def product_cost(
    plan: AdapterPlan, layer: str | None = None, lanes: Lanes | None = None
) -> PassCost:
    """Return the memory of one lane's products with the Hessian and the Gauss-Newton matrix.

    Parameters
    ----------
    plan, lanes : see `known_cost`.
    layer : the layer that is measured; None for all.
    """

    def products(lanes: Lanes, batch: Batch) -> None:
        search: dict[str, Any] = {"layer": layer, "steps": 1, "probes": 0}
        curvature(lanes, lambda: losses.lane_losses(lanes.model, batch, 1), **search)
        gauss_newton(lanes, lambda: losses.supervised_logits(lanes.model, batch, 1), **search)

    return known_cost(f"products {layer}", plan, products, lanes)
