"""What a visitor of the page may ask for, and the check of it: all of it happens here.

Environment variables set the limits of a server: ``OLORA_VIZ_MAX_STEPS``, ``_MAX_LANES``,
``_MAX_BATCH``, ``_MAX_RANK``, ``_MAX_WAITING`` (races in the queue), ``_KEEP_RACES`` (races kept
for their pages), and ``OLORA_VIZ_MODELS``, names with commas between them. Models and tasks come
from lists of names; a path never comes from a page.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from olora_viz.lane import MAX_LANES, Lane
from olora_viz.models import MODELS
from olora_viz.naming import unknown
from olora_viz.race_config import RaceConfig
from olora_viz.tasks import TASKS

SMALL = 600_000_000
"""Models above this many parameters are offered only where ``OLORA_VIZ_MODELS`` names them."""


@dataclass(frozen=True)
class Limits:
    """The most of everything."""

    max_steps: int = 2000
    max_lanes: int = MAX_LANES
    max_batch: int = 64
    max_rank: int = 256
    max_waiting: int = 16
    keep_races: int = 6
    models: tuple[str, ...] = tuple(
        card.name for card in MODELS.values() if card.parameters <= SMALL and not card.gated
    )


def from_environment(env: Mapping[str, str] = os.environ) -> Limits:
    """Read the limits of this server.

    >>> from_environment({"OLORA_VIZ_MAX_STEPS": "300"}).max_steps
    300
    """
    values: dict[str, Any] = {}
    for field in fields(Limits):
        text = env.get(f"OLORA_VIZ_{field.name.upper()}", "").strip()
        if not text:
            continue
        if field.name == "models":
            values["models"] = tuple(name.strip() for name in text.split(","))
            for name in values["models"]:
                if name not in MODELS:
                    raise ValueError(unknown("model", name, MODELS) + " (in OLORA_VIZ_MODELS)")
        else:
            values[field.name] = _whole(f"OLORA_VIZ_{field.name.upper()}", text, 1, 10**9)
    limits = Limits(**values)
    if limits.max_lanes > MAX_LANES:
        raise ValueError(f"OLORA_VIZ_MAX_LANES must be at most {MAX_LANES}")
    return limits


def checked_config(
    limits: Limits, *, model: Any, task: Any, steps: Any, batch: Any, lanes: Any
) -> RaceConfig:
    """Turn what a page sent into a race, or say in one sentence what is wrong with it.

    Parameters
    ----------
    model, task : names.
    steps, batch : numbers, or text that reads as one.
    lanes : a list of ``{"init", "r", "alpha", "lr", "seed"}``, see `checked_lane`.
    """
    if model not in limits.models:
        raise ValueError(unknown("model", str(model)[:80], limits.models))
    if task not in TASKS:
        raise ValueError(unknown("task", str(task)[:80], TASKS))
    if not isinstance(lanes, list) or not 1 <= len(lanes) <= limits.max_lanes:
        count = len(lanes) if isinstance(lanes, list) else 0
        raise ValueError(f"a race takes 1 to {limits.max_lanes} lanes, not {count}")
    steps = _whole("steps", steps, 1, limits.max_steps)
    return RaceConfig(
        model=model,
        task=task,
        lanes=tuple(checked_lane(limits, row) for row in lanes),
        steps=steps,
        batch_size=_whole("prompts a step", batch, 1, limits.max_batch),
        eval_every=max(1, min(10, steps // 5), math.ceil(steps / 100)),
    )


def checked_lane(limits: Limits, row: Any) -> Lane:
    """Turn one row of the page's table into a lane.

    Parameters
    ----------
    row : text or numbers by ``init``, ``r``, ``alpha`` (empty: the rank), ``lr``, ``seed``.
    """
    if not isinstance(row, dict):
        raise ValueError("a lane is a row with init, r, alpha, lr and seed")
    alpha = row.get("alpha")
    empty = alpha is None or str(alpha).strip() == ""
    return Lane(
        init=str(row.get("init", ""))[:80],
        lr=_number("learning rate", row.get("lr")),
        r=_whole("rank", row.get("r"), 1, limits.max_rank),
        alpha=None if empty else _number("alpha", alpha),
        seed=_whole("seed", row.get("seed", 0), 0, 2**31 - 1),
    )


def problems(limits: Limits, rows: Iterable[Any]) -> list[str]:
    """Say of every row what is wrong with it, "" where nothing is."""
    found = []
    for row in rows:
        try:
            checked_lane(limits, row)
            found.append("")
        except ValueError as error:
            found.append(str(error))
    return found


def _number(what: str, value: Any) -> float:
    shown = repr(value)[:40]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a positive number, not {shown}") from None
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise ValueError(f"{what} must be a positive number, not {shown}")
    return number


def _whole(what: str, value: Any, least: int, most: int) -> int:
    rule = f"{what} must be a whole number from {least} to {most}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{rule}, not {repr(value)[:40]}") from None
    if isinstance(value, bool) or not number.is_integer() or not least <= number <= most:
        raise ValueError(f"{rule}, not {repr(value)[:40]}")
    return int(number)
