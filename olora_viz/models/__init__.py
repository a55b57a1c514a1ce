"""Named small language models, offline first; loaded as (model, tokenizer)."""

from olora_viz.models.catalogue import MODELS, ModelCard
from olora_viz.models.loading import load_model

__all__ = ["MODELS", "ModelCard", "load_model"]
