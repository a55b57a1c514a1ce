"""A model as a list to choose from shows it."""

from __future__ import annotations

from olora_viz.models import MODELS


def model_words(name: str) -> str:
    """Return a model's name, its parameters in millions, and whether it comes from the hub.

    >>> model_words("glassllm"), model_words("gpt2")
    ('glassllm · 0.85M', 'gpt2 · 124M · from the hub')
    """
    card = MODELS[name]
    millions = card.parameters / 1e6
    size = f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    return f"{name} · {size}{'' if card.offline else ' · from the hub'}"
