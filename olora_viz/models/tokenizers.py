"""The tokenizers of models that are on this machine, without their weights or a network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from .catalogue import MODELS
from .folder import load_tokenizer
from .glassllm import LANGUAGES
from .glassllm import load_tokenizer as load_glassllm_tokenizer
from .hub import snapshot
from .smollm2 import converted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
