"""How lanes start on a model's layers: checked first, then made, each from its own seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Calibration, lacking
from olora_viz.initializers.start import Start, check_rank
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.lanes.layout import Layout
from olora_viz.machine.progress import Progress

StartOf = Callable[[str, Tensor, Lane], Start]
"""Makes the start of a lane on the weight of the layer of a name."""


def check_starts(layers: Mapping[str, nn.Module], lanes: Sequence[Lane]) -> None:
    """Refuse weights that lanes cannot start on, by the layer's name, before anything is made.

    Raises
    ------
    ValueError : a rank above min(out, in) of a layer, a weight that is not finite.
    """
    for name, layer in layers.items():
        W = weight_of(layer)
        for lane in lanes:
            check_rank(W, lane.r, name, INITIALIZERS[lane.init].vectors)
        if not W.isfinite().all():
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")


def check_told(
    layers: Mapping[str, nn.Module], lanes: Sequence[Lane], calibration: Mapping[str, Calibration]
) -> None:
    """Refuse initializations that are not told what they need.

    Raises
    ------
    ValueError : a layer without calibration, and a lane that starts from some.
    """
    for lane in lanes:
        needs = INITIALIZERS[lane.init].needs
        if needs and not layers.keys() <= calibration.keys():
            raise lacking(lane.init, needs)


def start_of(name: str, W: Tensor, lane: Lane, calibration: Calibration | None = None) -> Start:
    """Make a lane's A⁰ and B⁰ for one layer, from random numbers that are the layer's own."""
    # torch's generator on the CPU looks at the low 32 bits of a seed only.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{lane.seed} {name}".encode()))
    start = INITIALIZERS[lane.init].start
    return start(W, lane.r, s=lane.scale, generator=generator, calibration=calibration)


def start_matrix(
    layout: Layout,
    layers: Mapping[str, nn.Module],
    lanes: Sequence[Lane],
    start_of: StartOf,
    progress: Progress | None = None,
) -> Float[Tensor, "K P"]:
    """Make theta at step 0, in float32 or better, on the device of the weights."""
    first = weight_of(next(iter(layers.values())))
    dtype = torch.promote_types(first.dtype, torch.float32)
    theta = torch.zeros(len(lanes), layout.width, dtype=dtype, device=first.device)
    for i, (name, layer) in enumerate(layers.items()):
        if progress:
            progress(i / len(layers), "starting adapters")
        W = weight_of(layer).detach()
        made: dict[tuple[str, int, float, int], Start] = {}
        A, B = layout.factors(theta, name)
        for k, lane in enumerate(lanes):
            key = (lane.init, lane.r, lane.scale, lane.seed)
            if key not in made:
                made[key] = start_of(name, W, lane)
            fill(A[k], B[k], made[key])
    return theta


def fill(A: Tensor, B: Tensor, factors: Start) -> None:
    """Write factors of any rank into A (r, in) and B (out, r), and zeros behind them."""
    rank = factors.A.shape[0]
    A[:rank], A[rank:] = factors.A, 0.0
    B[:, :rank], B[:, rank:] = factors.B, 0.0
