"""Recorded races, which can be viewed without loading a model.

Each is a small JSON file in this folder, computed by ``python -m olora_viz.learn.gallery``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from olora_viz.learn.gallery.reading import read
from olora_viz.learn.gallery.recipes import RECIPES
from olora_viz.learn.gallery.recording import PREFIX, Origin, Recording
from olora_viz.machine.process import LazyMapping
from olora_viz.machine.text import unknown

FOLDER = Path(__file__).parent
"""The folder of the recordings."""


@cache
def load(name: str) -> Recording:
    """Read a recorded race, once.

    Raises:
        ValueError: the name is unknown, or the file is damaged.
    """
    if name not in RECIPES:
        raise ValueError(unknown("recording", name, RECIPES))
    return read(FOLDER / f"{name}.json")


GALLERY: Mapping[str, Recording] = LazyMapping(tuple(RECIPES), load)
"""The recordings by name, in display order; each is read on first use."""


def recorded(id: object) -> Recording | None:
    """Return the recording of an id such as ``recorded:smollm2``, or None."""
    if not isinstance(id, str) or not id.startswith(PREFIX):
        return None
    return GALLERY.get(id.removeprefix(PREFIX))


__all__ = ["FOLDER", "GALLERY", "Origin", "Recording", "load", "read", "recorded"]
