"""Ranks by layer: as many parameters as with one rank, where singular values say that they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from olora_viz.initializers import Calibration, precise
from olora_viz.machine.devices import kind_of

RANKED_BY = {"energy": "", "gradient": "gradient", "eva": "inputs"}
"""What ranks can follow, the key `rank_by` of a lane, and the calibration data that each needs."""

RHO = 2
"""No layer gets more than this times the rank, as in EVA with PEFT's default."""


class RankedLayer(NamedTuple):
    """A layer that ranks are given to."""

    scores: Sequence[float]
    """Of its singular directions, the largest first."""
    cost: int
    """The parameters of one rank."""
    most: int
    """The highest rank that the start can have."""


def scores_of(W: Tensor, by: str, calibration: Calibration | None) -> list[float]:
    """Return what each singular direction of a layer counts, the largest first.

    By ``energy`` it is σ²/‖W‖², by ``eva`` the share of the inputs' variance that a principal component explains, and
    by ``gradient`` σ² of the gradient, which is in the same unit for all layers.
    """
    if calibration is not None and not kind_of(W.device).has_float64:
        calibration = calibration.on_cpu()
    W = precise(W.detach()) if kind_of(W.device).has_float64 else precise(W.detach()).cpu()
    if by == "eva":
        assert calibration is not None
        assert calibration.covariance is not None
        squares = torch.linalg.eigvalsh(calibration.covariance.double()).flip(0).clamp(min=0)
    else:
        M = W if by == "energy" else calibration and calibration.gradient
        assert M is not None
        squares = torch.linalg.svdvals(M).double().square()
    total = 1.0 if by == "gradient" else max(float(squares.sum()), torch.finfo(torch.float64).tiny)
    return (squares / total).tolist()


def ranks_within(layers: Sequence[RankedLayer], r: int) -> list[int]:
    """Return a rank for each layer, 0 for one that gets none.

    The directions of all layers are taken in the order of their scores, of a layer at most `RHO` · r, until the
    parameters that rank r has on all layers are used up. Where a direction does not fit any more, a smaller one may.

    >>> ranks_within([RankedLayer([0.5, 0.2, 0.1], 10, 3), RankedLayer([0.9, 0.05, 0.01], 10, 3)], r=1)
    [1, 1]
    >>> ranks_within([RankedLayer([0.9, 0.7, 0.6], 10, 3), RankedLayer([0.5, 0.05, 0.01], 10, 3)], r=1)
    [2, 0]
    """
    left = r * sum(layer.cost for layer in layers)
    ranks = [0] * len(layers)
    order = sorted(
        (-score, number, i)
        for i, layer in enumerate(layers)
        for number, score in enumerate(layer.scores[: min(RHO * r, layer.most)])
    )
    for _, _, i in order:
        if layers[i].cost <= left:
            left -= layers[i].cost
            ranks[i] += 1
    return ranks
