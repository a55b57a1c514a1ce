"""What the adapters of a race reach of a model's weights, and what they leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.layers import is_linear

NAMED = 3
"""The most layers without a gradient that a sentence names."""


@dataclass(frozen=True)
class Coverage:
    """The weights of a model, by what the adapters do with them; made by `coverage_of`."""

    layers: int
    """How many layers have adapters, experts aside."""
    experts: int
    """How many matrices of experts have adapters."""
    adapted: int
    """Weights in these layers' matrices."""
    left_out: Mapping[str, int]
    """Weights that are left out, by kind, the most first. Tied weights count once."""

    @property
    def weights(self) -> int:
        """All weights of the model."""
        return self.adapted + sum(self.left_out.values())

    @property
    def sentence(self) -> str:
        """What is adapted and what is not, for people."""
        matrices = "expert matrix", "expert matrices"
        counts = ((self.layers, "layer", "layers"), (self.experts, *matrices))
        reached = " and ".join(f"{n} {one if n == 1 else more}" for n, one, more in counts if n)
        shares = [f"{kind} ({self._share(size)})" for kind, size in self.left_out.items()]
        left_out = f"; left out: {', '.join(shares)}" if shares else ""
        share = self._share(self.adapted)
        return f"adapts {reached}, {share} of the weights{left_out}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "layers": self.layers,
            "expert_matrices": self.experts,
            "adapted_weights": self.adapted,
            "weights": self.weights,
            "left_out": dict(self.left_out),
        }

    def _share(self, size: int) -> str:
        share = size / self.weights
        return f"{share:.1%}" if share >= 0.0005 else "below 0.1%"


def coverage_of(model: nn.Module, layers: Mapping[str, nn.Module]) -> Coverage:
    """Count a model's weights, by whether adapters reach them.

    Parameters
    ----------
    model : with all its weights.
    layers : those that have adapters.
    """
    head_of = getattr(model, "get_output_embeddings", None)
    head = head_of() if head_of else None
    experts = [layer for layer in layers.values() if isinstance(layer, ExpertLinear)]
    linear = [layer for layer in layers.values() if not isinstance(layer, ExpertLinear)]
    adapted = {id(layer.weight) for layer in linear} | {id(layer.stored) for layer in experts}
    sizes: dict[str, int] = {}
    reached = 0
    for name, weight in model.named_parameters():
        if id(weight) in adapted:
            reached += weight.numel()
            continue
        holder = model.get_submodule(name.rpartition(".")[0])
        kind = "output head" if holder is head else _kind(name, weight, holder)
        sizes[kind] = sizes.get(kind, 0) + weight.numel()
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    return Coverage(len(linear), len(experts), reached, dict(ordered))


def worded(coverage: Coverage, without_gradient: Sequence[str] | None = None) -> str:
    """Say what is adapted, and which of it did not train.

    Parameters
    ----------
    coverage : of the adapters.
    without_gradient : layers with adapters that got no gradient in the first step; None before it.
    """
    names = list(without_gradient or ())
    if not names:
        return coverage.sentence
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    silent = f"no gradient in the first step: {', '.join(names[:NAMED])}{more}"
    return f"{coverage.sentence}; {silent}"


def _kind(name: str, weight: nn.Parameter, holder: nn.Module) -> str:
    if weight.ndim < 2 or name.endswith("_bias"):
        return "norms and biases"
    if isinstance(holder, nn.Embedding):
        return "embeddings"
    if "Router" in type(holder).__name__:
        return "routers"
    if weight.ndim == 3 and "experts" in name:
        return "3-D experts"
    return "other linear layers" if is_linear(holder) else "other weights"
