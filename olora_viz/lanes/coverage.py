"""Which of a model's weights the adapters of a race adapt, and which they leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Targets
from olora_viz.lanes.layers import head_of, is_linear
from olora_viz.machine.naming import listed

NAMED = 3
"""Maximum layers without a gradient, and maximum targets, that a sentence names."""


@dataclass(frozen=True)
class Coverage:
    """The weights of a model, adapted and left out; made by `coverage_of`."""

    layers: int
    """Number of layers with adapters, apart from experts."""
    experts: int
    """Number of experts' matrices with adapters."""
    adapted: int
    """Weights in these layers' matrices."""
    left_out: Mapping[str, int]
    """Weights that are left out, by kind, the largest number first. Tied weights count once."""

    @property
    def weights(self) -> int:
        """All weights of the model."""
        return self.adapted + sum(self.left_out.values())

    @property
    def extent(self) -> str:
        """The number of layers and experts' matrices with adapters, in words."""
        matrices = "expert matrix", "expert matrices"
        counts = ((self.layers, "layer", "layers"), (self.experts, *matrices))
        return " and ".join(f"{n} {one if n == 1 else more}" for n, one, more in counts if n)

    @property
    def share(self) -> str:
        """The share of the weights that is adapted, as a percentage."""
        return self._share(self.adapted)

    @property
    def shares_left_out(self) -> str:
        """What is left out, each kind with its share of the weights; empty if nothing is."""
        return ", ".join(f"{kind} ({self._share(size)})" for kind, size in self.left_out.items())

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
    """Count a model's weights, adapted and left out.

    Parameters
    ----------
    model : with all its weights.
    layers : those that have adapters.
    """
    head = head_of(model)
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


def worded(
    whole: Coverage,
    by_targets: Mapping[Targets, Coverage],
    without_gradient: Sequence[str] | None = None,
) -> str:
    """Describe what the lanes adapt, what they all leave out, and what received no gradient.

    Parameters
    ----------
    whole : of the adapters of all lanes together.
    by_targets : of the lanes by their targets.
    without_gradient : layers whose adapters received no gradient in the first step; None before it.
    """
    alike = all(its == whole for its in by_targets.values())
    parts = [_alike(whole) if alike else _by_targets(by_targets)]
    if whole.left_out:
        parts.append(f"left out{'' if alike else ' by all'}: {whole.shares_left_out}")
    if without_gradient:
        parts.append(no_gradient(without_gradient))
    return "; ".join(parts)


def no_gradient(layers: Sequence[str]) -> str:
    """Name the layers whose adapters received no gradient in the first step."""
    return f"no gradient in the first step: {listed(layers, NAMED)}"


def _alike(its: Coverage) -> str:
    return f"every lane adapts {its.extent}, {its.share} of the weights"


def _by_targets(by_targets: Mapping[Targets, Coverage]) -> str:
    """Describe what the lanes adapt, for each set of targets; the race's own come last."""
    own = [targets for targets in by_targets if targets is not None]
    others = [its for targets, its in by_targets.items() if targets not in own[:NAMED]]
    said = [f"those on {listed(its, NAMED)} {_brief([by_targets[its]])}" for its in own[:NAMED]]
    if others:
        said.append(f"the others {_brief(others)}")
    first = by_targets[own[0]]
    extent = f"{first.extent} ({first.share} of the weights)"
    said[0] = f"lanes on {listed(own[0], NAMED)} adapt {extent}"
    return ", ".join(said)


def _brief(coverages: Sequence[Coverage]) -> str:
    """Describe the number of layers and their share of the weights, as ranges."""
    ordered = sorted(coverages, key=lambda its: its.adapted)
    ends = [f"{its.extent} ({its.share})" for its in (ordered[0], ordered[-1])]
    return " to ".join(dict.fromkeys(ends))


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
