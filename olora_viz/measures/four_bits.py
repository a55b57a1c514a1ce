"""What a layer computes with before the first step if its base is in four bits: Q + BA."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.plan import start_of
from olora_viz.models.four_bit import nf4

Method = str | int
"""A start, or the number of LoftQ's steps."""


def on_four_bits(name: str, W: Float[Tensor, "out in"], method: Method, r: int) -> Float[Tensor, "out in"]:
    """Return Q + BA: with a start, Q is W − BA in four bits, so that it is W itself for a start with BA = 0.

    LoftQ takes turns: Q is W − BA in four bits, beginning with BA = 0, then BA the best approximation of W − Q.

    Args:
        name: of the layer, from which random starts are drawn.

    References:
        Meng, Wang, Zhang 2024, arXiv 2404.02948 (QPiSSA); Li et al. 2023, arXiv 2310.08659, algorithm 1 (LoftQ).
    """
    if isinstance(method, str):
        start = start_of(name, W, Lane(method, r=r))
        BA = (start.B @ start.A) * (not INITIALIZERS[method].zero_product)
        return nf4(W - BA, double=True) + BA
    Q = BA = torch.zeros_like(W)
    for _ in range(method):
        Q = nf4(W - BA, double=True)
        fitted = INITIALIZERS["pissa"].start(W - Q, r)
        BA = fitted.B @ fitted.A
    return Q + BA
