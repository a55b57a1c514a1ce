"""The settings of the fold "More settings", checked, and their form in the page and in links."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

from olora_viz.lanes.lane import TARGET
from olora_viz.machine.naming import unknown
from olora_viz.machine.numbers import exact
from olora_viz.races.config import BATCHES, RaceConfig
from olora_viz.races.schedule import SCHEDULES
from olora_viz.web.guard.values import Problems, is_empty, number, whole, word

MOST_EVALUATIONS = 200
"""Maximum number of evaluations on the held-out examples in a race."""

MOST_HELD_OUT = 512
"""Maximum number of held-out examples that they take."""

MOST_TARGETS, LONGEST_TARGET = 20, 80
"""Maximum number of target modules, and of characters in the name of one."""


@dataclass(frozen=True)
class Settings:
    """The settings, with the names that they have in links and, where it has them, on the race."""

    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    """Of every lane, as `clip`."""
    clip: float | None = None
    targets: tuple[str, ...] | None = None
    """None for all linear layers of the blocks."""
    eval_every: int | None = None
    """None for `automatic_interval`."""
    batches: str = "by-seed"
    eval_size: int = RaceConfig.eval_size
    keep_best: bool = False
    patience: int | None = None
    """None for lanes that never stop early."""

    @classmethod
    def of(cls, config: RaceConfig) -> Settings:
        """Return the settings of a race.

        Batches that ``auto`` makes those of each seed, or of one seed, are ``by-seed``.

        Raises
        ------
        ValueError : the lanes differ in them, or the schedule is a function.
        """
        decays = {(lane.weight_decay, lane.clip) for lane in config.lanes}
        if len(decays) > 1 or not isinstance(config.schedule, str):
            raise ValueError("the lanes of a page share their weight decay and their clipping")
        ((weight_decay, clip),) = decays
        every, seeds = config.eval_every, {lane.seed for lane in config.lanes}
        automatic = config.batches == "auto" and (config.by_seed or seeds == {0})
        return cls(
            config.schedule, config.warmup, weight_decay, clip, config.targets,
            None if every == automatic_interval(config.steps) else every,
            cls.batches if automatic else config.batches, config.eval_size,
            config.keep_best, config.patience or None,
        )  # fmt: skip

    def values(self) -> dict[str, str]:
        """Return the settings as text by name, "" for None.

        >>> Settings(warmup=5, targets=("q_proj", "v_proj")).values()["targets"]
        'q_proj,v_proj'
        """
        return {field.name: _text(getattr(self, field.name)) for field in fields(self)}

    def changed(self) -> dict[str, str]:
        """Return those of the `values` that are not the default.

        >>> Settings(warmup=5, clip=0.5).changed()
        {'warmup': '5', 'clip': '0.5'}
        """
        plain = Settings().values()
        return {name: text for name, text in self.values().items() if text != plain[name]}

    def of_lane(self) -> dict[str, Any]:
        """Return the fields of every lane."""
        return {"weight_decay": self.weight_decay, "clip": self.clip}

    def of_race(self, steps: int) -> dict[str, Any]:
        """Return the fields of a race of so many steps."""
        its = {field.name: getattr(self, field.name) for field in fields(self)}
        its = {name: value for name, value in its.items() if name not in self.of_lane()}
        every = self.eval_every or automatic_interval(steps)
        return its | {"eval_every": every, "patience": self.patience or 0}


SETTINGS = tuple(field.name for field in fields(Settings))
"""Their names."""


def automatic_interval(steps: int) -> int:
    """Return the steps between two evaluations where the page sets none.

    >>> automatic_interval(60), automatic_interval(2000)
    (5, 20)
    """
    return max(1, min(5, steps // 5), math.ceil(steps / 100))


def checked_settings(steps: int, said: Any, found: Problems) -> Settings:
    """Validate the settings that a page or a link sent; keep what is wrong in `found`.

    Parameters
    ----------
    steps : of the race.
    said : text or numbers by name; a name that is left out has its default.
    """
    plain = Settings()
    values = plain.values() | (said if isinstance(said, dict) else {})
    every = values["eval_every"]
    return Settings(
        schedule=found.check(
            _one_of, "schedule", values["schedule"], SCHEDULES, instead=plain.schedule
        ),
        warmup=found.check(whole, "warm-up steps", values["warmup"], 0, steps - 1, instead=0),
        weight_decay=found.check(_decay, values["weight_decay"], instead=0.0),
        clip=found.check(_clip, values["clip"], instead=None),
        targets=found.check(_targets, values["targets"], instead=None),
        eval_every=None
        if is_empty(every)
        else found.check(
            whole, "steps between evaluations", every, math.ceil(steps / MOST_EVALUATIONS), steps,
            instead=None,
        ),
        batches=found.check(
            _one_of, "batches", values["batches"], BATCHES, instead=plain.batches
        ),
        eval_size=found.check(
            whole, "held-out examples", values["eval_size"], 1, MOST_HELD_OUT,
            instead=plain.eval_size,
        ),
        keep_best=found.check(_switch, "keep_best", values["keep_best"], instead=False),
        patience=None
        if is_empty(values["patience"])
        else found.check(
            whole, "evaluations without improvement", values["patience"], 1, MOST_EVALUATIONS,
            instead=None,
        ),
    )  # fmt: skip


def _one_of(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(unknown(what, word(value), allowed))
    return value


def _switch(what: str, value: Any) -> bool:
    if value not in ("0", "1"):
        raise ValueError(f"{what} must be 0 or 1, not {word(value)[:40]!r}")
    return value == "1"


def _decay(value: Any) -> float:
    return number("weight decay", value, zero=True)


def _clip(value: Any) -> float | None:
    return None if is_empty(value) else number("gradient clipping", value)


def _targets(value: Any) -> tuple[str, ...] | None:
    """Read the names of target modules, with commas between them; None if there are none."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [value]
    names = [name for name in names if not is_empty(name)]
    if len(names) > MOST_TARGETS:
        raise ValueError(f"a race takes at most {MOST_TARGETS} target modules, not {len(names)}")
    for name in names:
        known = isinstance(name, str) and len(name) <= LONGEST_TARGET
        if not (known and re.fullmatch(TARGET, name)):
            raise ValueError(
                f"a target module must be at most {LONGEST_TARGET} letters, digits and "
                f". _ - * ? ! [ ], not {word(name)[:40]!r}"
            )
    return tuple(names) or None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else exact(value) if isinstance(value, float) else str(value)
