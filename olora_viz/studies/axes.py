"""What a study may cross or tune: settings of a race or of its lanes, by name, and how their values are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_type_hints

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import read_key, split_values
from olora_viz.machine.checks import read_flag, unknown
from olora_viz.races.config import RaceConfig

REPEATED = frozenset({"seed", "seeds", "split_seed"})
"""What is repeated, and neither crossed nor tuned: a method is judged over all seeds."""

_OF_LANE = tuple(each.name for each in fields(Lane) if each.name not in {"init", "label", "fair", "seed", "params"})

_OF_RACE = tuple(
    each.name
    for each in fields(RaceConfig)
    if each.name not in {"lanes", "batches", "device", "forget", *_OF_LANE, *REPEATED}
)

OF_LANE = frozenset(_OF_LANE)
"""The settings of a lane."""

AXES = (*_OF_RACE, *_OF_LANE)
"""All settings that a study may vary, by their names in `RaceConfig` and `Lane`."""

SHORT_FORMS: dict[str, type] = {"model": str, "task": str, "r": int, "lr": float, "alpha": object}
"""Settings that may stand as lists beside a study's own, on the command line and in a file, and their types there."""

PATHS = frozenset({"model", "task", "test", "keep"})
"""Settings whose values may be paths, which have slashes: commas separate them."""


@cache
def _kind(name: str) -> type:
    """Return the type of a setting."""
    hint = _hint(name)
    return next((kind for kind in (hint, *get_args(hint)) if kind in (bool, int, float, str)), str)


@cache
def _hint(name: str) -> Any:
    return get_type_hints(Lane if name in OF_LANE else RaceConfig)[name]


def read_values(name: str, text: str) -> tuple[Any, ...]:
    """Return the values of a setting from a list in text.

    Raises:
        ValueError: an unknown setting, or a value of another kind.

    >>> read_values("lr", "1e-3/3e-3"), read_values("batch-size", "8/32"), read_values("task", "roman,addition")
    ((0.001, 0.003), (8, 32), ('roman', 'addition'))
    >>> read_values("r", "8,16"), read_values("alpha", "16/2r"), read_values("alpha", "r/4")
    ((8, 16), (16.0, '2r'), ('r/4',))
    """
    name = checked_name(name)
    by_commas = name in PATHS or "," in text or (name not in OF_LANE and "/" not in text)
    words = text.split(",") if by_commas else split_values(name, text) if name in OF_LANE else text.split("/")
    return tuple(_read(name, word.strip()) for word in words)


def checked_name(name: str) -> str:
    """Return the name of a setting as Python has it; ValueError if a study cannot vary it.

    >>> checked_name("batch-size")
    'batch_size'
    """
    plain = name.replace("-", "_")
    if plain in REPEATED:
        raise ValueError(f"a study neither crosses nor tunes {name}: seeds repeat, see --seeds")
    if plain not in AXES:
        raise ValueError(unknown("setting of a study", plain, AXES))
    return plain


def _read(name: str, word: str) -> Any:
    if word.lower() == "none" and type(None) in get_args(_hint(name)):
        return None
    if name in OF_LANE:
        return read_key(name, word)
    kind = _kind(name)
    try:
        return read_flag(word) if kind is bool else kind(word)
    except (KeyError, ValueError):
        kinds = {int: "a whole number", float: "a number", bool: "true or false"}
        raise ValueError(f"{name} must be {kinds[kind]}, not {word!r}") from None


def read_axes(what: str, given: Any) -> dict[str, tuple[Any, ...]]:
    """Return what is crossed or tuned, checked: the values of each setting.

    Args:
        what: ``across`` or ``tune``, for messages.
        given: the values by name; a single one may stand alone. Those of a lane may be written as in a SPEC.

    Raises:
        ValueError: an unknown setting, no values, or one of them twice.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a table of settings and their values, not {given!r}")
    axes = {}
    for key, values in given.items():
        name = checked_name(str(key))
        alone = isinstance(values, str) or not isinstance(values, Iterable)
        listed = tuple(_value(name, value) for value in ((values,) if alone else values))
        if not listed:
            raise ValueError(f"{name} must not be an empty list")
        if twice := [value for value in listed if listed.count(value) > 1]:
            raise ValueError(f"{name} names {twice[0]!r} twice")
        axes[name] = tuple(sorted(listed)) if name == "lr" and all(map(_is_number, listed)) else listed
    return axes


def _value(name: str, value: Any) -> Any:
    if isinstance(value, str) and (name in OF_LANE or _kind(name) is not str):
        return _read(name, value)
    if name in OF_LANE and _kind(name) is float and _is_number(value):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_words(name: str, value: Any) -> str:
    """Return a value of a setting in words, with its name.

    >>> in_words("r", 8), in_words("batch_size", 32), in_words("targets", ("q_proj", "v_proj")), in_words("rows", None)
    ('rank 8', 'batch size 32', 'targets q_proj+v_proj', 'all rows')
    """
    if name == "rows" and value is None:
        return "all rows"
    words = {"r": "rank", "lr": "rate"}.get(name, name.replace("_", " "))
    return f"{words} {plain(value)}"


def for_json(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return settings as plain values; a list as its text."""
    return {name: plain(value) if isinstance(value, tuple) else value for name, value in settings}


def plain(value: Any) -> str:
    """Return a value as it is written.

    >>> plain(("q_proj", "v_proj")), plain(0.003), plain(True), plain(None)
    ('q_proj+v_proj', '0.003', 'true', 'none')
    """
    if isinstance(value, tuple):
        return "+".join(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
