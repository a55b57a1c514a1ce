"""Starts of ours on a model's folder, layer by layer: for models that do not fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Start, precise
from olora_viz.initializers.start import NEEDS
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, target_layers, target_name
from olora_viz.lanes.peft import adapter_config
from olora_viz.lanes.plan import AdapterPlan, start_of
from olora_viz.lanes.stored_adapter import CONFIG, PREFIX, WEIGHTS, stacked, wrappers_of
from olora_viz.machine.files import check_free_disk, folder_size, resumed, write_json
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress
from olora_viz.models.folder import skeleton
from olora_viz.models.shards import (
    DTYPES,
    Report,
    Shard,
    StoredTensor,
    begin,
    bytes_of,
    copy_settings,
    is_written,
    new_shard,
    read_shards,
    rewrite,
    write_from,
)

RECORD = "start.json"
"""The file in an adapter's folder that says how it was started."""

BY_PEFT = ("olora", "pissa")
"""The starts whose s B⁰A⁰ PEFT subtracts from the base model itself, when it loads an adapter."""

BLOCK = 2**20
"""The number of weights that are changed at once, so few that they stay in a cache."""


@dataclass(frozen=True)
class FolderStart:
    """An adapter at its start on a model's folder; written by `start_folder`."""

    lane: Lane
    base: Path
    """The model's folder."""
    out: Path
    """The adapter's folder."""
    residual: Path | None
    """The folder of the model with W − s B⁰A⁰."""
    layers: int
    """Number of layers with an adapter."""
    by_peft: str | bool
    """PEFT's ``init_lora_weights``."""

    @property
    def keeps_function(self) -> bool:
        """Whether PEFT's model of the adapter, on the model that it names as its base, computes what the base did."""
        if not _subtracts(self.lane.init):
            return INITIALIZERS[self.lane.init].keeps_function
        return self.residual is not None or self.by_peft in BY_PEFT

    @property
    def sentence(self) -> str:
        """What the adapter computes at step 0, and on which model."""
        base, init = repr(str(self.base)), self.lane.init
        if self.residual is not None:
            return (
                f"load the adapter on {str(self.residual)!r}, which holds W − s B⁰A⁰: with it the adapter computes at "
                f"step 0 what {base} computes, and on {base} itself it does not"
            )
        if not INITIALIZERS[init].keeps_function:
            return f"on {base} the adapter changes the model's function at step 0, which is what {init!r} is for"
        if not _subtracts(init):
            return f"B⁰A⁰ is zero: on {base} the adapter changes nothing at step 0"
        if self.by_peft in BY_PEFT:
            return (
                f"PEFT subtracts s B⁰A⁰ from {base} each time it loads the adapter, which changes nothing at step 0 "
                "then; --residual FOLDER subtracts it once"
            )
        return (
            f"on {base} the adapter changes the model's function at step 0, by s B⁰A⁰: to keep it, write W − s B⁰A⁰ "
            "with --residual FOLDER and load the adapter there"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "init": self.lane.init,
            "r": self.lane.r,
            "alpha": _alpha(self.lane),
            "seed": self.lane.seed,
            "layers": self.layers,
            "base": str(self.base),
            "out": str(self.out),
            "residual": None if self.residual is None else str(self.residual),
            "keeps_function": self.keeps_function,
        }


@dataclass(frozen=True)
class StoredWeight:
    """A stored tensor that is the weight of a layer, or of the same layer in all experts."""

    stored: StoredTensor
    parameter: str
    """Its name in the model."""
    layers: dict[str, nn.Module]

    @property
    def is_stacked(self) -> bool:
        """Whether it holds experts' matrices."""
        return len(self.stored.shape) == 3

    @property
    def transposed(self) -> bool:
        """Whether it is stored as (in, out)."""
        layer = next(iter(self.layers.values()))
        return layer.experts.module.is_transposed if isinstance(layer, ExpertLinear) else is_transposed(layer)

    @property
    def parts(self) -> list[tuple[str, StoredTensor]]:
        """The name and the weight of each layer."""
        return [(name, self.stored[i] if self.is_stacked else self.stored) for i, name in enumerate(self.layers)]

    def read(self, report: Report) -> Generator[tuple[str, Tensor, Tensor]]:
        """Read layer by layer: its name, its weight as stored, and a view of that as (out, in).

        Raises:
            ValueError: it holds NaN or infinity.
        """
        for name, part in self.parts:
            stored = part.read(report)
            if not all(end.isfinite() for end in stored.aminmax()):  # 45 times faster than of all values
                raise ValueError(f"the model's weight {name!r} holds NaN or infinity")
            yield name, stored, stored.T if self.transposed else stored


@torch.no_grad()
def start_folder(
    model: Path, lane: Lane, out: Path, residual: Path | None = None, progress: Progress | None = None
) -> FolderStart:
    """Write an adapter of PEFT's that starts as a lane does, reading a model's weights layer by layer.

    A and B are bitwise those of `attach` and `start_peft`. There has to be memory for one layer alone. If it is
    killed, or an exception of `progress` ends it, the same call goes on behind the last whole layer.

    Args:
        model: a Hugging Face folder with safetensors.
        lane: its initialization, rank, alpha, seed and targets count.
        out: a new folder for the adapter; it appears when all is written.
        residual: a new folder for the model with W − s B⁰A⁰, in files as those of `model`.

    Raises:
        ValueError: an initialization that needs data, or a residual of one that subtracts nothing; no model's folder,
            or one with other tensors than its model has; a rank above min(out, in) of a layer; weights that are not
            finite; a folder that is not empty, or holds the beginning of another start.
        OSError: a file cannot be written.
    """
    _check_init(lane.init, residual)
    empty = skeleton(model)
    layers = target_layers(empty, lane.targets)
    plan = AdapterPlan(empty, layers, (), {lane.targets: layers}).with_lanes([lane])
    check_apart(model, out, *filter(None, [residual]))
    shards = read_shards(model)
    weights = stored_weights(empty, layers, shards, model)
    by_peft = _by_peft(lane.init, weights, residual)
    settings = {
        **model_settings(model, shards),
        "init": lane.init,
        "r": lane.r,
        "alpha": _alpha(lane),
        "seed": lane.seed,
        "targets": lane.targets and list(lane.targets),
        "residual": residual and str(residual.resolve()),
    }
    with resumed(settings, RECORD, out, residual) as places:
        if places is not None:
            adapter, rest = places
            factors = _factors(plan, weights, adapter / WEIGHTS)
            for folder, files in ((adapter, [factors]), (rest, shards)):
                if folder is not None:
                    check_room(folder, files)
            begin(factors.file, factors)
            pairs = zip(factors.tensors[::2], factors.tensors[1::2], strict=True)
            ends = {weight.stored.name: (A, B) for weight, (A, B) in zip(weights, pairs, strict=True)}
            changes = {
                weight.stored.name: partial(_start, weight, lane, ends[weight.stored.name][0], rest is not None)
                for weight in weights
            }
            rewrite(shards, rest, changes, lambda name: is_written(factors.file, ends[name][1].end), progress)
            base = model if residual is None else residual
            write_json(adapter / CONFIG, _config(plan, weights, base.resolve(), by_peft))
            if rest is not None:
                copy_settings(model, rest)
    return FolderStart(lane, model, out, residual, len(layers), by_peft)


def _subtracts(init: str) -> bool:
    """Whether s B⁰A⁰ is subtracted from W."""
    return INITIALIZERS[init].keeps_function and not INITIALIZERS[init].zero_product


def _alpha(lane: Lane) -> float:
    return lane.r if lane.alpha is None else lane.alpha


def _check_init(init: str, residual: Path | None) -> None:
    """Check that an initialization starts from each W alone, and has a residual if there is a folder for it."""
    entry = INITIALIZERS[init]
    if entry.needs:
        raise ValueError(
            f"{init!r} needs {NEEDS[entry.needs]} over some data, for which the whole model has to run: start it in "
            "a race"
        )
    if entry.dense:
        raise ValueError(f"{init!r} has no A and B that PEFT could train")
    if residual is not None and not _subtracts(init):
        raise ValueError(f"{init!r} subtracts nothing from W, so there is no residual: leave --residual out")


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
    check_free_disk(folder, max(0, needed - folder_size(folder)), repr(str(folder)))


def model_settings(model: Path, shards: Sequence[Shard]) -> dict[str, Any]:
    """Return what tells a model's folder from others, and from what it was before."""
    status = [(shard.file.name, shard.file.stat()) for shard in shards]
    return {"model": str(model.resolve()), "weights": [[name, of.st_size, of.st_mtime_ns] for name, of in status]}


def stored_weights(
    model: nn.Module, layers: Mapping[str, nn.Module], shards: Sequence[Shard], folder: Path
) -> list[StoredWeight]:
    """Find the stored weights of some layers, in the order of the files.

    Args:
        model: the folder's `skeleton`.

    Raises:
        ValueError: a layer's weight is not stored under its name, or has another shape or no known dtype; there is not
            the memory for the largest one.
    """
    by_parameter: dict[str, dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        parameter = target_name(name, layer) if isinstance(layer, ExpertLinear) else f"{name}.weight"
        by_parameter.setdefault(parameter, {})[name] = layer
    prefix: Any = getattr(model, "base_model_prefix", "")
    names = {name.removeprefix(f"{prefix}."): name for name in by_parameter} | {name: name for name in by_parameter}
    weights = [
        StoredWeight(tensor, names[tensor.name], by_parameter[names[tensor.name]])
        for shard in shards
        for tensor in shard.tensors
        if tensor.name in names
    ]
    lacking = by_parameter.keys() - {weight.parameter for weight in weights}
    if lacking:
        raise ValueError(
            f"{str(folder)!r} has no tensor {min(lacking)!r}: where a model makes it of others when it is loaded, "
            "these layers cannot be read from the files"
        )
    for weight in weights:
        stored, shape = weight.stored, tuple(model.get_parameter(weight.parameter).shape)
        if stored.shape != shape:
            raise ValueError(f"{stored.name!r} in {str(folder)!r} is {stored.shape}, but {shape} by its config")
        if stored.kind not in DTYPES:
            raise ValueError(f"{stored.name!r} is stored as {stored.kind}; adapters need one of {', '.join(DTYPES)}")
    largest = max((part for weight in weights for _, part in weight.parts), key=lambda part: prod(part.shape))
    check_memory(8 * prod(largest.shape), torch.device("cpu"), f"the layer {largest.name!r} {largest.shape}")
    return weights


def _factors(plan: AdapterPlan, weights: list[StoredWeight], file: Path) -> Shard:
    """Lay out the file of the adapter: A and B of each weight, in this order."""
    wrappers = wrappers_of(_experts(plan))
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for weight in weights:
        name, count = next(iter(weight.layers)), len(weight.layers)
        (out, into), rank = plan.shapes[name], count * plan.lanes[0].r
        key = PREFIX + wrappers.get(weight.parameter, name)
        kind = "F64" if weight.stored.kind == "F64" else "F32"
        shapes |= {f"{key}.lora_A.weight": (kind, (rank, into)), f"{key}.lora_B.weight": (kind, (out, rank))}
    return new_shard(file, shapes)


def _by_peft(init: str, weights: list[StoredWeight], residual: Path | None) -> str | bool:
    """Return PEFT's ``init_lora_weights``: what PEFT does to the base model and to B when it loads the adapter."""
    if residual is not None or any(weight.is_stacked for weight in weights):
        return True
    if init == "olora" and any(weight.transposed for weight in weights):
        return True  # PEFT misreads Conv1D, see `write_peft`
    return init if init in (*BY_PEFT, "mica") else True


def _config(plan: AdapterPlan, weights: list[StoredWeight], base: Path, by_peft: str | bool) -> dict[str, Any]:
    """Return the adapter's set-up in PEFT's format."""
    (lane,) = plan.lanes
    linear = [name for weight in weights if not weight.is_stacked for name in weight.layers]
    transposed = any(weight.transposed for weight in weights if not weight.is_stacked)
    settings = {"init": by_peft, "rslora": lane.rslora, "transposed": transposed}
    config = adapter_config(str(base), lane.r, _alpha(lane), linear, **settings)
    return config | ({"target_parameters": experts} if (experts := _experts(plan)) else {})


def _experts(plan: AdapterPlan) -> list[str]:
    """Name the parameters of experts in the model's order, by which PEFT nests its wrappers."""
    layers = plan.layers.items()
    return list(dict.fromkeys(target_name(*item) for item in layers if isinstance(item[1], ExpertLinear)))


def _start(
    weight: StoredWeight, lane: Lane, A: StoredTensor, subtracts: bool, report: Report
) -> Generator[memoryview]:
    """Start the layers of a stored tensor, and yield what becomes of its bytes.

    Args:
        A: where A is written; B follows.
        subtracts: whether W becomes W − s B⁰A⁰.
    """
    starts: dict[str, Start] = {}
    for name, stored, W in weight.read(report):
        start = starts[name] = start_of(name, precise(W), lane)
        if subtracts:
            add_(W, start, -lane.scale)
        yield bytes_of(stored)
    (pair,) = stacked(starts).values() if weight.is_stacked else starts.values()
    write_from(A.file, A.begin, [bytes_of(pair.A), bytes_of(pair.B)])


def add_(W: Tensor, factors: Start, scale: float) -> None:
    """Add scale · B A to W, computed in float32 or better."""
    rows = max(1, BLOCK // W.shape[1])
    for at in range(0, W.shape[0], rows):
        some = slice(at, at + rows)
        W[some] = precise(W[some]).add_(scale * (factors.B[some] @ factors.A))
