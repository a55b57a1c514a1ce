"""Which lane and which layer a view shows, among those that a race has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.figures.spectrum import block_and_module
from olora_viz.figures.theme import LaneStyle


@dataclass(frozen=True)
class Choices:
    """What can be chosen, and what is."""

    labels: tuple[str, ...]
    """Of the lanes, in their order."""
    lane: int
    """Place of the chosen one."""
    layers: tuple[tuple[str, str], ...]
    """The words for every layer, and its name."""
    layer: str
    """Name of the chosen one."""

    @property
    def label(self) -> str:
        """Of the chosen lane."""
        return self.labels[self.lane]


def chosen_among(
    styles: Sequence[LaneStyle], layers: Sequence[str], lane: object, layer: object, default: str
) -> Choices:
    """Return what is chosen; what this race does not have gives way to the first OLoRA lane.

    Parameters
    ----------
    lane, layer : a label and a name, or anything else.
    default : the layer in the place of one that this race does not have.
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
    """Write a layer's name for people.

    >>> layer_words("model.layers.3.mlp.down_proj")
    '3 · down_proj'
    """
    return " · ".join(part for part in block_and_module(name) if part)
