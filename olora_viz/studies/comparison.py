"""Comparable lanes: those that differ only in their start and learning rate.

Lanes that agree in everything else form one field. If the same starts race at the same rates with
several seeds, the field holds all of them, and comparisons use means over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, Targets

MOST_FIELDS = 6
"""Most settings, such as ranks, of which a story or a verdict compares the starts."""


@dataclass(frozen=True)
class Setting:
    """The settings that comparable lanes share."""

    r: int
    scale: float
    weight_decay: float
    clip: float | None
    betas: tuple[float, float]
    lora_plus: float
    dropout: float
    targets: Targets

    @classmethod
    def of(cls, lane: Lane) -> Setting:
        """Return a lane's setting."""
        return cls(
            lane.r, lane.scale, lane.weight_decay, lane.clip, (lane.beta1, lane.beta2),
            lane.lora_plus, lane.dropout, lane.targets,
        )  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """One start at one rate."""

    init: str
    lr: float
    lanes: tuple[int, ...]
    """Indices of the lanes, over the field's seeds."""


@dataclass(frozen=True)
class Field:
    """Lanes that can be compared."""

    setting: Setting
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]

    @property
    def starts(self) -> tuple[str, ...]:
        """The distinct starts, in the race's order."""
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

    @property
    def shared_rates(self) -> list[float]:
        """The rates at which both `roles` race, the lowest first."""
        hero, rival = self.roles
        return sorted(set(self.rates(hero)) & set(self.rates(rival)))

    @property
    def at_one_rate(self) -> bool:
        """Whether all contenders race at the same rate."""
        return len({one.lr for one in self.contenders}) == 1

    def lanes_of(self, init: str) -> list[int]:
        """Return the indices of a start's lanes."""
        return [k for one in self.contenders if one.init == init for k in one.lanes]

    def rates(self, init: str) -> list[float]:
        """Return the rates that were tried with a start, the lowest first."""
        return sorted(contender.lr for contender in self.contenders if contender.init == init)


def fields_of(lanes: Sequence[Lane]) -> list[Field]:
    """Return the fields of a race: those with both OLoRA and LoRA first, then the largest.

    Each setting has one field, with the seeds for which the most starts race at the most rates.

    >>> fields_of([Lane("lora", r=2), Lane("olora", r=64), Lane("pissa", r=64)])[0].starts
    ('olora', 'pissa')
    >>> lanes = [Lane(init, seed=seed) for init in ("lora", "olora") for seed in (0, 1)]
    >>> fields_of(lanes)[0].seeds
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

    found: dict[Setting, Field] = {}
    for key in sorted(same, key=worth, reverse=True):
        if key[0] not in found:
            found[key[0]] = _field(lanes, key[0], tuple(sorted(same[key])))
    return list(found.values())


def _field(lanes: Sequence[Lane], setting: Setting, seeds: tuple[int, ...]) -> Field:
    """Return a setting's field; only the first of identical lanes is used."""
    places: dict[tuple[str, float], dict[int, int]] = {}
    for k, lane in enumerate(lanes):
        if Setting.of(lane) == setting and lane.seed in seeds:
            places.setdefault((lane.init, lane.lr), {}).setdefault(lane.seed, k)
    contenders = (
        Contender(*key, tuple(by_seed[seed] for seed in seeds)) for key, by_seed in places.items()
    )
    return Field(setting, seeds, tuple(contenders))


def differences(lanes: Sequence[Lane]) -> list[str]:
    """Name the settings in which the lanes differ.

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
        "betas": {(lane.beta1, lane.beta2) for lane in lanes},
        "LoRA+ ratio": {lane.lora_plus for lane in lanes},
        "dropout": {lane.dropout for lane in lanes},
        "targets": {lane.targets for lane in lanes},
        "seed": {lane.seed for lane in lanes},
    }
    return [name for name, found in values.items() if len(found) > 1]


def repeats(lanes: Sequence[Lane], *, by_seed: bool = False) -> list[int]:
    """Count the independent runs of every start at every rate in every setting, in ascending order.

    Parameters
    ----------
    by_seed : whether each seed has its own batches. With shared batches, all seeds of a
        deterministic start count as one run.

    >>> repeats([Lane("lora"), Lane("lora", seed=1), Lane("olora", seed=2)])
    [1, 2]
    >>> repeats([Lane("olora"), Lane("olora", seed=1)])
    [1]
    """
    seeds: dict[tuple[Setting, str, float], set[int]] = {}
    for lane in lanes:
        varies = by_seed or lane.init not in INITIALIZERS or INITIALIZERS[lane.init].random
        runs = seeds.setdefault((Setting.of(lane), lane.init, lane.lr), set())
        runs.add(lane.seed if varies else 0)
    return sorted(len(found) for found in seeds.values())
