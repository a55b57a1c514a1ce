"""The linear layers of a model that can have adapters, and the share of it that they cover."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain, takewhile
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.lanes.experts import ExpertLinear, matrices_of
from olora_viz.lanes.targets import ALL, FAMILIES, MLP, family_of, within_block
from olora_viz.machine.four_bit import BLOCK, FourBitLayer, pack
from olora_viz.machine.wording import listed


def _conv1d() -> tuple[type[nn.Module], ...]:
    """Return GPT-2's linear layer, which stores its weight as (in, out).

    Empty if transformers is not loaded, which takes a second: then no model has such a layer.
    """
    loaded = sys.modules.get("transformers.pytorch_utils")
    return (loaded.Conv1D,) if loaded else ()


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer stores its weight as (in, out), as GPT-2's `Conv1D` does."""
    return isinstance(layer, _conv1d())


def weight_of(layer: nn.Module) -> Float[Tensor, "out in"]:
    """Return a view of the layer's weight as (out, in), whatever its stored orientation."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.T if is_transposed(layer) else weight


def outline_of(layer: nn.Module) -> Float[Tensor, "out in"]:
    """Return `weight_of`, or of a layer in four bits a tensor of its shape and dtype without numbers."""
    if isinstance(layer, FourBitLayer):
        return torch.empty(layer.shape, dtype=layer.dtype, device="meta")
    return weight_of(layer)


@torch.no_grad()
def pack_base(model: nn.Module, name: str) -> None:
    """Let all linear layers but the head, as bitsandbytes does, keep their weights in four bits.

    Args:
        name: of the model, for messages.

    Raises:
        ValueError: a weight is smaller than a block, or not finite, or was loaded from four bits.
    """
    if getattr(model, "stored_in_four_bits", False):
        raise ValueError(f"the weights of {name} are in four bits already, and nf4 would round again: leave base out")
    layers = {path: layer for path, layer in adaptable_layers(model).items() if is_linear(layer)}
    for path, layer in layers.items():
        if (count := weight_of(layer).numel()) < BLOCK:
            raise ValueError(
                f"base nf4 scales blocks of {BLOCK} weights, and {path!r} of {name} has {count}: leave it float"
            )
    check_finite(layers)
    for layer in layers.values():
        pack(layer, is_transposed(layer))


def bytes_of(model: nn.Module) -> int:
    """Return the memory of a model's weights, also of those in four bits."""
    in_four_bits = [layer for layer in model.modules() if isinstance(layer, FourBitLayer)]
    return sum(t.nbytes for t in chain(model.parameters(), *(layer.buffers(recurse=False) for layer in in_four_bits)))


def float_bytes_of(model: nn.Module) -> int:
    """Return the memory of a model's weights if none of them is in four bits."""
    in_four_bits = [layer for layer in model.modules() if isinstance(layer, FourBitLayer)]
    packed = sum(layer.shape.numel() * layer.dtype.itemsize for layer in in_four_bits)
    return packed + sum(weight.nbytes for weight in model.parameters())


def check_finite(layers: Mapping[str, nn.Module]) -> None:
    """Check that the weights of some layers are finite, but for those of a skeleton, which has none."""
    for name, layer in layers.items():
        W = weight_of(layer)
        if not (W.is_meta or W.isfinite().all()):
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")


def is_linear(layer: nn.Module) -> bool:
    """Whether this kind of layer can have adapters: its forward is `nn.Linear`'s or `Conv1D`'s.

    A subclass with its own forward, such as the router of some mixtures of experts, computes more than a product.
    """
    kinds = (nn.Linear, *_conv1d())
    return any(isinstance(layer, kind) and type(layer).forward is kind.forward for kind in kinds)


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module and every matrix of its experts, by name and in the model's order."""
    layers: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        layers |= {name: module, **matrices_of(name, module)}
    return layers


def expert_layers(model: nn.Module) -> dict[str, ExpertLinear]:
    """Return every matrix of experts that are 3-D parameters, by name and in the model's order."""
    return {name: layer for name, layer in named_layers(model).items() if isinstance(layer, ExpertLinear)}


def called_module(name: str, layer: nn.Module) -> str:
    """Return the name of the module that runs a layer: itself, or the experts around it."""
    return name.rsplit(".", 2)[0] if isinstance(layer, ExpertLinear) else name


def target_name(name: str, layer: nn.Module) -> str:
    """Return the name by which a target finds a layer: its own, or that of its 3-D parameter."""
    return name.rpartition(".")[0] if isinstance(layer, ExpertLinear) else name


def names_experts(target: str) -> bool:
    """Whether a target can find 3-D parameters: ``down_proj`` alone means linear layers.

    >>> names_experts("mlp.experts.down_proj"), names_experts("down_proj")
    (True, False)
    """
    return "experts" in target.split(".")


def head_of(model: nn.Module) -> nn.Module | None:
    """Return the layer that computes the logits, if the model names one."""
    named: Any = getattr(model, "get_output_embeddings", None)
    return named() if named else None


def adaptable_layers(model: nn.Module, bypassed: Collection[str] = ()) -> dict[str, nn.Module]:
    """Find all layers that can have adapters, by name and in the model's order.

    Args:
        bypassed: modules whose forward the model does not call, see `bypassed_modules`; they are left out.
    """
    head = head_of(model)
    return {
        name: layer
        for name, layer in named_layers(model).items()
        if (is_linear(layer) or isinstance(layer, ExpertLinear))
        and layer is not head
        and called_module(name, layer) not in bypassed
    }


def target_layers(
    model: nn.Module, targets: Sequence[str] | None = None, bypassed: Collection[str] = ()
) -> dict[str, nn.Module]:
    """Find the layers that get adapters, by name and in the model's order.

    Args:
        model: any torch module.
        targets: suffixes of names, such as ``("q_proj", "mlp.down_proj")``, with the wildcards ``*``, ``?`` and
            ``[…]``, such as ``("layers.[01].*",)``, and families, ``attention``, ``mlp`` and ``all``. ``None``, as
            ``all``, takes every linear layer inside the model's blocks (all of them, if the model has no blocks), and
            a family those of them that are in it, see `family_of`. A target that names the experts, such as
            ``experts.down_proj``, finds 3-D parameters too: each expert's matrix is then its own layer, see
            `matrices_of`.
        bypassed: see `adaptable_layers`.

    Raises:
        ValueError: a target matches no layer, the model has none, or none of a family.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> list(ov.target_layers(model, ["layers.0.*.[qv]_proj"]))
        ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.v_proj']
        >>> len(ov.target_layers(model)), len(ov.target_layers(model, ["attention"]))
        (28, 16)
    """
    layers = adaptable_layers(model, bypassed)
    if targets is None:
        targeted = _in_blocks(model, layers)
    else:
        of_families = {target: _of_family(model, layers, target) for target in targets if target in FAMILIES}
        names = [target for target in targets if target not in FAMILIES]
        for target in names:
            if not any(_ends_with(name, layer, target) for name, layer in layers.items()):
                endings = _endings(layers)
                experts = [f"; of experts, {ending!r} does" for ending in endings if ending == f"experts.{target}"]
                of_experts = experts[0] if experts else ""
                raise ValueError(
                    f"no linear layer's name ends in {target!r}{of_experts}; choose from {listed(endings)}"
                )
        chosen = {name for of_family in of_families.values() for name in of_family}
        chosen |= {n for n, m in layers.items() if any(_ends_with(n, m, t) for t in names)}
        targeted = {name: layer for name, layer in layers.items() if name in chosen}
    if not targeted:
        raise ValueError(f"{type(model).__name__} has no linear layer to adapt")
    return targeted


def _in_blocks(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the linear layers within the blocks, of all if there are none."""
    blocks = _blocks(model)
    return {
        name: layer
        for name, layer in layers.items()
        if not isinstance(layer, ExpertLinear) and (blocks is None or name.startswith(blocks + "."))
    }


def _of_family(model: nn.Module, layers: Mapping[str, nn.Module], family: str) -> list[str]:
    """Return the names of the linear layers of a family within the blocks; ValueError if there are none."""
    blocks, inner, has = _blocks(model), _in_blocks(model, layers), FAMILIES[family]
    names = [n for n in inner if has(family_of(n.rpartition(".")[2], within_block(model, n, blocks)))]
    if not names and family != ALL:
        experts = [target_name(*item) for item in layers.items() if isinstance(item[1], ExpertLinear)]
        instead = f"; its experts are targets such as {_last_two(experts[0])!r}" if experts and family == MLP else ""
        raise ValueError(f"{type(model).__name__} has no linear layer of the family {family!r}{instead}")
    return names


def _last_two(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _blocks(model: nn.Module) -> str | None:
    """Return the name of the blocks: the outermost ModuleList with the most linear layers."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    counts = {name: sum(map(is_linear, module.modules())) for name, module in lists}
    return max(filter(counts.get, counts), key=counts.__getitem__, default=None)


def _ends_with(name: str, layer: nn.Module, target: str) -> bool:
    if isinstance(layer, ExpertLinear) and not names_experts(target):
        return False
    name = target_name(name, layer)
    return fnmatchcase(name, target) or fnmatchcase(name, f"*.{target}")


def _endings(layers: Mapping[str, nn.Module]) -> list[str]:
    """Return the shortest suffixes that find the layers."""
    parts = {target_name(name, layer): -2 if isinstance(layer, ExpertLinear) else -1 for name, layer in layers.items()}
    return sorted({".".join(name.split(".")[first:]) for name, first in parts.items()})


def common_owner(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """Find the innermost module that holds all the named modules and that is itself called."""
    levels = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    while shared and isinstance(model.get_submodule(".".join(shared)), nn.ModuleList):
        shared.pop()
    return model.get_submodule(".".join(shared))


MOST_NAMED = 3
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
        counts = ((self.layers, "layer", "layers"), (self.experts, "expert matrix", "expert matrices"))
        return " and ".join(f"{n} {singular if n == 1 else plural}" for n, singular, plural in counts if n)

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
    """Count a model's weights, adapted and left out."""
    head = head_of(model)
    experts = [layer for layer in layers.values() if isinstance(layer, ExpertLinear)]
    linear = [layer for layer in layers.values() if not isinstance(layer, ExpertLinear)]
    in_four_bits = {layer: layer.shape.numel() for layer in model.modules() if isinstance(layer, FourBitLayer)}
    adapted = {id(layer.weight) for layer in linear if layer not in in_four_bits} | {id(e.stored) for e in experts}
    reached = sum(size for layer, size in in_four_bits.items() if layer in linear)
    sizes = Counter({"other linear layers": sum(in_four_bits.values()) - reached} if in_four_bits else {})
    for name, weight in model.named_parameters():
        if id(weight) in adapted:
            reached += weight.numel()
            continue
        holder = model.get_submodule(name.rpartition(".")[0])
        kind = "output head" if holder is head else _kind(name, weight, holder)
        sizes[kind] += weight.numel()
    return Coverage(len(linear), len(experts), reached, {kind: n for kind, n in sizes.most_common() if n})


def worded(
    whole: Coverage,
    by_targets: Mapping[tuple[str, ...] | None, Coverage],
    without_gradient: Sequence[str] | None = None,
) -> str:
    """Describe what the lanes adapt, what they all leave out, and what received no gradient.

    Args:
        whole: of the adapters of all lanes together.
        by_targets: of the lanes by their targets, None for those of the race.
        without_gradient: layers whose adapters received no gradient in the first step; None before it.
    """
    alike = all(coverage == whole for coverage in by_targets.values())
    every = f"every lane adapts {whole.extent}, {whole.share} of the weights"
    parts = [every if alike else _by_targets(by_targets)]
    if whole.left_out:
        parts.append(f"left out{'' if alike else ' by all'}: {whole.shares_left_out}")
    if without_gradient:
        parts.append(no_gradient(without_gradient))
    return "; ".join(parts)


def no_gradient(layers: Sequence[str]) -> str:
    """Name the layers whose adapters received no gradient in the first step."""
    return f"no gradient in the first step: {listed(layers, MOST_NAMED)}"


def _by_targets(by_targets: Mapping[tuple[str, ...] | None, Coverage]) -> str:
    """Describe what the lanes adapt, for each set of targets; the race's own come last."""
    own = [targets for targets in by_targets if targets is not None]
    others = [coverage for targets, coverage in by_targets.items() if targets not in own[:MOST_NAMED]]
    first = by_targets[own[0]]
    parts = [f"lanes on {listed(own[0], MOST_NAMED)} adapt {first.extent} ({first.share} of the weights)"]
    parts += [
        f"those on {listed(targets, MOST_NAMED)} {_brief([by_targets[targets]])}" for targets in own[1:MOST_NAMED]
    ]
    if others:
        parts.append(f"the others {_brief(others)}")
    return ", ".join(parts)


def _brief(coverages: Sequence[Coverage]) -> str:
    """Describe the number of layers and their share of the weights, as ranges."""
    ordered = sorted(coverages, key=lambda coverage: coverage.adapted)
    ends = [f"{coverage.extent} ({coverage.share})" for coverage in (ordered[0], ordered[-1])]
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
