"""An adapter merged into a model's folder, layer by layer: for models that do not fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from olora_viz.initializers import Start
from olora_viz.lanes.stored_adapter import CONFIG, WEIGHTS, AdaptedLayer, read_adapter, unsupported
from olora_viz.lanes.stored_weights import StoredWeight, add_, check_apart, check_room, model_settings, stored_weights
from olora_viz.machine.files import resumed
from olora_viz.machine.process import Progress
from olora_viz.models.folder import skeleton
from olora_viz.models.shards import MERGE, Report, bytes_of, copy_settings, read_shards, rewrite


@torch.no_grad()
def merge_folder(adapter: Path, model: Path, out: Path, progress: Progress | None = None) -> int:
    """Write a model's files with W + ΔW, in their dtype, reading them layer by layer.

    There has to be memory for one layer and the adapter. If it is killed, or an exception of `progress` ends it, the
    same call goes on behind the last whole layer.

    Args:
        adapter: a LoRA adapter of PEFT's, see `read_peft`.
        model: its base model, a Hugging Face folder with safetensors.
        out: a new folder; it appears when all is written.

    Returns:
        The number of changed layers.

    Raises:
        ValueError: not such an adapter or model, an adapter of another folder's model, layers that the files do not
            hold as they are in the model, weights that are not finite, or a folder that is not empty.
        OSError: a file cannot be read or written.
    """
    stored = read_adapter(adapter)
    if stored.config.get("use_dora"):
        raise ValueError(unsupported(adapter, "DORA"))
    if stored.others:
        raise ValueError(f"{str(adapter)!r} holds {stored.others[0]!r}, which is not part of a LoRA adapter")
    base = skeleton(model)
    named = Path(stored.base)
    if stored.base and (named / "config.json").is_file() and named.resolve() != model.resolve():
        raise ValueError(
            f"{str(adapter)!r} was made for {stored.base!r}, not for {str(model)!r}: leave --model out, or change "
            f"base_model_name_or_path in its {CONFIG} if both hold the same weights"
        )
    adapted = stored.on(base)
    check_apart(model, adapter, out)
    shards = read_shards(model)
    weights = stored_weights(base, {name: layer.layer for name, layer in adapted.items()}, shards, model)
    status = (adapter / WEIGHTS).stat()
    settings = {
        **model_settings(model, shards),
        "adapter": str(adapter.resolve()),
        "factors": [status.st_size, status.st_mtime_ns],
    }
    with resumed(settings, MERGE, out) as places:
        if places is not None:
            check_room(places[0], shards)
            changes = {weight.stored.name: partial(_merge, weight, adapted) for weight in weights}
            rewrite(shards, places[0], changes, progress=progress)
            copy_settings(model, places[0])
    return len(adapted)


def _merge(weight: StoredWeight, adapted: Mapping[str, AdaptedLayer], report: Report) -> Generator[memoryview]:
    """Add ΔW to the layers of a stored tensor, and yield its bytes."""
    for name, stored, W in weight.read(report):
        layer = replace(adapted[name], W=W)
        now, start = layer.now, layer.start
        add_(W, Start(A=torch.cat([now.A, start.A]), B=torch.cat([now.B, -start.B], 1)), 1.0)
        yield bytes_of(stored)
