"""Target layers, and the orientation of their weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxtyping import Float
from torch import Tensor, nn

try:  # GPT-2's linear layer, which stores its weight as (in, out)
    from transformers.pytorch_utils import Conv1D
except ImportError:  # pragma: no cover - transformers is a dependency; attach works without it
    Conv1D = ()


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer stores its weight as (in, out), as GPT-2's `Conv1D` does."""
    return isinstance(layer, Conv1D)


def weight_of(layer: nn.Module) -> Float[Tensor, "out in"]:
    """Return a view of the layer's weight as (out, in), whatever its stored orientation."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.T if is_transposed(layer) else weight


def is_linear(layer: nn.Module) -> bool:
    """Whether this kind of layer can have adapters: its forward is `nn.Linear`'s or `Conv1D`'s.

    A subclass with a forward of its own, as the routers of some mixtures of experts are, computes
    more than a product.
    """
    kinds = (nn.Linear, Conv1D) if Conv1D else (nn.Linear,)
    return any(isinstance(layer, kind) and type(layer).forward is kind.forward for kind in kinds)


def target_layers(
    model: nn.Module, targets: Sequence[str] | None = None, bypassed: Collection[str] = ()
) -> dict[str, nn.Module]:
    """Find the linear layers that get adapters, by name and in the model's order.

    Parameters
    ----------
    model : any torch module.
    targets : suffixes of names, such as ``("q_proj", "mlp.down_proj")``; ``None`` takes every
        linear layer inside the model's blocks (all of them, if the model has no blocks).
    bypassed : layers whose forward the model does not call, see `FirstPass`; they are left out.

    Raises
    ------
    ValueError : a suffix matches no linear layer, or the model has none.
    """
    head_of = getattr(model, "get_output_embeddings", None)
    head = head_of() if head_of else None
    linear = {
        name: layer
        for name, layer in model.named_modules()
        if is_linear(layer) and layer is not head and name not in bypassed
    }
    if targets is None:
        blocks = _blocks(model)
        found = {n: m for n, m in linear.items() if blocks is None or n.startswith(blocks + ".")}
    else:
        for target in targets:
            if not any(_ends_with(name, target) for name in linear):
                endings = sorted({name.rsplit(".", 1)[-1] for name in linear})
                raise ValueError(
                    f"no linear layer's name ends in {target!r}; there are {', '.join(endings)}"
                )
        found = {n: m for n, m in linear.items() if any(_ends_with(n, t) for t in targets)}
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear layer to adapt")
    return found


def _blocks(model: nn.Module) -> str | None:
    """Name the list of blocks: the outermost ModuleList that holds the most linear layers."""
    best, most = None, 0
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            count = sum(is_linear(layer) for layer in module.modules())
            if count > most:
                best, most = name, count
    return best


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def common_owner(model: nn.Module, names: list[str]) -> nn.Module:
    """Find the innermost module that holds all the named layers and that is itself called."""
    parts = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    while shared and isinstance(model.get_submodule(".".join(shared)), nn.ModuleList):
        shared.pop()
    return model.get_submodule(".".join(shared))
