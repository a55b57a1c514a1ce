"""An adapter merged into a model's folder, layer by layer: for models that do not fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from olora_viz.initializers import Start
from olora_viz.lanes.layers import named_layers
from olora_viz.lanes.stored_adapter import (
    CONFIG,
    INNER,
    KEY_PREFIX,
    WEIGHTS,
    AdaptedLayer,
    StoredAdapter,
    read_adapter,
)
from olora_viz.lanes.stored_weights import StoredWeight, add_, check_apart, check_room, model_settings, stored_weights
from olora_viz.machine.files import WRITTEN, resumed
from olora_viz.machine.process import Progress
from olora_viz.machine.workers import Workers, pool_of
from olora_viz.models.folder import skeleton
from olora_viz.models.shards import (
    MERGE,
    STORED_DTYPES,
    Change,
    Report,
    Shard,
    StoredTensor,
    bytes_of,
    copy_settings,
    read_shard,
    read_shards,
    rewrite,
)


@torch.no_grad()
def merge_folder(
    adapter: Path,
    model: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
) -> int:
    """Write a model's files with W + ΔW, in their dtype, reading them layer by layer.

    Biases, embeddings and modules that were trained in full take the place of the model's. There has to be memory for
    one layer, or one per worker, and the adapter. If it is killed, or an exception of `progress` ends it, the same
    call goes on with the layers that are not yet whole.

    Args:
        adapter: a LoRA or DoRA adapter of PEFT's.
        model: its base model, a Hugging Face folder with safetensors.
        out: a new folder; it appears when all is written.
        workers: number of processes, each of which computes one layer at a time on one core.
        ray: address of a running Ray cluster, ``HOST:PORT`` or ``auto``, whose machines see the same folders.

    Returns:
        The number of changed layers.

    Raises:
        ValueError: not such an adapter or model, an adapter of another folder's model, layers that the files do not
            hold as they are in the model, weights that are not finite, a folder that is not empty, or no such cluster.
        OSError: a file cannot be read or written.
    """
    stored = read_adapter(adapter)
    base = skeleton(model)
    named = Path(stored.base)
    if stored.base and (named / "config.json").is_file() and named.resolve() != model.resolve():
        raise ValueError(
            f"{str(adapter)!r} was made for {stored.base!r}, not for {str(model)!r}: leave --model out, or change "
            f"base_model_name_or_path in its {CONFIG} if both hold the same weights"
        )
    adapted = stored.on(base)
    check_apart(model, adapter, out)
    shards = read_shards(model.absolute())
    layers = {name: layer for name, layer in named_layers(base).items() if name in adapted}
    weights = stored_weights(base, layers, shards, model, workers)
    replaced = _replaced(stored, base, shards)
    status = (adapter / WEIGHTS).stat()
    settings = {
        **model_settings(model, shards),
        "adapter": str(adapter.resolve()),
        "factors": [status.st_size, status.st_mtime_ns],
    }
    pool = pool_of(workers, ray, lambda count: Workers(count, __name__))
    with pool or nullcontext(), resumed(settings, MERGE, out) as places:
        if places is not None:
            folder = places[0].absolute()
            check_room(folder, shards)
            changes = replaced | {
                weight.stored.name: partial(_merge, weight, {name: adapted[name] for name in weight.layers})
                for weight in weights
            }
            rewrite(shards, folder, changes, folder / WRITTEN, pool=pool, progress=progress)
            copy_settings(model, folder, shards)
    return len(adapted)


def _merge(weight: StoredWeight, adapted: Mapping[str, AdaptedLayer], report: Report) -> Generator[memoryview]:
    """Add ΔW to the layers of a stored tensor, and yield its bytes."""
    for name, stored, W in weight.read(report):
        layer = replace(adapted[name], W=W)
        now, start = layer.now, layer.start
        both = Start(A=torch.cat([now.A, start.A]), B=torch.cat([now.B, -start.B], 1))
        add_(W, both, 1.0, layer.magnitude)
        yield bytes_of(stored)


def _replaced(adapter: StoredAdapter, model: nn.Module, shards: Sequence[Shard]) -> dict[str, Change]:
    """Return what takes the place of tensors of the files: all of an adapter that is no low-rank update.

    Raises:
        ValueError: a tensor that has no place in the files.
    """
    trained = {tensor.name: tensor for tensor in read_shard((adapter.folder / WEIGHTS).absolute()).tensors}
    stored = {tensor.name: tensor for shard in shards for tensor in shard.tensors}
    parameters = list(model.named_parameters(remove_duplicate=False))
    changes: dict[str, Change] = {}
    for key in adapter.others:
        name = key.removeprefix(KEY_PREFIX).replace(f"{INNER}.", ".")
        own = next((own for own in (name, name.removeprefix(f"{model.base_model_prefix}.")) if own in stored), None)
        tied = [other for other, tensor in parameters if tensor is dict(parameters).get(name) and other != name]
        if tied:
            why = f"which the model ties to {tied[0]!r}"
        elif own is None or not trained[key].kind.endswith(tuple(STORED_DTYPES)):
            why = "which has no place in the model's files"
        elif trained[key].shape != stored[own].shape:
            why = f"which is {trained[key].shape}, but {stored[own].shape} in the model's files"
        else:
            changes[own] = partial(_replace, trained[key], stored[own].kind)
            continue
        raise ValueError(
            f"{str(adapter.folder)!r} holds {key!r}, {why}: merge this adapter in memory, by merge_and_unload of PEFT"
        )
    return changes


def _replace(trained: StoredTensor, kind: str, report: Report) -> Generator[memoryview]:
    """Yield the bytes of a tensor in another dtype."""
    yield bytes_of(trained.read(report).to(STORED_DTYPES[kind]))
