"""What panels are made of: the tree of their parts, rows of lanes, and the set-up of a race."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

import traitlets

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.lanes.lane_spec import parse_lanes, write_lanes
from olora_viz.machine.checks import described, expect, unknown
from olora_viz.models import MODELS
from olora_viz.races.config import KEPT, RaceConfig, automatic_interval, setting_text
from olora_viz.races.fields import FIELDS, RaceField
from olora_viz.tasks import TASKS

Node = dict[str, Any]


def box(*items: Node, kind: str = "") -> Node:
    """Return a group of parts; `kind` is its class in notebook.css."""
    return {"kind": "box", "class": kind, "items": list(items)}


def card(*items: Node, kind: str = "") -> Node:
    """Return a group with a border around it."""
    return box(*items, kind=f"card {kind}".strip())


def html(name: str, kind: str = "") -> Node:
    """Return a fragment of HTML."""
    return {"kind": "html", "name": name, "class": kind}


def code(name: str, label: str) -> Node:
    """Return code with a button that copies it."""
    return {"kind": "code", "name": name, "label": label}


def charts(name: str, kind: str = "") -> Node:
    """Return charts side by side."""
    return {"kind": "charts", "name": name, "class": kind}


def section(name: str, title: str, *items: Node) -> Node:
    """Return a part that the reader opens."""
    return {"kind": "section", "name": name, "title": title, "items": list(items)}


def button(name: str, label: str, title: str = "", kind: str = "") -> Node:
    """Return a button."""
    return {"kind": "button", "name": name, "label": label, "title": title, "class": kind}


def control(kind: str, name: str, label: str, title: str = "", **more: Any) -> Node:
    """Return a control: a field, a select, a range or checks."""
    return {"kind": kind, "name": name, "label": label, "title": title, **more}


def bar(*buttons: Node) -> Node:
    """Return the buttons of a panel, and beside them the line that says how far it is."""
    return box(*buttons, html("status", kind="grow"), kind="bar")


def named_options(names: Iterable[str]) -> list[list[str]]:
    """Return the options of a menu whose words are the values."""
    return [[name] * 2 for name in names]


def start_options(names: Iterable[str]) -> list[list[str]]:
    """Return initializations as options: label, name and meaning."""
    return [[label_of(name), name, INITIALIZERS[name].summary] for name in names]


def lanes(name: str) -> Node:
    """Return the table of lanes, with every initialization in one line."""
    return {
        "kind": "lanes", "name": name, "most": MAX_LANES,
        "blank": rows_of([Lane("olora")])[0],
        "starts": {init: label_of(init) for init in INITIALIZERS},
        "meanings": {init: entry.summary for init, entry in INITIALIZERS.items()},
    }  # fmt: skip


NUMBER_COLUMNS = ("r", "alpha", "lr", "seed")


def rows_of(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    """Return a row for each lane; neighbours that differ only in their seed share one.

    >>> rows_of([Lane("olora", lr=3e-3, seed=s, clip=1.0) for s in range(3)])
    [{'init': 'olora', 'r': '8', 'alpha': '', 'lr': '3e-3', 'seed': '0-2', 'rest': 'clip=1'}]

    Raises:
        ValueError: a label has a comma.
    """
    return [_row(spec) for spec in write_lanes(lanes)]


def lanes_of(row: Any) -> list[Lane]:
    """Return the lanes of a row: one for each of its seeds and listed values; ValueError if one breaks a rule."""
    if not isinstance(row, dict):
        raise ValueError("a lane is a row with init, r, alpha, lr and seed")
    cells = {key: str(row.get(key, "")).strip() for key in ("init", *NUMBER_COLUMNS, "rest")}
    wanted = {key: cells[key] for key in NUMBER_COLUMNS if cells[key] or key in ("r", "lr")}
    parts = [f"{key}={word}" for key, word in wanted.items()]
    return parse_lanes(f"{cells['init']}:{','.join([*parts, *filter(None, [cells['rest']])])}")


def lanes_or_problems(rows: Any) -> list[list[Lane] | str]:
    """Return the lanes of every row, or the sentence on what is wrong with it."""
    results: list[list[Lane] | str] = []
    for row in rows if isinstance(rows, list) else ():
        try:
            results.append(lanes_of(row))
        except ValueError as error:
            results.append(str(error))
    return results


def _row(spec: str) -> dict[str, Any]:
    init, _, rest = spec.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(","))
    row = {"init": init, **{key: given.pop(key, "") for key in NUMBER_COLUMNS}}
    row["seed"] = row["seed"] or "0"
    return row | {"rest": ",".join(f"{key}={word}" for key, word in given.items())}


T = TypeVar("T")


class SettingError(traitlets.TraitError, ValueError):
    """A value that breaks a rule; the trait keeps the value that it had."""


def checked(check: Callable[[Any], T], value: Any) -> T:
    """Return a checked value of a trait; SettingError if it breaks a rule."""
    try:
        return check(value)
    except ValueError as error:
        raise SettingError(str(error)) from None


def checked_starts(names: Sequence[Any], known: Collection[str] = INITIALIZERS) -> tuple[str, ...]:
    """Return names of initializations; SettingError if one is not known."""
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
    """A set-up: a `RaceConfig` in Python, its JSON form in a browser and in links; lanes may be those of a command."""

    def __init__(self) -> None:
        super().__init__(RaceConfig())
        self.tag(sync=True, to_json=_to_json, from_json=lambda value, _: value)

    def validate(self, obj: Any, value: Any) -> RaceConfig:
        """Return the set-up, in which settings that a JSON form leaves out stay; SettingError if it is none."""
        if isinstance(value, RaceConfig):
            return value
        if not isinstance(value, Mapping):
            raise SettingError(f"expected a RaceConfig or its JSON form, not {described(value)}")
        now = obj._trait_values.get(self.name) or RaceConfig()
        before = _to_json(now, obj)
        for setting in value:
            if setting not in before:
                raise SettingError(unknown("setting", str(setting), before))
        if isinstance(specs := value.get("lanes"), str):
            value = {**value, "lanes": [asdict(lane) for spec in specs.split() for lane in checked(parse_lanes, spec)]}
        if before | dict(value) == before:
            return now
        try:
            config = RaceConfig.from_json(before | dict(value))
        except ValueError as error:
            raise SettingError(str(error)) from None
        except (TypeError, KeyError) as error:
            raise SettingError(f"this is no set-up of a race: {error}") from None
        return replace(config, metric=now.metric) if config.metric == before["metric"] else config


def _to_json(config: RaceConfig, _: Any) -> dict[str, Any]:
    """Return the JSON form; a schedule that is a function is named, which no other panel reads."""
    try:
        return config.to_json()
    except ValueError:
        return replace(config, schedule="constant").to_json() | {"schedule": setting_text(config.schedule)}


FREE_TEXT: Mapping[str, Collection[str]] = {"model": MODELS, "task": TASKS}
"""The fields with free text, and known names: the path of a model's folder or of a task file works as well."""

FREE_CHOICES = {**FREE_TEXT, "keep": (*KEPT, *TASKS)}
"""Those of a race."""

COUNTS = {"steps": "Steps", "batch_size": "Prompts", "seed": "Seed"}

MORE_FIELDS = tuple(each for each in FIELDS if each.name not in {"weight_decay", "clip", "keep"})
"""More settings, as on the page; weight decay and clipping are those of a lane, and the text to keep has its field."""


def more_settings() -> Node:
    """Return the section of more settings."""
    return section("more", "More settings", *(
        control("select" if each.choices else "field", each.name, each.label, each.meaning) for each in MORE_FIELDS
    ))  # fmt: skip


class PanelSetUp:
    """What the controls show, and the set-up that it means; other settings stay as they are."""

    def __init__(self, config: RaceConfig) -> None:
        self.show(config)

    def show(self, config: RaceConfig) -> None:
        """Show another set-up."""
        self._config = config
        self._typed: dict[str, Any] = {name: getattr(config, name) for name in (*FREE_CHOICES, *COUNTS)}
        self._typed["lanes"] = rows_of(config.lanes)
        self._more = {each.name: setting_text(getattr(config, each.name)) for each in MORE_FIELDS}
        self._typed |= self._more

    def set(self, name: str, value: Any) -> bool:
        """Take what was typed in a control; return whether there is one of this name."""
        if name not in self._typed:
            return False
        self._typed[name] = value
        return True

    @property
    def config(self) -> RaceConfig:
        """The set-up of the controls; ValueError if a value breaks a rule."""
        typed = self._typed
        given: dict[str, Any] = {name: str(typed[name]).strip() for name in FREE_CHOICES}
        given |= {name: _whole(typed[name]) for name in COUNTS}
        changed = (each for each in MORE_FIELDS if typed[each.name] != self._more[each.name])
        given |= {each.name: _as_meant(each, typed[each.name]) for each in changed}
        if given.get("eval_every", 0) is None:
            given["eval_every"] = automatic_interval(given["steps"]) if isinstance(given["steps"], int) else 1
        return replace(self._config, **given, lanes=tuple(lane for row in typed["lanes"] for lane in lanes_of(row)))

    @property
    def values(self) -> dict[str, Any]:
        """What the controls show."""
        shown = {name: {"value": value} for name, value in self._typed.items()}
        for name, known in FREE_CHOICES.items():
            shown[name]["options"] = named_options(known)
        for each in MORE_FIELDS:
            # Beside the choices, what the set-up has already: a function, or number:0.01.
            known = dict.fromkeys([*each.choices, self._more[each.name]] if each.choices else [])
            shown[each.name]["options"] = [[each.choices.get(value, value), value] for value in known]
        return shown


KEEP_CONTROL = control(
    "field", "keep", "Text to keep", "auto, none, the path of a text or task file, or the name of a task"
)


def controls(*more: Node, data: Sequence[Node] = ()) -> Node:
    """Return the controls of a set-up, with more parts below the lanes, and of what the race reads."""
    counts = [control("field", name, label) for name, label in COUNTS.items()]
    return box(
        card(
            control("field", "model", "Model", "a name, or the path of a folder"),
            control("field", "task", "Task", "a name, or the path of a task file"),
            box(*counts, kind="three"),
            *data,
        ),
        card(html("lanes-title"), lanes("lanes"), *more, html("lanes-hint")),
        kind="side",
    )


SETUP_TEXTS = {
    "lanes-title": "<h2>Lanes</h2>",
    "lanes-hint": '<p class="hint">A rate may be a list, <code>1e-3/3e-3</code>, or '
    "<code>fair</code>: that of the first LoRA lane, scaled by the curvature.</p>",
}


OF_SETUP = "a RaceConfig, such as ov.RaceConfig(lanes=(ov.Lane('lora'), ov.Lane('olora')))"
"""What the panels of a set-up take first."""


def set_up(config: RaceConfig | None, settings: dict[str, Any]) -> RaceConfig:
    """Return a set-up with some settings replaced; None is that of the page.

    >>> set_up(RaceConfig(seed=3), {"steps": 20})
    RaceConfig(steps=20, seed=3)

    Raises:
        ValueError: it is no set-up, or a setting is unknown or invalid.
    """
    if config is not None:
        expect(config, RaceConfig, OF_SETUP)
    every = max(1, RaceConfig.steps // 20)  # about 20 measurements in a race of the default set-up
    config = config or RaceConfig(spectra_every=every, gradients_every=every, factors_every=every)
    known = [each.name for each in fields(RaceConfig)]
    for name in settings:
        if name not in known:
            raise ValueError(unknown("setting", name, known))
    return replace(config, **settings)


def _as_meant(field: RaceField, typed: Any) -> Any:
    """Return a setting that was typed; what the set-up does not take, it refuses."""
    text = str(typed).strip()
    if field.kind is tuple:
        return tuple(part for part in re.split(r"[\s,]+", text) if part) or None
    if field.kind is bool:
        return text == "1"
    if not text:
        return None if field.name in ("eval_every", "rows") else 0
    return text if field.kind is str else _whole(text)


def _whole(typed: Any) -> Any:
    """Return a whole number that was typed; anything else stays, and the set-up refuses it."""
    is_whole = isinstance(typed, str) and re.fullmatch(r"\s*-?\d{1,12}\s*", typed)
    return int(typed) if is_whole else typed
