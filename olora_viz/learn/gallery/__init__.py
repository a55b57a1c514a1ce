"""Recorded races: finished stories to look at before anything is loaded.

Each is a small JSON file beside this one, computed by ``python -m olora_viz.learn.gallery``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from olora_viz.learn.gallery.recipes import RECIPES
from olora_viz.learn.gallery.recording import PREFIX, Made, Recording, read
from olora_viz.machine.naming import unknown

FOLDER = Path(__file__).parent
"""Where the recordings are."""


@cache
def load(name: str) -> Recording:
    """Read a recorded race, once.

    Raises
    ------
    ValueError : there is none of that name, or its file is damaged.
    """
    if name not in RECIPES:
        raise ValueError(unknown("recording", name, RECIPES))
    return read(FOLDER / f"{name}.json")


class _Gallery(Mapping[str, Recording]):
    """The recordings by name, in the order in which they are shown; each is read when needed."""

    def __getitem__(self, name: str) -> Recording:
        if name not in RECIPES:
            raise KeyError(name)
        return load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(RECIPES)

    def __len__(self) -> int:
        return len(RECIPES)


GALLERY: Mapping[str, Recording] = _Gallery()
"""The recordings by name, in the order in which they are shown; each is read when needed."""


def recorded(id: object) -> Recording | None:
    """Find a recording by its id, as in ``recorded:smollm2``; None where there is none."""
    if not isinstance(id, str) or not id.startswith(PREFIX):
        return None
    return GALLERY.get(id.removeprefix(PREFIX))


__all__ = ["FOLDER", "GALLERY", "Made", "Recording", "load", "read", "recorded"]
