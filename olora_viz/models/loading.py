"""From a name, or a local folder, to a frozen model and its tokenizer."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .catalogue import MODELS
from .device import resolve_device
from .glassllm import load_glassllm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[float, str], None]


def unknown_model(name: str) -> ValueError:
    """Say that there is no such model, which names are near, and that a folder works too."""
    near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5) or list(MODELS)
    return ValueError(
        f"unknown model {name!r}; nearest valid names: {', '.join(near)}; "
        "the path of a local Hugging Face folder works too"
    )


def load_model(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pretrained causal language model, frozen and ready to carry adapters.

    Parameters
    ----------
    name : a key of ``MODELS``, or the path of a local Hugging Face folder.
    device : where the weights go: "auto", "cpu", "cuda" or a torch device.
    dtype : precision of the frozen weights.
    progress : called with (fraction in [0, 1], what happens now) while something slow goes on.

    Returns
    -------
    (model, tokenizer)
        The model is in eval mode with no gradients wanted; the tokenizer is a fast one with a
        padding token.

    Raises
    ------
    ValueError
        An unknown name, or a model that cannot be had here; one sentence each.
    """
    place = resolve_device(device) if isinstance(device, str) else device
    if name in MODELS:
        model, tokenizer = load_glassllm()
    elif Path(name).is_dir():
        raise NotImplementedError
    else:
        raise unknown_model(name)
    model.to(device=place, dtype=dtype)
    model.eval().requires_grad_(False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return model, tokenizer
