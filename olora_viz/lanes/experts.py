"""Experts that a model stores as 3-D parameters, computed through one linear layer per matrix.

A mixture of experts such as Mixtral keeps the same matrix of all experts in one parameter
(experts, out, in), and computes with all of them in one call. Adapters need the matrices apart:
`UnrolledExperts` computes what the module's own forward does, expert by expert, and each matrix of
each expert is a layer with a weight, a bias and a forward, as `nn.Linear` is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

Override = tuple[nn.Module, Callable[..., Any]]
"""A module, and the function to call instead of its forward, with that forward and its inputs."""


def override(overrides: Mapping[str, Override]) -> Callable[[], None]:
    """Override the forward of some modules, and return a function that restores them.

    Raises:
        ValueError: a module's forward is already overridden; no forward is changed then.
    """
    for name, (module, _) in overrides.items():
        if "forward" in module.__dict__:
            raise ValueError(f"the model of layer {name!r} already has lanes; detach them first")
    for module, forward in overrides.values():
        module.forward = partial(forward, module.forward)

    def restore() -> None:
        for module, _ in overrides.values():
            del module.forward

    return restore


DECLARED = ("num_experts", "has_gate", "has_bias", "has_post_expert_norm", "is_transposed")
"""Attributes that transformers' `use_experts_implementation` sets on a module that can be computed in several ways.
Experts without them, such as Llama 4's, cannot be unrolled."""


class ExpertLinear(nn.Module):
    """One matrix of one expert: a slice of a 3-D parameter.

    Attributes:
        parameter: name of the 3-D parameter in the experts' module.
    """

    def __init__(self, experts: UnrolledExperts, parameter: str, index: int) -> None:
        super().__init__()
        self.experts, self.parameter, self.index = experts, parameter, index

    @property
    def stored(self) -> nn.Parameter:
        """The whole 3-D parameter."""
        return getattr(self.experts.module, self.parameter)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """A view of the expert's matrix as (out, in), whatever its stored orientation."""
        W = self.stored[self.index]
        return W.T if self.experts.module.is_transposed else W

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        """A view of the expert's bias."""
        if not self.experts.module.has_bias:
            return None
        return getattr(self.experts.module, f"{self.parameter}_bias")[self.index]

    def forward(self, X: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Multiply with the expert's matrix."""
        return F.linear(X, self.weight, self.bias)


class UnrolledExperts:
    """A module of experts, computed through a layer for each matrix of each expert.

    Attributes:
        module: the experts, in which nothing is changed.
        layers: those of each 3-D parameter, by its name; one for each expert.
        tokens: in a forward pass, the token of each row that the layers of the current expert read.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: Any = module
        experts = range(module.num_experts)  # pyrefly: ignore[bad-argument-type]
        self.layers = {
            name: [ExpertLinear(self, name, e) for e in experts]
            for name in ("gate_up_proj" if module.has_gate else "up_proj", "down_proj")
        }
        self.tokens = torch.empty(0, dtype=torch.long)

    def forward(
        self,
        K: int,
        X: Float[Tensor, "tokens features"],
        chosen: Int[Tensor, "tokens top_k"],
        weights: Float[Tensor, "tokens top_k"],
    ) -> Float[Tensor, "tokens features"]:
        """Compute the module's output, up to rounding.

        Args:
            K: number of lanes in X, lane after lane, with equally many tokens each.
            chosen, weights: the experts of each token, and their shares in its output.
        """
        count, top_k = chosen.shape
        lane = torch.arange(count * top_k, device=X.device) // (count * top_k // K)
        group = chosen.flatten() * K + lane
        # Stable, so that an expert's rows are in the order of the lanes, and of their tokens.
        order = group.argsort(stable=True)
        sizes = torch.bincount(group, minlength=len(self.layers["down_proj"]) * K)
        shares = sizes.unflatten(0, (-1, K)).tolist()
        totals = [sum(of_lanes) for of_lanes in shares]
        # Repeated and reordered, not indexed with repetition: the gradient of that is a sum in no fixed order.
        rows = X[:, None].expand(-1, top_k, -1).flatten(0, 1)[order].split(totals)
        tokens = (order // top_k).split(totals)
        outputs = []
        for e, of_lanes in enumerate(shares):
            if totals[e]:
                self.tokens = tokens[e]
                outputs.append(self._expert(e, rows[e], of_lanes))
        Y = torch.cat(outputs)[order.argsort()].unflatten(0, (count, top_k))
        return (Y * weights[..., None]).sum(1).to(X.dtype)

    def _expert(self, e: int, X: Tensor, shares: list[int]) -> Tensor:
        """Compute one expert on X, some rows of each lane."""
        up, down = (layers[e] for layers in self.layers.values())
        module = self.module
        # With equally many rows per lane, one product with W serves them all.
        H = up(pad_sequence(list(X.split(shares)), batch_first=True))  # (K, rows, …)
        H = module._apply_gate(H) if module.has_gate else module.act_fn(H)
        Y = down(H)
        if module.has_post_expert_norm:
            Y = module.post_expert_norm(Y)
        return torch.cat([rows[:count] for rows, count in zip(Y, shares, strict=True)])


def matrices_of(path: str, module: nn.Module) -> dict[str, ExpertLinear]:
    """Return the matrices of experts that a module holds as 3-D parameters, by name.

    Args:
        path: the module's name. A matrix's name is that of its 3-D parameter and the expert's number:
            ``model.layers.0.mlp.experts.down_proj.3``.
    """
    if not all(hasattr(module, word) for word in DECLARED):
        return {}
    return {
        f"{path}.{name}.{e}": layer
        for name, layers in UnrolledExperts(module).layers.items()
        for e, layer in enumerate(layers)
    }


def unrolled(layers: Mapping[str, nn.Module]) -> dict[str, UnrolledExperts]:
    """Return the experts that some of the layers are part of, by the name of their module."""
    return {name.rsplit(".", 2)[0]: layer.experts for name, layer in layers.items() if isinstance(layer, ExpertLinear)}


@contextmanager
def unrolling(layers: Mapping[str, nn.Module]) -> Generator[None]:
    """Make a model without lanes call the layers of its experts' matrices, with their hooks."""
    restore = override(
        {
            path: (experts.module, lambda _, *inputs, experts=experts: experts.forward(1, *inputs))
            for path, experts in unrolled(layers).items()
        }
    )
    try:
        yield
    finally:
        restore()
