"""Which lanes go through the model together: as many as the memory for their activations allows."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from olora_viz.layers import target_layers, weight_of

ACTIVATIONS = {"cpu": 3 * 2**30, "cuda": 24 * 2**30}
"""Bytes that the activations of one forward and backward pass may take, about, by device."""

KEPT = 1.5
"""What a pass keeps, as a multiple of what goes into and comes out of the linear layers alone."""


def bytes_per_token(model: nn.Module) -> float:
    """Estimate what the backward pass needs to remember of one token of one lane."""
    weights = [weight_of(layer) for layer in target_layers(model).values()]
    return KEPT * sum(sum(W.shape) * W.element_size() for W in weights)


def lane_groups(K: int, tokens: int, per_token: float, device: str) -> list[slice]:
    """Deal K lanes into groups, as few and as even as the memory allows.

    The lanes share no parameter, so a pass for each group gives what one pass for all gives; the
    groups depend on the set-up alone, never on what memory is free, so that a race repeats.

    Parameters
    ----------
    K : lanes.
    tokens : in one lane's batch, padding included.
    per_token : bytes, from `bytes_per_token`.
    device : ``cpu`` or ``cuda``.

    >>> lane_groups(10, tokens=2**20, per_token=512, device="cpu")
    [slice(0, 5, None), slice(5, 10, None)]
    """
    together = max(1, int(ACTIVATIONS[device] // (tokens * per_token)))
    count = math.ceil(K / together)
    borders = [math.ceil(i * K / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(borders)]
