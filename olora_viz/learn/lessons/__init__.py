"""Lessons in reading order, one file each: one thing to do and one thing to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from olora_viz.learn.gallery import Recording, load
from olora_viz.learn.lessons import adapter, columns, export, fair_rates, one_rate, qr, singular_values, slopes
from olora_viz.learn.lessons.lesson import Lesson
from olora_viz.machine.process import LazyMapping
from olora_viz.machine.text import unknown

FROM_RACES: dict[str, tuple[Callable[[Recording], Lesson], str]] = {
    "adapter": (adapter.lesson, "smollm2"),
    "columns": (columns.lesson, "what-the-qr-adds"),
    "one-rate": (one_rate.lesson, "one-rate"),
    "fair-rates": (fair_rates.lesson, "fair-rates"),
    "curvature": (slopes.lesson, "curvature"),
    "singular-values": (singular_values.lesson, "one-rate"),
    "export": (export.lesson, "one-rate"),
}
"""The function that writes a lesson, and the recorded race it reads."""

NAMES = ("adapter", "qr", "columns", "one-rate", "fair-rates", "curvature", "singular-values", "export")
"""All lessons in reading order."""


@cache
def find(name: str) -> Lesson:
    """Write a lesson, once.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in NAMES:
        raise ValueError(unknown("lesson", name, NAMES))
    if name == "qr":
        return qr.lesson()
    write, recording = FROM_RACES[name]
    return write(load(recording))


LESSONS: Mapping[str, Lesson] = LazyMapping(NAMES, find)
"""The lessons by name, in reading order; each is written on first use."""


def beside(name: str) -> tuple[Lesson | None, Lesson | None]:
    """Return the previous and the next lesson, None at the ends."""
    at = NAMES.index(name)
    before = find(NAMES[at - 1]) if at else None
    return before, find(NAMES[at + 1]) if at + 1 < len(NAMES) else None


__all__ = ["FROM_RACES", "LESSONS", "NAMES", "Lesson", "beside", "find"]
