"""Named small language models, offline first; loaded as (model, tokenizer)."""

from .catalogue import MODELS, ModelCard
from .loading import load_model

__all__ = ["MODELS", "ModelCard", "load_model"]
