"""Names of lanes: labels for the command line and folders, and display names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import FAIR, Lane, label_number
from olora_viz.machine import numbers

SHOWN = ("lr", "r", "alpha", "seed", "lora_plus", "dropout", "beta1", "beta2", "targets")
"""The settings by which a display name can distinguish lanes of one initialization."""

MOST_TARGETS = 32
"""The longest name of a lane's targets, in characters."""


def labels(lanes: Sequence[Lane]) -> tuple[str, ...]:
    """Return distinct labels: the initialization, and the settings that differ if it repeats.

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
    """Return display names: the initialization, and the settings that differ within the race.

    Parameters
    ----------
    lanes : the lanes of one race, in order.
    names : a name per lane chosen by the user, or None.

    >>> display_names([Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)])
    ('LoRA 1e-3', 'OLoRA 3e-3')
    """
    wanted = [*names, *[None] * (len(lanes) - len(names))]
    varying = differing(lanes)
    made: list[str] = []
    for lane, name in zip(lanes, wanted, strict=True):
        words = [label_of(lane.init), *(_words(f, setting(lane, f)) for f in varying)]
        own = name or " ".join(filter(None, words))
        distinct, copy = own, 2
        while distinct in made:
            distinct, copy = f"{own} #{copy}", copy + 1
        made.append(distinct)
    return tuple(made)


def differing(lanes: Sequence[Lane]) -> list[str]:
    """Return the settings of `SHOWN` that are not the same in all lanes."""
    return [
        field
        for field in SHOWN
        if len({setting(lane, field) for lane in lanes if _has(lane, field)}) > 1
    ]


def setting(lane: Lane, field: str) -> Any:
    """Return the value of one of `SHOWN`: the ratio to the rank for alpha, a text for targets.

    The rate of a fair lane is the word, until its race has found the number. Full fine-tuning has
    neither rank nor scaling, which is written as 0.
    """
    if not _has(lane, field):
        return 0
    if field == "lr" and lane.fair:
        return FAIR
    if field == "alpha":
        return 1.0 if lane.alpha is None else lane.alpha / lane.r
    return "+".join(lane.targets or ()) if field == "targets" else getattr(lane, field)


def _has(lane: Lane, field: str) -> bool:
    return not (lane.is_dense and field in ("r", "alpha"))


def _words(field: str, value: Any) -> str:
    if field in ("r", "alpha") and not value:
        return ""
    if isinstance(value, str):
        return _short(value) if field == "targets" and value else value
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
        and (field.name, getattr(lane, field.name)) != ("targets", None)
        and len({getattr(other, field.name) for other in family}) > 1
    ]
    return f"{lane.init}@{','.join(parts)}" if parts else lane.init


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return _short("+".join(value))
    return label_number(value) if isinstance(value, float) else str(value).lower()


def _short(targets: str) -> str:
    """Shorten targets, and leave out wildcards: a label also names a folder.

    >>> _short("q_proj+v_proj"), _short("layers.[01].*"), _short("q_proj+up_projection+" * 4 + "*")
    ('q_proj+v_proj', 'layers-01', 'q_proj+8more')
    """
    plain = [re.sub(r"\.?[*?!\[\]]+\.?", "-", name).strip("-.") for name in targets.split("+")]
    names = [name or "all" for name in plain]
    whole = "+".join(names)
    if len(names) > 1 and len(whole) > MOST_TARGETS:
        whole = f"{names[0]}+{len(names) - 1}more"
    return whole[:MOST_TARGETS]
