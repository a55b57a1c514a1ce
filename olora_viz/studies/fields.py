"""Who races whom: the lanes of a method, over rates and seeds, and the metric that counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, Targets
from olora_viz.machine.text import percent
from olora_viz.measures.training import Examples
from olora_viz.races.step import Step, out_at, whys_out
from olora_viz.studies.pairing import MARGIN_OF_SHARES
from olora_viz.tasks.evaluation import HeldOut

ACCURACY, LOSS = "accuracy", "loss"
"""The metrics."""

FLOOR, CEILING = MARGIN_OF_SHARES, 1 - MARGIN_OF_SHARES
"""Accuracies up to the first, or from the second on, cannot differ by more than what is level."""


@dataclass(frozen=True)
class Metric:
    """What contenders are compared by."""

    name: str
    """``accuracy`` or ``loss``."""
    why: str = ""
    """Why the loss takes the place of the accuracy, as a sentence; empty if it does not."""

    @property
    def by_loss(self) -> bool:
        """Whether it is the loss."""
        return self.name == LOSS

    @property
    def order(self) -> str:
        """What a table is sorted by, in words."""
        return "by loss" if self.by_loss else "by accuracy, ties by loss"


def metric_of(
    lanes: Sequence[Lane], examples: Examples | None, *, plain_text: bool, ended: bool = False, guessing: bool = False
) -> Metric:
    """Return the metric of a race.

    Args:
        examples: results by example at the latest evaluation; None if there are none.
        plain_text: whether every token is judged, so that no answer is right or wrong.
        ended: whether it is the last evaluation of the race.
        guessing: whether no lane does better than guessing, see `is_guessing`.
    """
    if plain_text:
        return Metric(LOSS)
    if ended and guessing:
        return Metric(LOSS, "By loss, as no lane does better than guessing.")
    best = _best_accuracies(lanes, examples) if ended and examples is not None else []
    if best and (min(best) >= CEILING or max(best) <= FLOOR):
        high = min(best) >= CEILING
        share = f"{percent(CEILING)} or more" if high else f"{percent(FLOOR)} or less"
        return Metric(LOSS, f"By loss, as all are right in {share}.")
    return Metric(ACCURACY)


def _best_accuracies(lanes: Sequence[Lane], examples: Examples) -> list[float]:
    """Return the accuracy of each contender that is left: of a start, at its best rate."""
    by_start = bool(fields_of(lanes))
    best: dict[object, float] = {}
    for group in seed_groups(lanes):
        lane, rows = group.lane, list(group.lanes)
        if not np.isfinite(examples.loss[rows]).all():
            continue
        contender = (lane.init, Setting.of(lane)) if by_start else group
        share = float(examples.right[rows].mean())
        best[contender] = max(best.get(contender, -math.inf), share)
    return list(best.values())


def is_guessing(lanes: Sequence[Lane], steps: Sequence[Step], held_out: HeldOut | None) -> bool:
    """Whether no lane is right more often than an answer without reading the prompt.

    Lanes that differ in their seed alone count as one.
    """
    if held_out is None or held_out.guess is None:
        return False
    places = group_places(standings(steps, len(lanes)), seed_groups(lanes))
    known = [place.accuracy for place in places if math.isfinite(place.accuracy)]
    return bool(known) and max(known) <= held_out.guess


@dataclass(frozen=True)
class SeedGroup:
    """One contender with all its seeds."""

    lane: Lane
    """The first lane of the group."""
    lanes: tuple[int, ...]
    """Indices of the lanes."""


def seed_groups(lanes: Sequence[Lane]) -> tuple[SeedGroup, ...]:
    """Group lanes that differ only in their seed.

    Args:
        lanes: of the race.
    """
    groups: dict[tuple[Lane, int], list[int]] = {}
    for k, lane in enumerate(lanes):
        # A duplicate lane, including its seed, is not a repetition: it forms a group of its own.
        copy = list(lanes[:k]).count(lane)
        groups.setdefault((replace(lane, seed=0), copy), []).append(k)
    return tuple(SeedGroup(lanes[ks[0]], tuple(ks)) for ks in groups.values())


def group_places(rows: Sequence[Place], groups: Sequence[SeedGroup], *, by_loss: bool = True) -> list[Place]:
    """Order groups by their means, the best first and those with a diverged seed last.

    Args:
        rows: of `standings`, one row per lane.
        by_loss: see `rows`.
    """
    of_lane = {row.lane: row for row in rows}
    places = []
    for i, group in enumerate(groups):
        members = [of_lane[k] for k in group.lanes]
        losses = [row.loss for row in members]
        several = len(losses) > 1 and all(map(math.isfinite, losses))
        places.append(
            Place(
                lane=i,
                seeds=len(members),
                loss=math.fsum(losses) / len(members),
                spread=statistics.stdev(losses) if several else math.nan,
                accuracy=math.fsum(row.accuracy for row in members) / len(members),
                first_grad_norm=math.fsum(row.first_grad_norm for row in members) / len(members),
                left=tuple(row.out_at for row in members),
                why_out=", or its ".join(dict.fromkeys(row.why_out for row in members if row.out_at)),
            )
        )
    return sorted(places, key=lambda place: place.rank(by_loss))


SETTINGS = ("rank", "scaling", "weight decay", "clipping", "betas", "LoRA+ ratio", "dropout", "targets")
"""The names of what a `Setting` holds, in its order."""


class Setting(NamedTuple):
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
class Field:
    """Lanes that can be compared."""

    setting: Setting
    seeds: tuple[int, ...]
    contenders: tuple[SeedGroup, ...]
    """Each start at each rate, over the field's seeds; in the race's order."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The distinct starts, in the race's order."""
        return tuple(dict.fromkeys(group.lane.init for group in self.contenders))

    @property
    def lanes(self) -> list[int]:
        """The indices of all lanes in the field."""
        return [k for group in self.contenders for k in group.lanes]

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
    def has_rates(self) -> bool:
        """Whether a start races at several rates."""
        return len(self.contenders) > len(self.starts)

    @property
    def at_one_rate(self) -> bool:
        """Whether all contenders race at the same rate."""
        return len({group.lane.lr for group in self.contenders}) == 1

    def of(self, init: str) -> list[SeedGroup]:
        """Return a start at all its rates."""
        return [group for group in self.contenders if group.lane.init == init]

    def rates(self, init: str) -> list[float]:
        """Return the rates that were tried with a start, the lowest first."""
        return sorted(group.lane.lr for group in self.of(init))


def fields_of(lanes: Sequence[Lane]) -> list[Field]:
    """Return the fields of a race, each of two starts or more: those with both OLoRA and LoRA first, then the largest.

    Each setting has one field, with the seeds for which the most starts race at the most rates.

    >>> fields_of([Lane("lora", r=2), Lane("olora", r=64), Lane("pissa", r=64)])[0].starts
    ('olora', 'pissa')
    >>> lanes = [Lane(init, seed=seed) for init in ("lora", "olora") for seed in (0, 1)]
    >>> fields_of(lanes)[0].seeds
    (0, 1)
    """
    entered: dict[tuple[Setting, int], dict[tuple[str, float], int]] = {}
    for k, lane in enumerate(lanes):
        # Of identical lanes only the first is used.
        entered.setdefault((Setting.of(lane), lane.seed), {}).setdefault((lane.init, lane.lr), k)
    same: dict[tuple[Setting, frozenset[tuple[str, float]]], list[int]] = {}
    for (setting, seed), entries in entered.items():
        same.setdefault((setting, frozenset(entries)), []).append(seed)

    def worth(key: tuple[Setting, frozenset[tuple[str, float]]]) -> tuple[bool, int, int, int]:
        starts = {init for init, _ in key[1]}
        return {"lora", "olora"} <= starts, len(starts), len(key[1]), len(same[key])

    fields: dict[Setting, Field] = {}
    for setting, entries in sorted(same, key=worth, reverse=True):
        if setting not in fields:
            seeds = tuple(sorted(same[setting, entries]))
            over_seeds = [tuple(entered[setting, seed][entry] for seed in seeds) for entry in entries]
            groups = (SeedGroup(lanes[ks[0]], ks) for ks in sorted(over_seeds, key=min))
            fields[setting] = Field(setting, seeds, tuple(groups))
    return [field for field in fields.values() if len(field.starts) > 1]


def differences(lanes: Sequence[Lane]) -> list[str]:
    """Name the settings in which the lanes differ.

    >>> differences([Lane("lora", r=2), Lane("olora", r=64)])
    ['start', 'rank']
    """
    names = ("start", "rate", *SETTINGS, "seed")
    values = zip(*((lane.init, lane.lr, *Setting.of(lane), lane.seed) for lane in lanes), strict=True)
    return [name for name, column in zip(names, values, strict=False) if len(set(column)) > 1]


def has_random_start(lane: Lane) -> bool:
    """Whether the start draws random numbers, so that its seeds differ; taken for granted once it is unregistered."""
    return lane.init not in INITIALIZERS or INITIALIZERS[lane.init].random


def repeats(lanes: Sequence[Lane], *, by_seed: bool = False) -> list[int]:
    """Count the independent runs of every start at every rate in every setting, in ascending order.

    Args:
        by_seed: whether each seed has its own batches. With shared batches, all seeds of a deterministic start count
            as one run.

    >>> repeats([Lane("lora"), Lane("lora", seed=1), Lane("olora", seed=2)])
    [1, 2]
    >>> repeats([Lane("olora"), Lane("olora", seed=1)])
    [1]
    """
    seeds: dict[tuple[Setting, str, float], set[int]] = {}
    for lane in lanes:
        varies = by_seed or has_random_start(lane)
        runs = seeds.setdefault((Setting.of(lane), lane.init, lane.lr), set())
        runs.add(lane.seed if varies else 0)
    return sorted(map(len, seeds.values()))


@dataclass(frozen=True)
class Place:
    """The result of a lane, or of a group of lanes that differ only in their seed."""

    lane: int
    """Index of the lane, or of the group."""
    loss: float
    """Held-out loss at the latest evaluation, nats; NaN if there is none."""
    accuracy: float
    """Held-out accuracy, NaN if there is none."""
    first_grad_norm: float
    left: tuple[int, ...] = ()
    """The step at which each of its lanes diverged; 0 for one that has not."""
    why_out: str = ""
    """Why it diverged, see `olora_viz.races.step.why_out`; empty if it has not."""
    seeds: int = 1
    """The number of lanes; loss, accuracy and norm are their means."""
    spread: float = math.nan
    """Standard deviation of the losses over the seeds; NaN with one seed."""

    @property
    def out_at(self) -> int:
        """The step at which it diverged, the earliest in a group; 0 if it has not."""
        return min(filter(None, self.left), default=0)

    def rank(self, by_loss: bool) -> tuple[float, ...]:
        """Return the sort key: the best first, and what has diverged last."""
        values = (0.0 if by_loss else -self.accuracy, self.loss)
        return (self.out_at > 0, *(value if math.isfinite(value) else math.inf for value in values), self.lane)


def departure(left: Sequence[int], what: str = "DNF") -> str:
    """Say when a lane, or which share of its seeds, diverged; empty if none has.

    Args:
        left: of each seed, see `Place`.
        what: became of them.

    >>> departure([8]), departure([9, 0, 8]), departure([8, 9, 11])
    ('DNF at step 8', '2 of 3 seeds DNF at steps 8 and 9', 'DNF at steps 8 to 11')
    """
    gone = [step for step in left if step]
    if not gone:
        return ""
    seeds = f"{len(gone)} of {len(left)} seeds " if len(gone) < len(left) else ""
    first, *more = sorted(set(gone))
    until = f" {'to' if len(more) > 1 else 'and'} {more[-1]}" if more else ""
    return f"{seeds}{what} at step{'s' * bool(more)} {first}{until}"


def standings(steps: Sequence[Step], lanes: int, *, by_loss: bool = True) -> list[Place]:
    """Order the lanes by their latest held-out results, the best first and the diverged ones last.

    Args:
        by_loss: whether the loss counts; else accuracy leads, and the loss breaks ties.
    """
    newest = next((step for step in reversed(steps) if step.eval_loss is not None), None)
    nothing = [math.nan] * lanes
    loss = nothing if newest is None or newest.eval_loss is None else newest.eval_loss
    share = nothing if newest is None or newest.eval_accuracy is None else newest.eval_accuracy
    left_at, whys = out_at(steps, lanes), whys_out(steps, lanes)
    rows = [
        Place(
            lane=k,
            loss=float(loss[k]),
            accuracy=float(share[k]),
            first_grad_norm=float(steps[0].grad_norm[k]) if steps else math.nan,
            left=(left_at[k],),
            why_out=whys[k],
        )
        for k in range(lanes)
    ]
    return sorted(rows, key=lambda row: row.rank(by_loss))
