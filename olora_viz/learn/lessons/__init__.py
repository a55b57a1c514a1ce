"""Lessons in reading order, one file each: one thing to do and one thing to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import (
    adapter,
    again,
    columns,
    cost,
    export,
    fair_rates,
    one_rate,
    qr,
    rewards,
    singular_values,
    slopes,
)
from olora_viz.learn.lessons.lesson import Lesson, RaceNumbers
from olora_viz.machine.checks import unknown
from olora_viz.machine.process import LazyMapping

WRITERS: dict[str, tuple[Callable[..., Lesson], str]] = {
    "adapter": (adapter.lesson, "first"),
    "qr": (qr.lesson, ""),
    "columns": (columns.lesson, "what-the-qr-adds"),
    "one-rate": (one_rate.lesson, "one-rate"),
    "fair-rates": (fair_rates.lesson, "fair-rates"),
    "cost": (cost.lesson, "what-it-cost"),
    "again": (again.lesson, ""),
    "rewards": (rewards.lesson, "rewards"),
    "curvature": (slopes.lesson, "curvature"),
    "singular-values": (singular_values.lesson, "one-rate"),
    "export": (export.lesson, "one-rate"),
}
"""All lessons in reading order: the function that writes each, and the recorded race that it reads, if any."""

LESSON_NAMES = tuple(WRITERS)


@cache
def find(name: str) -> Lesson:
    """Write a lesson, once; ValueError if the name is unknown."""
    if name not in WRITERS:
        raise ValueError(unknown("lesson", name, WRITERS))
    write, recording = WRITERS[name]
    return write(RaceNumbers(load_recording(recording))) if recording else write()


LESSONS: Mapping[str, Lesson] = LazyMapping(LESSON_NAMES, find)
"""The lessons by name, in reading order; each is written on first use."""


def beside(name: str) -> tuple[Lesson | None, Lesson | None]:
    """Return the previous and the next lesson, None at the ends."""
    at = LESSON_NAMES.index(name)
    return (find(LESSON_NAMES[at - 1]) if at else None), (
        find(LESSON_NAMES[at + 1]) if at + 1 < len(LESSON_NAMES) else None
    )
