"""What a layer computes with before the first step if its base is in four bits: Q + BA."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.plan import on_own_base, start_of

Method = str | int
"""A start, or the number of LoftQ's steps."""


def on_four_bits(name: str, W: Float[Tensor, "out in"], method: Method, r: int) -> Float[Tensor, "out in"]:
    """Return Q + BA of a lane's own base and its start, see `on_own_base`.

    Args:
        name: of the layer, from which random starts are drawn.
    """
    lane = Lane(method, r=r) if isinstance(method, str) else Lane("loftq", r=r, iterations=method)
    start = start_of(name, W, lane)
    return on_own_base(W, start if not INITIALIZERS[lane.init].zero_product else replace(start, B=0 * start.B))
