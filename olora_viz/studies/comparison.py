"""Comparable lanes: those that differ only in their start and learning rate.

Lanes that agree in everything else form one field. If the same starts race at the same rates with
several seeds, the field holds all of them, and comparisons use means over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.lanes.lane import Lane


@dataclass(frozen=True)
class Setting:
    """The settings that comparable lanes share, besides their seed."""

    r: int
    scale: float
    weight_decay: float
    clip: float | None

    @classmethod
    def of(cls, lane: Lane) -> Setting:
        """Return a lane's setting."""
        return cls(lane.r, lane.scale, lane.weight_decay, lane.clip)


@dataclass(frozen=True)
class Contender:
    """One start at one rate."""

    init: str
    lr: float
    lanes: tuple[int, ...]
    """Indices of the lanes, over the field's seeds."""


@dataclass(frozen=True)
class Result:
    """The result of one start at one rate."""

    init: str
    lr: float
    loss: float
    """Held-out loss, nats; the mean over the seeds."""


@dataclass(frozen=True)
class Field:
    """Lanes that may be compared."""

    setting: Setting
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]

    @property
    def starts(self) -> tuple[str, ...]:
        """Every start once, in the race's order."""
        return tuple(dict.fromkeys(contender.init for contender in self.contenders))

    @property
    def size(self) -> int:
        """The number of lanes in the field."""
        return sum(len(contender.lanes) for contender in self.contenders)

    @property
    def roles(self) -> tuple[str, str]:
        """The pair to compare first: OLoRA and LoRA if present, otherwise the first two starts.

        With one start, both are the same.
        """
        starts = self.starts
        rivals = [init for init in ("lora", *starts) if init in starts and init != "olora"]
        rival = rivals[0] if rivals else starts[0]
        heroes = [init for init in ("olora", *starts) if init in starts and init != rival]
        return (heroes[0] if heroes else rival), rival

    def lanes_of(self, init: str) -> list[int]:
        """Return the places of a start's lanes."""
        return [k for one in self.contenders if one.init == init for k in one.lanes]

    def rates(self, init: str) -> list[float]:
        """Return the rates that were tried with a start, the lowest first."""
        return sorted(contender.lr for contender in self.contenders if contender.init == init)


def fair_field(lanes: Sequence[Lane]) -> Field:
    """Choose the lanes to compare: OLoRA and LoRA first, then most starts, rates and seeds.

    >>> fair_field([Lane("lora", r=2), Lane("olora", r=64), Lane("pissa", r=64)]).starts
    ('olora', 'pissa')
    >>> fair_field([Lane("lora"), Lane("lora", seed=1), Lane("olora"), Lane("olora", seed=1)]).seeds
    (0, 1)
    """
    entered: dict[tuple[Setting, int], set[tuple[str, float]]] = {}
    for lane in lanes:
        entered.setdefault((Setting.of(lane), lane.seed), set()).add((lane.init, lane.lr))
    same: dict[tuple[Setting, frozenset[tuple[str, float]]], list[int]] = {}
    for (setting, seed), entries in entered.items():
        same.setdefault((setting, frozenset(entries)), []).append(seed)

    def worth(key: tuple[Setting, frozenset[tuple[str, float]]]) -> tuple[bool, int, int, int]:
        starts = {init for init, _ in key[1]}
        return {"lora", "olora"} <= starts, len(starts), len(key[1]), len(same[key])

    chosen = max(same, key=worth)
    setting, seeds = chosen[0], tuple(sorted(same[chosen]))
    places: dict[tuple[str, float], list[int]] = {}
    for k, lane in enumerate(lanes):
        if Setting.of(lane) == setting and lane.seed in seeds:
            places.setdefault((lane.init, lane.lr), []).append(k)
    contenders = tuple(Contender(init, lr, tuple(ks)) for (init, lr), ks in places.items())
    return Field(setting, seeds, contenders)


def results_of(field: Field, losses: dict[int, float]) -> list[Result]:
    """Return the contenders that race with every seed, the best first.

    A contender with a diverged seed is left out: a mean over the others would be biased.
    """
    found = [
        Result(one.init, one.lr, math.fsum(losses[k] for k in one.lanes) / len(one.lanes))
        for one in field.contenders
        if all(k in losses for k in one.lanes)
    ]
    return sorted(found, key=lambda result: result.loss)


def differences(lanes: Sequence[Lane]) -> list[str]:
    """Name the settings in which some lanes differ.

    >>> differences([Lane("lora", r=2), Lane("olora", r=64)])
    ['start', 'rank']
    """
    values = {
        "start": {lane.init for lane in lanes},
        "rate": {lane.lr for lane in lanes},
        "rank": {lane.r for lane in lanes},
        "scaling": {lane.scale for lane in lanes},
        "weight decay": {lane.weight_decay for lane in lanes},
        "clipping": {lane.clip for lane in lanes},
        "seed": {lane.seed for lane in lanes},
    }
    return [name for name, found in values.items() if len(found) > 1]


def repeats(lanes: Sequence[Lane]) -> list[int]:
    """Count the seeds of every start at every rate in every setting, the fewest first.

    >>> repeats([Lane("lora"), Lane("lora", seed=1), Lane("olora", seed=2)])
    [1, 2]
    """
    seeds: dict[tuple[Setting, str, float], set[int]] = {}
    for lane in lanes:
        seeds.setdefault((Setting.of(lane), lane.init, lane.lr), set()).add(lane.seed)
    return sorted(len(found) for found in seeds.values())
