"""The settings of a race beside its model, task, lanes and sizes, as text for pages and links."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from olora_viz.machine.numbers import exact
from olora_viz.races.config import RaceConfig


@dataclass(frozen=True)
class Settings:
    """The settings, with the names that they have in links and, where it has them, in `RaceConfig`.

    The defaults are those of a page, see `RaceConfig` for what they mean.
    """

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
    truncate: bool = False
    chat: bool = False

    @classmethod
    def of(cls, config: RaceConfig) -> Settings:
        """Return the settings of a race.

        Batches that ``auto`` makes those of each seed, or of one seed, are ``by-seed``.

        Raises
        ------
        ValueError : the lanes differ in them, or the schedule is a function.
        """
        if not isinstance(config.schedule, str):
            raise ValueError("a schedule that is a Python function cannot be shown on the page")
        decays = {(lane.weight_decay, lane.clip) for lane in config.lanes}
        if len(decays) > 1:
            raise ValueError("the lanes of a page share their weight decay and their clipping")
        ((weight_decay, clip),) = decays
        every, seeds = config.eval_every, {lane.seed for lane in config.lanes}
        automatic = config.batches == "auto" and (config.by_seed or seeds == {0})
        return cls(
            config.schedule, config.warmup, weight_decay, clip, config.targets,
            None if every == automatic_interval(config.steps) else every,
            cls.batches if automatic else config.batches, config.eval_size,
            config.keep_best, config.patience or None, config.truncate, config.chat,
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


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else exact(value) if isinstance(value, float) else str(value)
