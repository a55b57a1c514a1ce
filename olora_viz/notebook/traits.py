"""Traits of panels: a set-up, and the number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import traitlets

from olora_viz.machine.naming import described, unknown
from olora_viz.races.config import RaceConfig


class SettingError(traitlets.TraitError, ValueError):
    """A value that breaks a rule; the trait keeps the value that it had."""


class Steps(int):
    """The number of a panel's steps; calling it makes one more, and then the race pauses."""

    _panel: Any

    def __call__(self) -> None:
        """Run one step and pause; start a race if there is none."""
        self._panel._one_step()


class StepTrait(traitlets.Int):
    """A number of steps, which its panel alone sets; read from a panel it can be called."""

    def __init__(self) -> None:
        super().__init__(0, read_only=True)
        self.tag(sync=True, to_json=lambda value, _: int(value))

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        """Return the trait itself, or a panel's number of steps."""
        value: Any = super().__get__(obj, cls)
        if obj is None:
            return value
        steps = Steps(value)
        steps._panel = obj
        return steps


class ConfigTrait(traitlets.TraitType[RaceConfig, RaceConfig]):
    """A set-up: a `RaceConfig` in Python, its JSON form in a browser and in links."""

    info_text = "a RaceConfig, or its JSON form"

    def __init__(self) -> None:
        super().__init__(RaceConfig())
        self.tag(sync=True, to_json=_to_json, from_json=lambda value, _: value)

    def validate(self, obj: Any, value: Any) -> RaceConfig:
        """Return the set-up; settings that a JSON form leaves out stay as they are.

        Raises
        ------
        SettingError : it is no set-up, or an invalid one.
        """
        if isinstance(value, RaceConfig):
            return value
        if not isinstance(value, Mapping):
            raise SettingError(f"expected a RaceConfig or its JSON form, not {described(value)}")
        now = obj._trait_values.get(self.name) or RaceConfig()
        before = _to_json(now, obj)
        for setting in value:
            if setting not in before:
                raise SettingError(unknown("setting", str(setting), before))
        if before | dict(value) == before:
            return now
        try:
            return RaceConfig.from_json(before | dict(value))
        except ValueError as error:
            raise SettingError(str(error)) from None
        except (TypeError, KeyError) as error:
            raise SettingError(f"this is no set-up of a race: {error}") from None


def _to_json(config: RaceConfig, _: Any) -> dict[str, Any]:
    """Return the JSON form; a schedule that is a function is named, which no other panel reads."""
    try:
        return config.to_json()
    except ValueError:
        return asdict(config) | {"schedule": getattr(config.schedule, "__name__", "function")}
