"""The choice of a lane and a layer for a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.theme import LaneStyle


@dataclass(frozen=True)
class Choices:
    """The lanes and layers to choose from, and the current choice."""

    labels: tuple[str, ...]
    """Labels of the lanes, in order."""
    lane: int
    """Index of the chosen lane."""
    layers: tuple[tuple[str, str], ...]
    """The displayed text and the name of every layer."""
    layer: str
    """Name of the chosen layer."""

    @property
    def label(self) -> str:
        """Of the chosen lane."""
        return self.labels[self.lane]


def chosen_among(
    styles: Sequence[LaneStyle], layers: Sequence[str], lane: object, layer: object, default: str
) -> Choices:
    """Return the choice; a lane that this race lacks is replaced by its first OLoRA lane.

    Parameters
    ----------
    lane, layer : a label and a name, or anything else.
    default : the layer to use if this race lacks `layer`.
    """
    labels = tuple(style.label for style in styles)
    first = next((k for k, style in enumerate(styles) if style.init == "olora"), 0)
    return Choices(
        labels=labels,
        lane=labels.index(lane) if isinstance(lane, str) and lane in labels else first,
        layers=tuple((layer_words(name), name) for name in layers),
        layer=layer if isinstance(layer, str) and layer in layers else default,
    )


def layer_words(name: str) -> str:
    """Format a layer's name for display.

    >>> layer_words("model.layers.3.mlp.down_proj")
    '3 · down_proj'
    """
    return " · ".join(part for part in block_and_module(name) if part)
