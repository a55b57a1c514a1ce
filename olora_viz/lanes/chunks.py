"""Chunks of lanes that pass through the model together, limited by activation memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from olora_viz.lanes.layers import expert_layers, target_layers, weight_of
from olora_viz.lanes.layout import Layout
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.memory import check_memory

ACTIVATIONS = {"cpu": 3 * 2**30, "cuda": 24 * 2**30}
"""Approximate memory budget of the activations of one pass in bytes, by device."""

KEPT = 1.5
"""Activations stored by a pass, relative to the inputs and outputs of the linear layers."""

LOGITS = 3
"""Copies of the logits in memory at once: the logits, in float32, and their softmax."""

COPIES = 7
"""Matrices (K, P) of a race: theta, its start, the gradient, two moments, theta before an update
(if that is measured), and a temporary one."""


@dataclass(frozen=True)
class Footprint:
    """Memory of one lane's tokens in a pass, estimated from the model's shapes."""

    kept: float
    """Bytes per token for the backward pass."""
    passing: float
    """Bytes per token in memory while a pass without gradients runs one layer."""
    logits: float
    """Bytes per supervised token."""

    @classmethod
    def of(cls, model: nn.Module) -> Footprint:
        """Estimate it for a model."""
        layers = list(target_layers(model).values())
        # A token passes through some of the experts, adapted or not: count the first ones.
        config: Any = getattr(model, "config", None)
        read = getattr(config and config.get_text_config(), "num_experts_per_tok", 1)
        layers += [its for its in expert_layers(model).values() if its.index < read]
        sizes = [sum(W.shape) * W.element_size() for W in map(weight_of, layers)]
        embedding = model.get_input_embeddings().weight  # pyright: ignore
        vocabulary = int(embedding.shape[0])
        return cls(KEPT * sum(sizes), 4 * max(sizes), LOGITS * 4 * vocabulary)

    def training(self, tokens: int, supervised: int) -> float:
        """Return the bytes of one lane's forward and backward pass, padding included."""
        return tokens * self.kept + supervised * self.logits

    def evaluation(self, tokens: int, supervised: int) -> float:
        """Return the bytes of one lane's forward pass."""
        return tokens * self.passing + supervised * self.logits


def lane_groups(
    K: int, bytes_each: float, device: str, budget: Mapping[str, int] | None = None
) -> list[slice]:
    """Split K lanes into groups, as few and as even as memory allows.

    The lanes share no parameters, so one pass per group gives the same result as one pass for all.
    The groups depend on the set-up only, never on the free memory, so that a race is reproducible.

    Parameters
    ----------
    K : lanes.
    bytes_each : of one lane in a pass, see `Footprint`.
    device : ``cpu`` or ``cuda``.
    budget : bytes of one group, by device; None for `ACTIVATIONS`.

    >>> lane_groups(10, bytes_each=512 * 2**20, device="cpu")
    [slice(0, 5, None), slice(5, 10, None)]
    """
    together = max(1, int((budget or ACTIVATIONS)[device] // max(bytes_each, 1.0)))
    count = math.ceil(K / together)
    borders = [math.ceil(i * K / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(borders)]


def check_adapters(plan: AdapterPlan, name: str) -> None:
    """Check that the lanes fit into memory; otherwise the system would kill the process.

    Parameters
    ----------
    plan : the layers and lanes; its base model is called `name` in the message.

    Raises
    ------
    ValueError : there is not enough free memory for adapters and optimizer.
    """
    K, rank = len(plan.lanes), plan.rank
    width = Layout(plan.shapes, plan.ranks).width
    needed = COPIES * K * width * plan.dtype.itemsize
    check_memory(needed, plan.device, f"{K} lane{'s' * (K > 1)} of rank up to {rank} on {name}")
