"""The limits on visitors' requests, and the checks of all inputs of the page.

Every field of `Limits` is set by an environment variable of its name, ``OLORA_VIZ_MAX_STEPS`` for
``max_steps`` and so on, and ``OLORA_VIZ_MODELS`` lists names separated by commas; the README has a
table of them. Models and tasks come from lists of names, and a visitor's own file is known by a
token: a path never comes from a page.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.machine.naming import unknown
from olora_viz.models import MODELS
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS

MAX_LENGTH = 512
"""The longest example of a task from the hub, in tokens; longer ones are left out of the race."""


MOST_LOOKS = 51
"""Maximum number of gradient measurements in a race: the first step, and fifty more."""


def small_models(most: int) -> tuple[str, ...]:
    """Return the names of the public models with at most this many parameters."""
    return tuple(
        card.name for card in MODELS.values() if card.parameters <= most and not card.gated
    )


@dataclass(frozen=True)
class Limits:
    """Limits on what visitors may ask for."""

    max_steps: int = 2000
    """Steps of a race."""
    max_lanes: int = MAX_LANES
    """Lanes of a race."""
    max_batch: int = 64
    """Prompts per step."""
    max_rank: int = 256
    """Rank of a lane."""
    max_tokens: int = 500_000_000
    """Steps x lanes x prompts per step x the longest example of a race; see `tokens_at_most`."""
    max_parameters: int = 600_000_000
    """Weights of a model; larger ones are offered only if ``OLORA_VIZ_MODELS`` names them."""
    max_seconds: int = 1800
    """Computing time of a race or measurement, in seconds."""
    max_waiting: int = 24
    """Races and measurements in the queue."""
    keep_races: int = 60
    """Finished and paused races that are kept for their pages."""
    keep_mib: int = 4000
    """Disk space of those races, in MiB."""
    grace_seconds: int = 300
    """Seconds without a viewer after which a race pauses."""
    max_upload_kib: int = 512
    """Size of a visitor's file, in KiB."""
    max_examples: int = 5000
    """Examples in it."""
    max_characters: int = 4000
    """Characters of each text in it."""
    keep_files: int = 60
    """Visitors' files kept, the newest ones."""
    models: tuple[str, ...] = small_models(600_000_000)


@runtime_checkable
class OwnFiles(Protocol):
    """A lookup of visitors' files by token."""

    def find(self, token: object) -> Path | None:
        """Return the file of a token; None if it does not exist (any more)."""
        ...


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
            values[field.name] = _whole(f"OLORA_VIZ_{field.name.upper()}", text, 1, 10**12)
    if "models" not in values:
        values["models"] = small_models(values.get("max_parameters", Limits.max_parameters))
        if not values["models"]:
            raise ValueError(
                f"OLORA_VIZ_MAX_PARAMETERS must leave a model, and {values['max_parameters']} "
                "leaves none"
            )
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
    files: OwnFiles | None = None,
) -> RaceConfig:
    """Validate the values that a page sent, and return the race.

    Parameters
    ----------
    model : a name.
    task : a name, or the token of a file in `files`, whose path it becomes.
    steps, batch : numbers, or text that reads as one.
    lanes : a list of ``{"init", "r", "alpha", "lr", "seed"}``, see `checked_lane`.
    curvature_every : steps between curvature measurements, 0 for none.
    seed : of the task and of the order of its examples.
    files : the visitors' own files.
    """
    if model not in limits.models:
        raise ValueError(unknown("model", _word(model), limits.models))
    offered = isinstance(task, str) and task in TASKS
    own = files.find(task) if files and not offered else None
    if own is None and not offered:
        raise ValueError(unknown("task", _word(task), TASKS))
    if not isinstance(lanes, list) or not 1 <= len(lanes) <= limits.max_lanes:
        count = len(lanes) if isinstance(lanes, list) else 0
        raise ValueError(f"a race takes 1 to {limits.max_lanes} lanes, not {count}")
    steps = _whole("steps", steps, 1, limits.max_steps)
    every = max(1, min(10, steps // 5), math.ceil(steps / 100))
    config = RaceConfig(
        batches="by-seed",
        model=model,
        task=str(own) if own else task,
        lanes=tuple(checked_lane(limits, row) for row in lanes),
        steps=steps,
        batch_size=_whole("prompts per step", batch, 1, limits.max_batch),
        seed=_whole("seed of the race", seed, 0, 2**31 - 1),
        # The built-in examples fit every model; other examples are left out if they are too long.
        max_length=None if not own and TASKS[task].offline else longest_example(model),
        eval_every=every,
        spectra_every=every,
        gradients_every=math.ceil(steps / (MOST_LOOKS - 1)),
        curvature_every=_whole(
            "steps between curvature measurements", curvature_every, 0, limits.max_steps
        ),
    )
    tokens = tokens_at_most(config)
    if tokens > limits.max_tokens:
        raise ValueError(
            f"{steps} steps of {len(lanes)} lanes with {config.batch_size} prompts of up to "
            f"{longest_example(model)} tokens are {tokens:,} tokens, but this server allows at "
            f"most {limits.max_tokens:,} per race: reduce one of them"
        )
    return config


def longest_example(model: str) -> int:
    """Return the most tokens that an example may have: the model's context, or `MAX_LENGTH`."""
    return min(MODELS[model].context, MAX_LENGTH)


def tokens_at_most(config: RaceConfig) -> int:
    """Return the maximum tokens of a race on the page: those if every example were the longest.

    >>> tokens_at_most(RaceConfig(model="glassllm", steps=100, batch_size=16))  # of five lanes
    1024000
    """
    examples = config.steps * len(config.lanes) * config.batch_size
    return examples * longest_example(config.model)


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
    """Return an error message for every row, "" if the row is valid."""
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
    """Read a number: NaN if it is not one, infinity if it is too large."""
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
    except ValueError:  # Python does not print numbers of more than a few thousand digits
        return "a number too long to write"
