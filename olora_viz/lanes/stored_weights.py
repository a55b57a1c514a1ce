"""The weights of layers in a model's folder, read one by one: no model is built."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from olora_viz import models
from olora_viz.initializers import Start, precise
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.layers import adaptable_layers, is_transposed, target_name
from olora_viz.machine.files import check_free_disk, reason
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress
from olora_viz.models.folder import skeleton
from olora_viz.models.loading import folder_of
from olora_viz.models.shards import STORED_DTYPES, FourBitTensor, Report, Shard, StoredTensor, read_shards

WEIGHTS_AT_ONCE = 2**20
"""The number of weights that are changed at once, so few that they stay in a cache."""


@dataclass(frozen=True)
class StoredWeight:
    """A stored tensor that is the weight of a layer, or of the same layer in all experts."""

    stored: StoredTensor
    parameter: str
    """Its name in the model."""
    layers: tuple[str, ...]
    """The names of the layers."""
    transposed: bool
    """Whether it is stored as (in, out)."""

    @property
    def is_stacked(self) -> bool:
        """Whether it holds experts' matrices."""
        return len(self.stored.shape) == 3

    @property
    def is_four_bit(self) -> bool:
        """Whether it is quantized to four bits."""
        return isinstance(self.stored, FourBitTensor)

    @property
    def parts(self) -> list[tuple[str, StoredTensor]]:
        """The name and the weight of each layer."""
        if not self.is_stacked:
            return [(name, self.stored) for name in self.layers]
        return [(name, self.stored[int(name.rpartition(".")[2])]) for name in self.layers]  # by the expert's number

    def read(self, report: Report) -> Generator[tuple[str, Tensor, Tensor]]:
        """Read layer by layer: its name, its weight as stored, and a view of that as (out, in).

        Raises:
            ValueError: it holds NaN or infinity.
        """
        for name, part in self.parts:
            stored = part.read(report)
            yield name, stored, self.oriented(name, stored)

    def oriented(self, name: str, stored: Tensor) -> Tensor:
        """Return the stored weight of a layer as (out, in), a view, and check that it is finite."""
        if not all(end.isfinite() for end in stored.aminmax()):  # 45 times faster than of all values
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")
        return stored.T if self.transposed else stored


class NotStoredError(ValueError):
    """A layer's weight is no tensor of the files: the model makes it of others when it is loaded."""


def stored_weights(
    model: nn.Module, layers: Mapping[str, nn.Module], shards: Sequence[Shard], folder: Path, at_once: int = 1
) -> list[StoredWeight]:
    """Find the stored weights of some layers, in the order of the files.

    Args:
        model: the folder's `skeleton`.
        at_once: how many weights are in memory at once.

    Raises:
        NotStoredError: a layer's weight is not stored under its name.
        ValueError: it has another shape or no known dtype; there is not the memory for the largest ones.
    """
    by_parameter: dict[str, dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        parameter = target_name(name, layer) if isinstance(layer, ExpertLinear) else f"{name}.weight"
        by_parameter.setdefault(parameter, {})[name] = layer
    prefix: Any = getattr(model, "base_model_prefix", "")
    names = {name.removeprefix(f"{prefix}."): name for name in by_parameter} | {name: name for name in by_parameter}
    weights = [
        StoredWeight(tensor, names[tensor.name], tuple(of_it := by_parameter[names[tensor.name]]), _transposed(of_it))
        for shard in shards
        for tensor in shard.tensors
        if tensor.name in names
    ]
    lacking = by_parameter.keys() - {weight.parameter for weight in weights}
    if lacking:
        raise NotStoredError(
            f"{str(folder)!r} has no tensor {min(lacking)!r}: where a model makes it of others when it is loaded, "
            "these layers cannot be read from the files"
        )
    for weight in weights:
        stored, shape = weight.stored, tuple(model.get_parameter(weight.parameter).shape)
        if stored.shape != shape:
            raise ValueError(f"{stored.name!r} in {str(folder)!r} is {stored.shape}, but {shape} by its config")
        if stored.kind not in STORED_DTYPES:
            raise ValueError(
                f"{stored.name!r} is stored as {stored.kind}; adapters need one of {', '.join(STORED_DTYPES)}"
            )
    largest = max((part for weight in weights for _, part in weight.parts), key=lambda part: prod(part.shape))
    what = f"the layer {largest.name!r} {largest.shape}" + f" in each of {at_once} workers" * (at_once > 1)
    check_memory(at_once * 8 * prod(largest.shape), torch.device("cpu"), what)
    return weights


def _transposed(layers: Mapping[str, nn.Module]) -> bool:
    """Whether the layers of a weight store it as (in, out)."""
    layer = next(iter(layers.values()))
    return layer.experts.module.is_transposed if isinstance(layer, ExpertLinear) else is_transposed(layer)


Read = Callable[[str], Tensor]
"""Reads the weight of a layer by its name, (out, in)."""


def model_of(
    name: str,
    layers_of: Callable[[nn.Module], Mapping[str, nn.Module]] = adaptable_layers,
    progress: Progress | None = None,
) -> tuple[nn.Module, Read | None]:
    """Return a model some of whose layers are read one by one, if its folder stores each of them, or a loaded one.

    Args:
        name, progress: as of `load_model`.
        layers_of: the layers that are read, by name.

    Returns:
        The model: a skeleton with what reads its weights, as they are stored; or `load_model`'s and None.

    Raises:
        ValueError: from `folder_of`, `skeleton`, `layers_of` or `stored_weights`.
    """
    folder = folder_of(name, progress)
    if folder is not None:
        model = skeleton(folder)
        with suppress(NotStoredError):
            return model, _reader(stored_weights(model, layers_of(model), read_shards(folder), folder))
    return models.load_model(name, progress=progress)[0], None


def _reader(weights: Sequence[StoredWeight]) -> Read:
    parts = {name: (weight, part) for weight in weights for name, part in weight.parts}

    def read(name: str) -> Tensor:
        weight, part = parts[name]
        try:
            return weight.oriented(name, part.read())
        except OSError as error:  # without the path: a visitor may read it
            raise ValueError(f"the model's weight {name!r} cannot be read: {reason(error)}") from error

    return read


def check_apart(*folders: Path) -> None:
    """Check that no folder is, or lies in, another one."""
    places = [folder.resolve() for folder in folders]
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            if i != j and (one == other or one in other.parents):
                where = "named twice" if one == other else f"in {str(one)!r}"
                raise ValueError(f"what is read and written needs folders apart: {str(other)!r} is {where}")


def check_room(folder: Path, shards: Sequence[Shard]) -> None:
    """Check that the disk has room for what is not yet written of some files."""
    needed = sum(shard.tensors[-1].end for shard in shards if shard.tensors)
    status = [file.stat() for file in folder.iterdir()]
    taken = sum(min(of.st_size, 512 * getattr(of, "st_blocks", of.st_size)) for of in status)  # a file may have holes
    check_free_disk(folder, max(0, needed - taken), repr(str(folder)))


def model_settings(model: Path, shards: Sequence[Shard]) -> dict[str, Any]:
    """Return what tells a model's folder from others, and from what it was before."""
    status = [(shard.file.name, shard.file.stat()) for shard in shards]
    return {"model": str(model.resolve()), "weights": [[name, of.st_size, of.st_mtime_ns] for name, of in status]}


def add_(W: Tensor, factors: Start, scale: float, magnitude: Tensor | None = None) -> None:
    """Add scale · B A to W, computed in float32 or better.

    Args:
        magnitude: (out) the norms that the rows get then, as DoRA's; None leaves them.

    Raises:
        ValueError: a row that is zero cannot get a norm.
    """
    rows = max(1, WEIGHTS_AT_ONCE // W.shape[1])
    for at in range(0, W.shape[0], rows):
        some = slice(at, at + rows)
        block = precise(W[some]).add_(scale * (factors.B[some] @ factors.A))
        if magnitude is not None:
            norms = torch.linalg.vector_norm(block, dim=1)
            if not norms.all():
                raise ValueError(f"row {at + int((norms == 0).nonzero()[0])} of W + sBA is zero: DoRA cannot scale it")
            block.mul_((magnitude[some] / norms)[:, None])
        W[some] = block
