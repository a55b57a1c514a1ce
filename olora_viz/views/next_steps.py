"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from olora_viz.lanes.lane import MAX_LANES, Lane

SEEDS = 5

HIGHEST = 1e3
"""From this learning rate on, no higher one is suggested."""


def repeated(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return every lane with the seeds 0, 1, …; lanes that differ only in their seed count once.

    Parameters
    ----------
    most : maximum number of lanes.

    Raises
    ------
    ValueError : the result has more lanes.
    """
    own = list(dict.fromkeys(replace(lane, seed=0) for lane in lanes))
    count = len(own) * SEEDS
    _check(most, count, f"{len(own)} lanes with {SEEDS} seeds each are {count}")
    return tuple(replace(lane, seed=seed) for lane in own for seed in range(SEEDS))


def higher(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return lanes in which every start also races at half a decade above its highest rate.

    Parameters
    ----------
    most : maximum number of lanes.

    Raises
    ------
    ValueError : the result has more lanes, or a rate is `HIGHEST` already.

    >>> [lane.lr for lane in higher([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3)])]
    [0.001, 0.003, 0.01]
    """
    new: list[Lane] = []
    groups: dict[Lane, list[Lane]] = {}
    for lane in lanes:
        groups.setdefault(replace(lane, lr=1.0, seed=0), []).append(lane)
    for group in groups.values():
        new += group
        top = max(lane.lr for lane in group)
        if top >= HIGHEST:
            raise ValueError(f"a learning rate of {top:g} is high enough: try lower ones")
        if not group[0].fair:
            new += [replace(lane, lr=_half_a_decade_above(top)) for lane in group if lane.lr == top]
    _check(most, len(new), f"with higher rates the race has {len(new)} lanes")
    return tuple(new)


def _half_a_decade_above(rate: float) -> float:
    """Return the next of …, 1e-3, 3e-3, 1e-2, ….

    >>> _half_a_decade_above(1e-3), _half_a_decade_above(3e-3), _half_a_decade_above(4e-3)
    (0.003, 0.01, 0.01)
    """
    place = round(2 * math.log10(rate)) + 1
    return float(f"{10 ** (place / 2):.0e}")


def _check(most: int, count: int, words: str) -> None:
    if count > most:
        raise ValueError(f"{words}; a race takes at most {most}: remove some lanes first")


class NextStep(NamedTuple):
    """A next step: a button that changes the lanes and races them."""

    name: str
    """See `olora_viz.studies.verdict_line.VerdictLine.next_step`."""
    label: str
    title: str
    change: Callable[[Sequence[Lane], int], tuple[Lane, ...]]


STEPS = (
    NextStep(
        "seeds",
        f"Repeat with {SEEDS} seeds",
        "Every lane is repeated with each seed. A seed sets the random numbers of the start and "
        "the order of the batches; lanes with the same seed see the same batches.",
        repeated,
    ),
    NextStep(
        "rates",
        "Try higher rates",
        "Every start also races at half a decade above its highest learning rate.",
        higher,
    ),
)
