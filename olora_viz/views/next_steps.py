"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.studies.comparison import Setting

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
    """Return lanes in which all starts race at the same rates, up to half a decade above these.

    A start gets the rates of all others with its settings, such as its rank.

    Parameters
    ----------
    most : maximum number of lanes.

    Raises
    ------
    ValueError : the result has more lanes, or a rate is `HIGHEST` already.

    >>> made = higher([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=3e-3)])
    >>> [(lane.init, lane.lr) for lane in made]  # doctest: +NORMALIZE_WHITESPACE
    [('lora', 0.001), ('lora', 0.003), ('lora', 0.01),
     ('olora', 0.003), ('olora', 0.001), ('olora', 0.01)]
    """
    new: list[Lane] = []
    groups: dict[Lane, list[Lane]] = {}
    tried: dict[Setting, set[float]] = {}
    for lane in lanes:
        groups.setdefault(replace(lane, lr=1.0, seed=0), []).append(lane)
        if not lane.fair:
            tried.setdefault(Setting.of(lane), set()).add(lane.lr)
    for group in groups.values():
        new += group
        if group[0].fair:
            continue
        rates = sorted(tried[Setting.of(group[0])])
        if rates[-1] >= HIGHEST:
            raise ValueError(f"a learning rate of {rates[-1]:g} is high enough: try lower ones")
        top = max(lane.lr for lane in group)
        repeated_at = [lane for lane in group if lane.lr == top]
        missing = [rate for rate in rates if all(lane.lr != rate for lane in group)]
        new += [
            replace(lane, lr=rate)
            for rate in (*missing, _half_a_decade_above(rates[-1]))
            for lane in repeated_at
        ]
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
        "All starts race at the same learning rates, up to half a decade above the highest.",
        higher,
    ),
)
