"""Schedules of learning rates: their names, factors and checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from olora_viz.machine.checks import unknown
from olora_viz.machine.wording import counted

Schedule = str | Callable[[int, int], float]
"""A name of `SCHEDULES`, or a function of the step, 1 for the first, and the number of steps that returns the factor
of the peak rates."""

_OF_PAST: dict[str, Callable[[float], float]] = {
    "constant": lambda past: 1.0,
    "linear": lambda past: 1.0 - past,
    "cosine": lambda past: 0.5 * (1.0 + math.cos(math.pi * past)),
}

SCHEDULES = tuple(_OF_PAST)


def factor(schedule: Schedule, number: int, steps: int, warmup: int) -> float:
    """Return the factor of the peak rates at a step after the warm-up.

    >>> factor("linear", 3, steps=4, warmup=0), factor(lambda step, steps: 1 / step, 4, 8, 0)
    (0.5, 0.25)
    """
    if not isinstance(schedule, str):
        return float(schedule(number, steps))
    return _OF_PAST[schedule]((number - 1 - warmup) / (steps - warmup))


def warmup_words(warmup: int | float) -> str:
    """Return a warm-up with its unit: steps, or a share of all.

    >>> warmup_words(0), warmup_words(0.1), warmup_words(100)
    ('none', '10%', '100 steps')
    """
    if not warmup:
        return "none"
    return f"{warmup:.0%}" if isinstance(warmup, float) else counted(warmup, "step")


def check_schedule(schedule: Any, steps: int, warmup: int) -> None:
    """Check a name, or the values of a function at all steps.

    Raises:
        ValueError: an unknown name, or a value that is not a finite number >= 0.
    """
    if not callable(schedule):
        if schedule not in SCHEDULES:
            raise ValueError(unknown("schedule", str(schedule), SCHEDULES))
        return
    for number in range(warmup + 1, steps + 1):
        value: Any = schedule(number, steps)
        try:
            good = 0.0 <= float(value) < math.inf
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(f"the schedule gives {value!r} at step {number}: it must be a finite number >= 0")


def plain(schedule: Schedule) -> str:
    """Return a schedule's name.

    Raises:
        ValueError: the schedule is a function, which has no name.
    """
    if not isinstance(schedule, str):
        raise ValueError(
            "a schedule that is a Python function cannot be written to a run folder, JSON or a "
            f"script: choose one of {', '.join(SCHEDULES)} there"
        )
    return schedule
