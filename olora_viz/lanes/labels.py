"""What lanes are called: on the command line and in folders, and where people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, label_number
from olora_viz.machine import numbers

SHOWN = ("lr", "r", "alpha", "seed", "lora_plus", "dropout", "beta1", "beta2")
"""What a display name can tell lanes of one initialization by."""


def labels(lanes: Sequence[Lane]) -> tuple[str, ...]:
    """Give every lane a distinct label: the name, and what differs where a name repeats.

    >>> labels([Lane("lora"), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3)])
    ('lora', 'olora@lr=1e-3', 'olora@lr=3e-3')
    """
    taken = [lane.label for lane in lanes if lane.label is not None]
    for label in taken:
        if taken.count(label) > 1:
            raise ValueError(f"two lanes are labelled {label!r}; labels must differ")
    made: list[str] = []
    for lane in lanes:
        wanted = lane.label or _automatic_label(lane, lanes)
        label, copy = wanted, 2
        while label in made or (lane.label is None and label in taken):
            label, copy = f"{wanted}#{copy}", copy + 1
        made.append(label)
    return tuple(made)


def display_names(lanes: Sequence[Lane], names: Sequence[str | None] = ()) -> tuple[str, ...]:
    """Name every lane for people: its initialization, and what differs inside the race.

    Parameters
    ----------
    lanes : the lanes of one race, in order.
    names : a name per lane that its owner chose, or None.

    >>> display_names([Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)])
    ('LoRA 1e-3', 'OLoRA 3e-3')
    """
    wanted = [*names, *[None] * (len(lanes) - len(names))]
    varying = differing(lanes)
    made: list[str] = []
    for lane, name in zip(lanes, wanted, strict=True):
        words = [label_of(lane.init), *(_words(f, setting(lane, f)) for f in varying)]
        own = name or " ".join(words)
        distinct, copy = own, 2
        while distinct in made:
            distinct, copy = f"{own} #{copy}", copy + 1
        made.append(distinct)
    return tuple(made)


def differing(lanes: Sequence[Lane]) -> list[str]:
    """Return which of `SHOWN` is not the same in all lanes."""
    return [field for field in SHOWN if len({setting(lane, field) for lane in lanes}) > 1]


def setting(lane: Lane, field: str) -> float:
    """Return what one of `SHOWN` is: of alpha the ratio to the rank."""
    if field == "alpha":
        return 1.0 if lane.alpha is None else lane.alpha / lane.r
    return getattr(lane, field)


def _words(field: str, value: float) -> str:
    return {
        "lr": numbers.compact(value), "r": f"r {value:g}", "alpha": f"α/r {value:g}",
        "seed": f"seed {value:g}", "lora_plus": f"LoRA+ {value:g}", "dropout": f"dropout {value:g}",
        "beta1": f"β₁ {value:g}", "beta2": f"β₂ {value:g}",
    }[field]  # fmt: skip


def _automatic_label(lane: Lane, lanes: Sequence[Lane]) -> str:
    family = [other for other in lanes if other.init == lane.init and other.label is None]
    parts = [
        f"{field.name}={_word(getattr(lane, field.name))}"
        for field in fields(Lane)
        if field.name not in ("init", "label")
        and len({getattr(other, field.name) for other in family}) > 1
    ]
    return f"{lane.init}@{','.join(parts)}" if parts else lane.init


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return label_number(value) if isinstance(value, float) else str(value).lower()
