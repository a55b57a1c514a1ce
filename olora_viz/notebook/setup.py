"""The set-up of a race in a panel."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

import traitlets

from olora_viz.machine.text import described, unknown
from olora_viz.models import MODELS
from olora_viz.notebook import tree
from olora_viz.notebook.tree import lanes_of_all, rows_of
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS

T = TypeVar("T")


class SettingError(traitlets.TraitError, ValueError):
    """A value that breaks a rule; the trait keeps the value that it had."""


def checked(check: Callable[[Any], T], value: Any) -> T:
    """Return a checked value of a trait.

    Raises:
        SettingError: the value breaks a rule.
    """
    try:
        return check(value)
    except ValueError as error:
        raise SettingError(str(error)) from None


def checked_starts(names: Sequence[Any], known: Collection[str]) -> tuple[str, ...]:
    """Return names of initializations.

    Raises:
        SettingError: one is not known.
    """
    for name in names:
        if name not in known:
            raise SettingError(unknown("initialization", str(name), known))
    return tuple(names)


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

        Raises:
            SettingError: it is no set-up, or an invalid one.
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


MEASUREMENTS = 20
"""Approximate number of measurements of spectra and gradients in a race of the default set-up."""

WORDS = ("model", "task")
COUNTS = {"steps": "Steps", "batch_size": "Prompts", "seed": "Seed"}


class PanelSetUp:
    """What the controls show, and the set-up that it means; other settings stay as they are.

    Args:
        config: the set-up to show.
    """

    def __init__(self, config: RaceConfig) -> None:
        self.show(config)

    def show(self, config: RaceConfig) -> None:
        """Show another set-up."""
        self._config = config
        self._typed: dict[str, Any] = {name: getattr(config, name) for name in (*WORDS, *COUNTS)}
        self._typed["lanes"] = rows_of(config.lanes)

    def set(self, name: str, value: Any) -> bool:
        """Take what was typed in a control; return whether there is one of this name."""
        if name not in self._typed:
            return False
        self._typed[name] = value
        return True

    @property
    def config(self) -> RaceConfig:
        """The set-up of the controls.

        Raises:
            ValueError: one sentence with the value and the rule.
        """
        typed = self._typed
        given: dict[str, Any] = {name: str(typed[name]).strip() for name in WORDS}
        given |= {name: _whole(typed[name]) for name in COUNTS}
        return replace(self._config, **given, lanes=lanes_of_all(typed["lanes"]))

    @property
    def values(self) -> dict[str, Any]:
        """What the controls show."""
        shown = {name: {"value": value} for name, value in self._typed.items()}
        # Free text: the path of a model's folder or of a task file works as well.
        for name, known in (("model", MODELS), ("task", TASKS)):
            shown[name]["options"] = tree.named_options(known)
        return shown


def controls(*more: tree.Node) -> tree.Node:
    """Return the controls of a set-up.

    Args:
        more: parts below the lanes.
    """
    counts = [tree.control("field", name, label) for name, label in COUNTS.items()]
    return tree.box(
        tree.card(
            tree.control("field", "model", "Model", "a name, or the path of a folder"),
            tree.control("field", "task", "Task", "a name, or the path of a task file"),
            tree.box(*counts, kind="three"),
        ),
        tree.card(tree.html("lanes-title"), tree.lanes("lanes"), *more, tree.html("lanes-hint")),
        kind="side",
    )


TEXTS = {
    "lanes-title": "<h2>Lanes</h2>",
    "lanes-hint": '<p class="hint">A rate may be a list, <code>1e-3/3e-3</code>, or '
    "<code>fair</code>: that of the first LoRA lane, scaled by the curvature.</p>",
}
"""Texts beside the controls."""


def set_up(config: RaceConfig | None, settings: dict[str, Any]) -> RaceConfig:
    """Return a set-up with some settings replaced; None is that of the page.

    >>> set_up(RaceConfig(seed=3), {"steps": 20})
    RaceConfig(steps=20, seed=3)

    Raises:
        ValueError: a setting is unknown or invalid.
    """
    every = max(1, RaceConfig.steps // MEASUREMENTS)
    config = config or RaceConfig(spectra_every=every, gradients_every=every)
    known = [each.name for each in fields(RaceConfig)]
    for name in settings:
        if name not in known:
            raise ValueError(unknown("setting", name, known))
    return replace(config, **settings)


def _whole(typed: Any) -> Any:
    """Return a whole number that was typed; anything else stays, and the set-up refuses it."""
    is_whole = isinstance(typed, str) and re.fullmatch(r"\s*-?\d{1,12}\s*", typed)
    return int(typed) if is_whole else typed
