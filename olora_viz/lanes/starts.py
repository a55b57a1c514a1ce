"""How lanes start on a model's layers: each layer and lane has its own seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from olora_viz.initializers import INITIALIZERS, Calibration
from olora_viz.initializers.start import Start, precise
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layout import Layout
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.progress import Progress

StartOf = Callable[[str, Tensor, Lane], Start]
"""Makes the start of a lane on a layer, from the layer's name and weight."""

Keep = Callable[[Hashable, Callable[[], Start]], Start]
"""Returns what is kept under a key, after making it the first time."""


def start_of(name: str, W: Tensor, lane: Lane, calibration: Calibration | None = None) -> Start:
    """Return a lane's A⁰ and B⁰ for one layer, from the layer's own random generator."""
    # torch's CPU generator uses only the low 32 bits of a seed.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{lane.seed} {name}".encode()))
    start = INITIALIZERS[lane.init].start
    return start(W, lane.r, s=lane.scale, generator=generator, calibration=calibration)


def start_from(calibration: Mapping[str, Calibration], kept: Keep | None = None) -> StartOf:
    """Return `start_of` with each layer's own calibration, if there is one.

    Parameters
    ----------
    kept : keeps the starts that depend on the weight alone, such as those from its SVD.
    """

    def made(name: str, W: Tensor, lane: Lane) -> Start:
        its = INITIALIZERS[lane.init]
        if kept is None or its.random or its.needs:
            return start_of(name, W, lane, calibration.get(name))
        return kept(("start", name, *_kind(lane)), lambda: start_of(name, W, lane))

    return made


def _kind(lane: Lane) -> tuple[str, int, float, int]:
    """Return what a lane's start on a layer depends on."""
    return lane.init, lane.r, lane.scale, lane.seed if INITIALIZERS[lane.init].random else 0


def start_matrix(
    layout: Layout, plan: AdapterPlan, start_of: StartOf, progress: Progress | None = None
) -> Float[Tensor, "K P"]:
    """Return theta at step 0, in float32 or better, on the device of the weights."""
    theta = torch.zeros(len(plan.lanes), layout.width, dtype=plan.dtype, device=plan.device)
    for i, name in enumerate(plan.layers):
        if progress:
            progress(i / len(plan.layers), "starting adapters")
        W = precise(plan.weight(name).detach())
        made: dict[tuple[str, int, float, int], Start] = {}
        A, B = layout.factors(theta, name)
        for k, lane in enumerate(plan.lanes):
            if not plan.ranks[name][k] or k in plan.dense:
                continue
            key = _kind(lane)
            if key not in made:
                made[key] = start_of(name, W, lane)
            fill(A[k], B[k], made[key])
    return theta


def frozen_mask(
    layout: Layout, plan: AdapterPlan, theta: Float[Tensor, "K P"]
) -> Bool[Tensor, "K P"] | None:
    """Return the mask of the B that are not trained; None if there are none."""
    if not plan.frozen_B:
        return None
    mask = torch.zeros_like(theta, dtype=torch.bool)
    for _, B in layout.split(mask).values():
        B[plan.frozen_B] = True
    return mask if mask.any() else None


def from_zero(layout: Layout, start: Float[Tensor, "K P"]) -> bool:
    """Whether B⁰A⁰ = 0 in every lane and layer, because B⁰ or A⁰ is zero."""
    return not any(
        (A.flatten(1).any(1) & B.flatten(1).any(1)).any() for A, B in layout.split(start).values()
    )


def fill(A: Tensor, B: Tensor, factors: Start) -> None:
    """Write factors of any rank into A (r, in) and B (out, r), padded with zeros."""
    rank = factors.A.shape[0]
    A[:rank], A[rank:] = factors.A, 0.0
    B[:, :rank], B[:, rank:] = factors.B, 0.0
