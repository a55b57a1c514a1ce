"""Starts of ours on a model's folder, layer by layer: for models that do not fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from olora_viz.initializers import INITIALIZERS, Start, precise
from olora_viz.initializers.start import NEEDS
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import target_layers, target_name
from olora_viz.lanes.peft import adapter_config
from olora_viz.lanes.plan import AdapterPlan, start_of
from olora_viz.lanes.stored_adapter import CONFIG, KEY_PREFIX, WEIGHTS, stacked, wrappers_of
from olora_viz.lanes.stored_weights import StoredWeight, add_, check_apart, check_room, model_settings, stored_weights
from olora_viz.lanes.targets import ALL, FAMILIES
from olora_viz.machine.files import WRITTEN, resumed, write_json
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import listed
from olora_viz.machine.workers import Workers, pool_of
from olora_viz.models.folder import skeleton
from olora_viz.models.shards import (
    START,
    Report,
    Shard,
    StoredTensor,
    bytes_of,
    copy_settings,
    new_shard,
    read_shards,
    rewrite,
    write_at,
)

MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""The types of models of which PEFT refuses ``out_proj``."""

BY_PEFT = ("olora", "pissa")
"""The starts whose s B⁰A⁰ PEFT subtracts from the base model itself, when it loads an adapter."""


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
    unused: tuple[str, ...]
    """The weights in the files that look like targets, but are no layers of the model."""

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

    @property
    def note(self) -> str:
        """A sentence on weights that get no adapter against expectation; empty for none."""
        if not self.unused:
            return ""
        return (
            "no adapter for weights in the files that are called like targets, but are no layers of the model by its "
            f"config: {listed(self.unused)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "init": self.lane.init,
            "r": self.lane.r,
            "alpha": self.lane.lora_alpha,
            "seed": self.lane.seed,
            "layers": self.layers,
            "base": str(self.base),
            "out": str(self.out),
            "residual": None if self.residual is None else str(self.residual),
            "keeps_function": self.keeps_function,
            "unused": list(self.unused),
        }


@torch.no_grad()
def start_folder(
    model: Path,
    lane: Lane,
    out: Path,
    residual: Path | None = None,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
) -> FolderStart:
    """Write an adapter of PEFT's that starts as a lane does, reading a model's weights layer by layer.

    A and B are bitwise those of `attach` and `start_peft` on one thread, whatever the number of workers. There has to
    be memory for one layer alone, or one per worker. If it is killed, or an exception of `progress` ends it, the same
    call goes on with the layers that are not yet whole.

    Args:
        model: a Hugging Face folder with safetensors.
        lane: its initialization, rank, alpha, seed and targets count.
        out: a new folder for the adapter; it appears when all is written.
        residual: a new folder for the model with W − s B⁰A⁰, in files as those of `model`.
            Both folders say in `START` how they were made.
        workers: number of processes, each of which computes one layer at a time on one core.
        ray: address of a running Ray cluster, ``HOST:PORT`` or ``auto``, whose machines see the same folders.

    Raises:
        ValueError: an initialization that needs data, or a residual of one that subtracts nothing; no model's folder,
            or one with other tensors than its model has; a rank above min(out, in) of a layer; weights that are not
            finite; a folder that is not empty, or holds the beginning of another start.
        OSError: a file cannot be written.
    """
    _check_init(lane.init, residual)
    if lane.rank_by:
        raise ValueError(f"rank_by={lane.rank_by} needs the model in memory, and its folder is read: leave it out")
    empty = skeleton(model)
    layers = target_layers(empty, lane.targets, _refused_by_peft(empty))
    plan = AdapterPlan(empty, layers, (), {lane.targets: layers}).with_lanes([lane])
    (lane,) = plan.lanes
    check_apart(model, out, *filter(None, [residual]))
    shards = read_shards(model.absolute())
    weights = stored_weights(empty, layers, shards, model, workers)
    by_peft = _by_peft(lane.init, weights, residual)
    settings = {
        **model_settings(model, shards),
        "init": lane.init,
        "r": lane.r,
        "alpha": lane.lora_alpha,
        "seed": lane.seed,
        "targets": lane.targets and list(lane.targets),
        "residual": residual and str(residual.resolve()),
    }
    pool = pool_of(workers, ray, lambda count: Workers(count, __name__))
    with pool or nullcontext(), resumed(settings, START, out, residual) as places:
        if places is not None:
            adapter, rest = places[0].absolute(), places[1] and places[1].absolute()
            factors = _factors(plan, weights, adapter / WEIGHTS)
            for folder, files in ((adapter, [factors]), (rest, shards)):
                if folder is not None:
                    check_room(folder, files)
            pairs = zip(factors.tensors[::2], factors.tensors[1::2], strict=True)
            changes = {
                weight.stored.name: partial(_start, weight, lane, A, rest is not None)
                for weight, (A, _) in zip(weights, pairs, strict=True)
            }
            rewrite(shards, rest, changes, adapter / WRITTEN, beside=factors, pool=pool, progress=progress)
            base = model if residual is None else residual
            write_json(adapter / CONFIG, _config(plan, weights, base.resolve(), by_peft))
            if rest is not None:
                copy_settings(model, rest, shards)
                write_json(rest / START, settings | {"adapter": str(out.resolve())})
    return FolderStart(lane, model, out, residual, len(layers), by_peft, _unused(empty, lane, layers, shards))


def _refused_by_peft(model: nn.Module) -> set[str]:
    """Name the layers to which PEFT gives no adapter: Mamba reads their weights itself."""
    if getattr(getattr(model, "config", None), "model_type", "") not in MAMBA:
        return set()
    return {name for name, _ in model.named_modules() if name.endswith(".out_proj")}


def _unused(model: nn.Module, lane: Lane, layers: Mapping[str, nn.Module], shards: Sequence[Shard]) -> tuple[str, ...]:
    """Name the matrices in the files that are called like targets, but are no parameters of the model."""
    prefix = f"{model.base_model_prefix}."
    known = {name.removeprefix(prefix) for name, _ in model.named_parameters(remove_duplicate=False)}
    targets = set(lane.targets or (ALL,))
    if targets & FAMILIES.keys():
        targets |= {target_name(*item).rpartition(".")[2] for item in layers.items()}
    return tuple(
        tensor.name
        for shard in shards
        for tensor in shard.tensors
        if len(tensor.shape) > 1
        and tensor.name.removeprefix(prefix) not in known
        and any(fnmatchcase(f".{tensor.name.removesuffix('.weight')}", f"*.{target}") for target in targets)
    )


def _subtracts(init: str) -> bool:
    """Whether s B⁰A⁰ is subtracted from W."""
    return INITIALIZERS[init].keeps_function and not INITIALIZERS[init].zero_product


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


def _factors(plan: AdapterPlan, weights: list[StoredWeight], file: Path) -> Shard:
    """Lay out the file of the adapter: A and B of each weight, in this order."""
    wrappers = wrappers_of(_experts(plan))
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for weight in weights:
        name, count = weight.layers[0], len(weight.layers)
        (out, into), rank = plan.shapes[name], count * plan.lanes[0].r
        key = KEY_PREFIX + wrappers.get(weight.parameter, name)
        kind = "F64" if weight.stored.kind == "F64" else "F32"
        shapes |= {f"{key}.lora_A.weight": (kind, (rank, into)), f"{key}.lora_B.weight": (kind, (out, rank))}
    return new_shard(file, shapes)


def _by_peft(init: str, weights: list[StoredWeight], residual: Path | None) -> str | bool:
    """Return PEFT's ``init_lora_weights``: what PEFT does to the base model and to B when it loads the adapter."""
    if residual is not None or any(weight.is_stacked or weight.is_four_bit for weight in weights):
        return True  # of four bits nothing can be subtracted
    if init == "olora" and any(weight.transposed for weight in weights):
        return True  # PEFT misreads Conv1D, see `write_peft`
    return init if init in (*BY_PEFT, "mica") else True


def _config(plan: AdapterPlan, weights: list[StoredWeight], base: Path, by_peft: str | bool) -> dict[str, Any]:
    """Return the adapter's set-up in PEFT's format."""
    (lane,) = plan.lanes
    linear = [name for weight in weights if not weight.is_stacked for name in weight.layers]
    transposed = any(weight.transposed for weight in weights if not weight.is_stacked)
    settings = {"init": by_peft, "rslora": lane.rslora, "transposed": transposed}
    config = adapter_config(str(base), lane.r, lane.lora_alpha, linear, **settings)
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
    write_at(A.file, A.begin, [bytes_of(pair.A), bytes_of(pair.B)])
