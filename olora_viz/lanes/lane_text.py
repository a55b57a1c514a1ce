"""A lane as a text, such as ``olora:lr=3e-3,r=8``: the form of the command line and of links."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from olora_viz.lanes.lane import FAIR, MAX_LANES, Lane, label_number
from olora_viz.lanes.seeds import read_seeds
from olora_viz.machine.naming import unknown


def parse_lanes(spec: str, **instead: Any) -> list[Lane]:
    """Read ``NAME[:key=value,…]``; a value may be a list ``a/b/c``, and lists multiply.

    Seeds may also be a range: ``seed=0-4``.

    Parameters
    ----------
    spec : an initialization's name, then fields of `Lane` such as ``lr``, ``r`` and ``seed``.
    instead : values of the keys that the SPEC leaves out, in place of their defaults.

    Raises
    ------
    ValueError : a key is unknown, given twice or without a value; a value cannot be read or breaks
        a rule of `Lane`; the lists make more than `MAX_LANES` lanes.

    >>> [lane.lr for lane in parse_lanes("olora:lr=3e-4/1e-3,r=4")]
    [0.0003, 0.001]
    >>> parse_lanes("olora:lr=fair")[0].fair
    True
    """
    name, _, rest = spec.partition(":")
    choices: dict[str, list[Any]] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if key not in _READERS:
            raise ValueError(f"{_unknown_key(key, *_READERS)} (in {spec!r})")
        if not equals or not text:
            raise ValueError(f"lane key {key!r} needs a value, as in {key}=…, in {spec!r}")
        if key in choices:
            raise ValueError(f"lane key {key!r} is given twice in {spec!r}")
        values = _listed(key, text)
        choices[key] = [_read(key, value, spec) for value in values]
    return _product(name, choices, instead, repr(spec))


def read_lanes(entries: Iterable[Any], **instead: Any) -> tuple[Lane, ...]:
    """Read the lanes of a file: each entry is a SPEC, or a table with ``init`` and a SPEC's keys.

    A list in a table multiplies as in a SPEC.

    Parameters
    ----------
    instead : see `parse_lanes`.

    Raises
    ------
    ValueError : an entry is neither, or see `parse_lanes`; it begins with the entry's number.

    >>> [lane.lr for lane in read_lanes(["lora", {"init": "olora", "lr": [1e-3, 3e-3]}])]
    [0.001, 0.001, 0.003]
    """
    lanes: list[Lane] = []
    for number, entry in enumerate(entries, 1):
        try:
            if isinstance(entry, str):
                lanes += parse_lanes(entry, **instead)
            elif isinstance(entry, Mapping):
                lanes += _of_table(entry, instead)
            else:
                raise ValueError(f"a lane is a SPEC such as 'olora:lr=3e-3', or a table: {entry!r}")
        except ValueError as error:
            raise ValueError(f"lane {number}: {error}") from None
        if len(lanes) > MAX_LANES:
            raise ValueError(f"lanes makes {len(lanes)} lanes; a race takes at most {MAX_LANES}")
    return tuple(lanes)


def _of_table(table: Mapping[str, Any], instead: Mapping[str, Any]) -> list[Lane]:
    choices = {}
    for key, value in table.items():
        if key not in ("init", *_READERS):
            raise ValueError(_unknown_key(key, "init", *_READERS))
        if value == []:
            raise ValueError(f"{key} must not be an empty list")
        is_list = isinstance(value, list) and key not in ("init", "targets")
        choices[key] = value if is_list else [value]
    if "init" not in choices:
        raise ValueError("a lane needs the name of its initialization, such as init = 'olora'")
    return _product(choices.pop("init")[0], choices, instead, "its table")


def _product(
    name: str, choices: Mapping[str, list[Any]], instead: Mapping[str, Any], where: str
) -> list[Lane]:
    """Return one lane for each combination of values."""
    count = math.prod(len(values) for values in choices.values())
    if count > MAX_LANES:
        raise ValueError(f"{where} makes {count} lanes; a race takes at most {MAX_LANES}")
    return [
        Lane(name, **{**instead, **_fields(dict(zip(choices, values, strict=True)))})
        for values in itertools.product(*choices.values())
    ]


def _listed(key: str, text: str) -> list[str]:
    if key == "seed":
        return read_seeds(text)
    return [text] if key == "label" else text.split("/")


def write_lane(lane: Lane) -> str:
    """Write a lane in the form of `parse_lanes`: rate, rank and all non-default values.

    >>> write_lane(Lane("olora", lr=3e-3, alpha=16.0))
    'olora:lr=3e-3,r=8,alpha=16'

    The rate of a fair lane is not written: the race finds it.

    Raises
    ------
    ValueError
        For a label with a comma, which separates keys.
    """
    if lane.label is not None and "," in lane.label:
        raise ValueError(f"label {lane.label!r} has a comma, which separates keys in a lane SPEC")
    words = {"lr": FAIR if lane.fair else _exact(lane.lr), "r": str(lane.r)}
    for field in fields(Lane):
        value = getattr(lane, field.name)
        if field.name in _READERS and field.name not in words and value != field.default:
            words[field.name] = _exact(value)
    return f"{lane.init}:{','.join(f'{key}={word}' for key, word in words.items())}"


def _exact(value: Any) -> str:
    """Return the shortest text that reads back as the same value."""
    if isinstance(value, tuple):
        return "+".join(value)
    if not isinstance(value, float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    short = label_number(value)
    return short if float(short) == value else repr(value)


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    """Return a lane's fields; the rate ``fair`` sets the field `fair`."""
    if values.get("lr") != FAIR:
        return values
    return {key: value for key, value in values.items() if key != "lr"} | {"fair": True}


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.lower()
    ]


_READERS: dict[str, tuple[Any, str]] = {
    "lr": (lambda text: FAIR if text == FAIR else float(text), "a positive number, or fair"),
    "r": (int, "a whole number"),
    "alpha": (float, "a positive number"),
    "seed": (int, "a whole number"),
    "weight_decay": (float, "a number"),
    "clip": (float, "a positive number"),
    "rslora": (_flag, "true or false"),
    "beta1": (float, "a number"),
    "beta2": (float, "a number"),
    "lora_plus": (float, "a positive number"),
    "dropout": (float, "a number"),
    "targets": (lambda text: tuple(text.split("+")), "names of layers"),
    "label": (str, "a word"),
}


_ELSEWHERE = {"rank": "r", "learning_rate": "lr", "target_modules": "targets"}
"""Keys by their names in other libraries, where those are not similar."""


def _unknown_key(key: str, *known: str) -> str:
    if key in _ELSEWHERE:
        return f"unknown lane key {key!r}; did you mean {_ELSEWHERE[key]!r}?"
    return unknown("lane key", key, known)


def _read(key: str, text: str, spec: str) -> Any:
    reader, kind = _READERS[key]
    try:
        return reader(text)
    except (ValueError, KeyError):
        raise ValueError(f"{key} must be {kind}, not {text!r} (in {spec!r})") from None
