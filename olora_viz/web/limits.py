"""What a visitor of the page may ask for, and the check of it: all of it happens here.

Environment variables set the limits of a server: ``OLORA_VIZ_MAX_STEPS``, ``_MAX_LANES``,
``_MAX_BATCH``, ``_MAX_RANK``, ``_MAX_SECONDS`` (of one race's computing), ``_MAX_WAITING`` (races
in the queue), ``_KEEP_RACES`` and ``_KEEP_MIB`` (races kept for their pages, and what they may take
of the disk), ``_GRACE_SECONDS`` (without a page that looks at it a race pauses after these), and
``OLORA_VIZ_MODELS``, names with commas between them. Models and tasks come from lists of names; a
path never comes from a page.
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

MAX_LENGTH = 512
"""The longest example of a task from the hub, in tokens; longer ones are left out of the race."""


MOST_LOOKS = 51
"""The most looks at the gradients of one race: at its first step, and fifty more."""


@dataclass(frozen=True)
class Limits:
    """The most of everything."""

    max_steps: int = 2000
    max_lanes: int = MAX_LANES
    max_batch: int = 64
    max_rank: int = 256
    max_seconds: int = 1800
    max_waiting: int = 16
    keep_races: int = 60
    keep_mib: int = 4000
    grace_seconds: int = 300
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
    limits: Limits,
    *,
    model: Any,
    task: Any,
    steps: Any,
    batch: Any,
    lanes: Any,
    curvature_every: Any = 0,
    seed: Any = 0,
) -> RaceConfig:
    """Turn what a page sent into a race, or say in one sentence what is wrong with it.

    Parameters
    ----------
    model, task : names.
    steps, batch : numbers, or text that reads as one.
    lanes : a list of ``{"init", "r", "alpha", "lr", "seed"}``, see `checked_lane`.
    curvature_every : steps between two looks at the curvature, 0: never.
    seed : of the task and of the order of its examples.
    """
    if model not in limits.models:
        raise ValueError(unknown("model", _word(model), limits.models))
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(unknown("task", _word(task), TASKS))
    if not isinstance(lanes, list) or not 1 <= len(lanes) <= limits.max_lanes:
        count = len(lanes) if isinstance(lanes, list) else 0
        raise ValueError(f"a race takes 1 to {limits.max_lanes} lanes, not {count}")
    steps = _whole("steps", steps, 1, limits.max_steps)
    every = max(1, min(10, steps // 5), math.ceil(steps / 100))
    return RaceConfig(
        batches="by-seed",
        model=model,
        task=task,
        lanes=tuple(checked_lane(limits, row) for row in lanes),
        steps=steps,
        batch_size=_whole("prompts a step", batch, 1, limits.max_batch),
        seed=_whole("seed of the race", seed, 0, 2**31 - 1),
        max_length=None if TASKS[task].offline else min(MODELS[model].context, MAX_LENGTH),
        eval_every=every,
        trace_every=every,
        gradients_every=math.ceil(steps / (MOST_LOOKS - 1)),
        curvature_every=_whole(
            "steps between two looks at the curvature", curvature_every, 0, limits.max_steps
        ),
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
    empty = alpha is None or (isinstance(alpha, str) and not alpha.strip())
    return Lane(
        init=_word(row.get("init", "")),
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
    number = _float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{what} must be a positive number, not {_shown(value)}")
    return number


def _whole(what: str, value: Any, least: int, most: int) -> int:
    number = _float(value)
    if not number.is_integer() or not least <= number <= most:
        rule = f"{what} must be a whole number from {least} to {most}"
        raise ValueError(f"{rule}, not {_shown(value)}")
    return int(number)


def _float(value: Any) -> float:
    """Read a number; NaN where there is none, infinity where it is too large for one."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _word(value: Any) -> str:
    return (value if isinstance(value, str) else _shown(value))[:80]


def _shown(value: Any) -> str:
    try:
        return repr(value)[:40]
    except ValueError:  # Python writes no number of more than a few thousand digits
        return "a number too long to write"
