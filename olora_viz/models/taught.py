"""A model that is made here: glassllm after some steps on one task, so that it is sometimes right."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from olora_viz.machine.files import cache_folder, reason, write_tensors
from olora_viz.tasks import load_task
from olora_viz.tasks.batches import batch_indices, collate_examples
from olora_viz.tasks.encoding import encode
from olora_viz.tasks.losses import lane_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TAUGHT = {"glassllm-sentiment": "sentiment"}
"""The models, and the tasks whose right answers all weights of glassllm have learned from."""

STEPS, BATCH, RATE = 40, 16, 1e-4
"""Of AdamW: so few that the right answer is likelier than others, and drawn in about half of all tries."""

VERSION = 1
"""Part of the file's name: a new way of teaching ignores old files."""

_one_at_a_time = threading.Lock()


def teach(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Give glassllm the weights of a model in `TAUGHT`.

    They are computed once and kept in the cache folder: a second computation, on another machine or with other
    threads, has other roundings.

    Raises:
        ValueError: the cache folder cannot be written to.
    """
    file = cache_folder() / f"{name}-{VERSION}.safetensors"
    with _one_at_a_time:
        if (weights := _read(file)) is None:
            weights = _learned(model, tokenizer, TAUGHT[name])
            try:
                write_tensors(file, weights)
            except OSError as error:
                raise ValueError(
                    f"cannot write the weights of {name!r} into {str(file)!r}: {reason(error)}"
                ) from error
    model.load_state_dict(weights, strict=False)  # which has tied weights twice
    model.config._name_or_path = model.name_or_path = name


def _read(file: Path) -> dict[str, Tensor] | None:
    """Return the weights in a file; None if there are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError):
        return None


def _learned(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: str) -> dict[str, Tensor]:
    """Return the weights after some steps on a task's training examples."""
    rows = encode(load_task(task).train, tokenizer, context=model.config.max_position_embeddings).kept
    weights = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=0.0)
    with torch.enable_grad():
        for step in range(STEPS):
            batch = collate_examples([rows[i] for i in batch_indices(len(rows), BATCH, 0, step)], 0)
            optimizer.zero_grad()
            lane_losses(model.requires_grad_(True), batch, 1).sum().backward()
            optimizer.step()
    model.requires_grad_(False)
    return {key: weight.detach().clone() for key, weight in weights.items()}
