"""Named small language models, offline first: a name becomes (model, tokenizer)."""

from .catalogue import MODELS, ModelCard
from .device import resolve_device, resolve_dtype
from .loading import load_model
from .memory import check_memory

__all__ = ["MODELS", "ModelCard", "check_memory", "load_model", "resolve_device", "resolve_dtype"]
