"""Starts of ours on a model's folder, layer by layer: for models that do not fit into memory."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass
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
from olora_viz.machine.files import (
    LOCK,
    check_free_disk,
    folder_size,
    is_free,
    lock_folder,
    partial_folder,
    put_in_place,
    read_json_object,
    write_json,
)
from olora_viz.machine.memory import check_memory
from olora_viz.machine.process import Progress
from olora_viz.machine.text import rough
from olora_viz.models.folder import skeleton
from olora_viz.models.shards import (
    DTYPES,
    Report,
    Shard,
    StoredTensor,
    bytes_of,
    is_written,
    new_shard,
    read_shards,
    write_from,
)

STATE = "start.json"
"""The file in an adapter's folder that says how it was started."""

BY_PEFT = ("olora", "pissa")
"""The starts whose s B⁰A⁰ PEFT subtracts from the base model itself, when it loads an adapter."""

SETTINGS = (".json", ".jinja", ".model", ".txt")
"""The endings of the files beside the weights, which a residual model needs as well."""

ROWS = 2**24
"""The number of weights from which s B⁰A⁰ is subtracted at once."""


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
class _Weight:
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
    plan = _plan(model, lane)
    _check_apart(model, out, residual)
    shards = read_shards(model)
    adapter, rest = _partial(out), residual and _partial(residual)
    began = _settings(model, lane, residual, shards)
    before = _begun(adapter, out)
    if before is not None and before | {WRITTEN: False} != began:
        raise ValueError(_other_start(adapter, before, began))
    is_whole = before is not None and before[WRITTEN]
    _check_free("--out", out, adapter)
    if residual is not None and rest is not None and not is_whole:
        _check_free("--residual", residual, rest)
    weights = _weights(plan, shards, model)
    factors = _factors(plan, weights, adapter / WEIGHTS)
    _check_room(out, factors, adapter)
    if residual is not None and rest is not None:
        _check_room(residual, shards, rest)
    by_peft = _by_peft(lane.init, weights, residual)
    if before is None:
        shutil.rmtree(adapter, ignore_errors=True)
    adapter.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_folder(adapter)
    except BlockingIOError:
        raise ValueError(f"another process writes {str(out)!r} at the moment") from None
    try:
        if before is None and rest is not None:
            shutil.rmtree(rest, ignore_errors=True)
        if not is_whole:
            write_json(adapter / STATE, began)
            _write(shards, weights, factors, lane, rest, progress)
            base = model if residual is None else residual
            write_json(adapter / CONFIG, _config(plan, weights, base.resolve(), by_peft))
            if rest is not None:
                _copy_settings(model, rest)
            write_json(adapter / STATE, began | {WRITTEN: True})
        (adapter / LOCK).unlink(missing_ok=True)
        if residual is not None and rest is not None and rest.is_dir():
            put_in_place(rest, residual)
        put_in_place(adapter, out)
    except ValueError:  # which no repetition mends
        for folder in filter(None, (adapter, rest)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    return FolderStart(lane, model, out, residual, len(plan.layers), by_peft)


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


def _check_apart(model: Path, out: Path, residual: Path | None) -> None:
    """Check that no folder is, or lies in, another one."""
    folders = [folder.resolve() for folder in (model, out, residual) if folder is not None]
    for one in folders:
        for other in folders:
            if one is not other and (one == other or one in other.parents):
                raise ValueError(
                    f"model, adapter and residual need folders of their own: {str(other)!r} is in {str(one)!r}"
                )


def _check_free(what: str, folder: Path, partial: Path) -> None:
    """Check that a folder can be written."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{what} {str(folder)!r} is a file, not a folder")
    if not is_free(folder) and partial.parent != folder:
        raise ValueError(f"{what} {str(folder)!r} must be new or empty")


def _partial(folder: Path) -> Path:
    """Return where a folder is written: also one whose files were being put in place when the writer was killed."""
    inside = folder / ".partial"
    return inside if inside.is_dir() else partial_folder(folder)


def _plan(folder: Path, lane: Lane) -> AdapterPlan:
    """Resolve the lane's layers in a model without weights, and check its rank and the memory for the largest."""
    model = skeleton(folder)
    layers = target_layers(model, lane.targets)
    plan = AdapterPlan(model, layers, (), {lane.targets: layers}).with_lanes([lane])
    largest = max(plan.weights.values(), key=Tensor.numel)
    check_memory(8 * largest.numel(), torch.device("cpu"), f"a layer of {str(folder)!r} {tuple(largest.shape)}")
    return plan


WRITTEN = "written"
"""The key of `STATE` that says whether all files are whole."""


def _settings(model: Path, lane: Lane, residual: Path | None, shards: list[Shard]) -> dict[str, Any]:
    """Return all that the result depends on, as plain values."""
    status = [(shard.file.name, shard.file.stat()) for shard in shards]
    return {
        "model": str(model.resolve()),
        "init": lane.init,
        "r": lane.r,
        "alpha": _alpha(lane),
        "seed": lane.seed,
        "target": None if lane.targets is None else list(lane.targets),
        "residual": None if residual is None else str(residual.resolve()),
        "weights": [[name, of.st_size, of.st_mtime_ns] for name, of in status],
        WRITTEN: False,
    }


def _begun(partial: Path, folder: Path) -> dict[str, Any] | None:
    """Read the settings of a start that was interrupted."""
    places = [partial / STATE, *([folder / STATE] if partial.parent == folder and partial.is_dir() else [])]
    return next((read_json_object(place) for place in places if place.is_file()), None)


def _other_start(partial: Path, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in what an interrupted start differs from this one."""
    key = next((key for key in now if key != WRITTEN and before.get(key) != now[key]), "weights")
    if key == "weights":
        differs = f"of other weights: those of {now['model']!r} have changed since"
    else:
        differs = f"with --{key} {before.get(key)!r}, not {now[key]!r}: repeat that one"
    return f"{str(partial)!r} holds the beginning of a start {differs}, or delete that folder"


def _weights(plan: AdapterPlan, shards: list[Shard], folder: Path) -> list[_Weight]:
    """Find the stored weights of the plan's layers, in the order of the files.

    Raises:
        ValueError: a layer's weight is not stored under its name, or has another shape or no known dtype.
    """
    layers: dict[str, dict[str, nn.Module]] = {}
    for name, layer in plan.layers.items():
        parameter = target_name(name, layer) if isinstance(layer, ExpertLinear) else f"{name}.weight"
        layers.setdefault(parameter, {})[name] = layer
    prefix: Any = getattr(plan.model, "base_model_prefix", "")
    names = {parameter.removeprefix(f"{prefix}."): parameter for parameter in layers} | {name: name for name in layers}
    weights = [
        _Weight(tensor, names[tensor.name], layers[names[tensor.name]])
        for shard in shards
        for tensor in shard.tensors
        if tensor.name in names
    ]
    lacking = [parameter for parameter in layers if parameter not in {weight.parameter for weight in weights}]
    if lacking:
        raise ValueError(
            f"{str(folder)!r} has no tensor {lacking[0]!r}: where a model makes it of others when it is loaded, its "
            "layers cannot be started from the files; choose others with --target"
        )
    for weight in weights:
        stored, shape = weight.stored, tuple(plan.model.get_parameter(weight.parameter).shape)
        if stored.shape != shape:
            raise ValueError(f"{stored.name!r} in {str(folder)!r} is {stored.shape}, but {shape} by its config")
        if stored.kind not in DTYPES:
            raise ValueError(f"{stored.name!r} is stored as {stored.kind}; a start needs one of {', '.join(DTYPES)}")
    return weights


def _factors(plan: AdapterPlan, weights: list[_Weight], file: Path) -> Shard:
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


def _check_room(folder: Path, shards: Shard | list[Shard], partial: Path) -> None:
    """Check that the disk has room for what is not yet written of some files."""
    shards = shards if isinstance(shards, list) else [shards]
    needed = sum(shard.tensors[-1].end for shard in shards if shard.tensors)
    check_free_disk(partial, max(0, needed - folder_size(partial)), repr(str(folder)))


def _by_peft(init: str, weights: list[_Weight], residual: Path | None) -> str | bool:
    """Return PEFT's ``init_lora_weights``: what PEFT does to the base model and to B when it loads the adapter."""
    if residual is not None or any(weight.is_stacked for weight in weights):
        return True
    if init == "olora" and any(weight.transposed for weight in weights):
        return True  # PEFT misreads Conv1D, see `write_peft`
    return init if init in (*BY_PEFT, "mica") else True


def _config(plan: AdapterPlan, weights: list[_Weight], base: Path, by_peft: str | bool) -> dict[str, Any]:
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


class _Pace:
    """Reports how much is read and written, how fast, and how long the rest takes."""

    def __init__(self, total: int, done: int, progress: Progress | None) -> None:
        self._total, self._done, self._before, self._progress = total, done, done, progress
        self._began = time.monotonic()

    def __call__(self, count: int) -> None:
        """Report that so many bytes more are done."""
        self._done += count
        if self._progress is None:
            return
        speed = (self._done - self._before) / max(time.monotonic() - self._began, 1e-3)
        left = rough((self._total - self._done) / speed)
        words = f"{self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB at {speed / 1e9:.2f} GB/s, {left} left"
        self._progress(self._done / self._total, words)


def _write(
    shards: list[Shard],
    weights: list[_Weight],
    adapter: Shard,
    lane: Lane,
    rest: Path | None,
    progress: Progress | None,
) -> None:
    """Write what is not yet written of the adapter and of the residual model, layer by layer."""
    pairs = zip(adapter.tensors[::2], adapter.tensors[1::2], strict=True)
    targeted = {weight.stored.name: (weight, A, B) for weight, (A, B) in zip(weights, pairs, strict=True)}
    todo: list[StoredTensor] = []
    total = done = 0
    if rest is not None:
        rest.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        file = rest and rest / shard.file.name
        if file and not is_written(file, len(shard.header)):
            write_from(file, 0, [shard.header])
        for tensor in shard.tensors:
            here = tensor.name in targeted
            if not (file or here):
                continue
            size = tensor.end - tensor.begin
            total += size
            of_adapter = not here or is_written(adapter.file, targeted[tensor.name][2].end)
            if of_adapter and (file is None or is_written(file, tensor.end)):
                done += size
            else:
                todo.append(tensor)
    if not is_written(adapter.file, len(adapter.header)):
        write_from(adapter.file, 0, [adapter.header])
    report = _Pace(total, done, progress)
    for tensor in todo:
        file = rest and rest / tensor.file.name
        if tensor.name not in targeted:
            assert file is not None
            write_from(file, tensor.begin, tensor.blocks(report))
            continue
        weight, A, _ = targeted[tensor.name]
        starts: dict[str, Start] = {}
        pieces = _start(weight, lane, starts, subtract=file is not None, report=report)
        if file is None:
            for _ in pieces:
                pass
        else:
            write_from(file, tensor.begin, pieces)
        (pair,) = stacked(starts).values() if weight.is_stacked else starts.values()
        write_from(A.file, A.begin, [bytes_of(pair.A), bytes_of(pair.B)])


def _start(
    weight: _Weight, lane: Lane, starts: dict[str, Start], *, subtract: bool, report: Report
) -> Generator[memoryview]:
    """Start the layers of a stored tensor, and yield what becomes of its bytes.

    Args:
        starts: gets the start of each layer.
        subtract: whether W becomes W − s B⁰A⁰.
    """
    for name, part in weight.parts:
        stored = part.read(report)
        W = stored.T if weight.transposed else stored
        if not W.isfinite().all():
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")
        start = starts[name] = start_of(name, precise(W), lane)
        if subtract:
            rows = max(1, ROWS // W.shape[1])
            for at in range(0, W.shape[0], rows):
                some = slice(at, at + rows)
                W[some] = precise(W[some]) - lane.scale * (start.B[some] @ start.A)
        yield bytes_of(stored)


def _copy_settings(model: Path, rest: Path) -> None:
    """Copy the files beside the weights: the model's config, its tokenizer, the index of its shards."""
    for file in model.iterdir():
        if file.is_file() and file.suffix in SETTINGS:
            shutil.copyfile(file, rest / file.name)
