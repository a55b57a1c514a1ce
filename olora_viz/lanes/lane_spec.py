"""How a lane is written, as in ``olora:lr=3e-3,r=8,seed=0-2``, and read."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

from olora_viz.lanes.alpha import ALPHA_FORM, read_alpha, split_alphas
from olora_viz.lanes.lane import (
    FAIR,
    MAX_LABEL,
    MAX_LANES,
    NAMES_ELSEWHERE,
    Lane,
    label_number,
    label_word,
    read_count,
    runs_of_seeds,
)
from olora_viz.lanes.recipes import RECIPE_NAME, recipe_of
from olora_viz.machine.checks import read_flag, unknown


def read_warmup(text: str) -> int | float:
    """Read steps, or a share of all steps, which has a point.

    >>> read_warmup("5"), read_warmup("0.1")
    (5, 0.1)
    """
    return float(text) if "." in text else int(text)


def write_lanes(lanes: Sequence[Lane]) -> list[str]:
    """Write lanes in the form of `parse_lanes`; neighbours that differ only in the seed are one.

    >>> write_lanes(parse_lanes("olora:lr=1e-3/3e-3,seed=0-2"))
    ['olora:lr=1e-3,r=8,seed=0-2', 'olora:lr=3e-3,r=8,seed=0-2']
    """
    specs = []
    for group in runs_of_seeds(lanes):
        spec = write_lane(replace(group[0], seed=0))
        seeds = write_seeds([lane.seed for lane in group])
        specs.append(write_lane(group[0]) if len(group) == 1 else f"{spec},seed={seeds}")
    return specs


def parse_lanes(spec: str | Mapping[str, Any], **instead: Any) -> list[Lane]:
    """Read ``NAME[:key=value,…]``; a value may be a list ``a/b/c``, and lists multiply.

    Seeds may also be a range, ``seed=0-4``; a number after a multiple of r divides it, as in ``alpha=r/4``.
    ``recipe:NAME[,key=value,…]`` is a lane with a toolkit's defaults, see `RECIPES`, but for the values that follow.

    Args:
        spec: an initialization's name, then fields of `Lane` such as ``lr``, ``r`` and ``seed``. Or a table, as in a
            set-up's file: the name as ``init``, and these fields, of which each but ``targets`` may be a list.
        instead: values of the keys that the SPEC leaves out, in place of their defaults.

    Raises:
        ValueError: a key is unknown, given twice or without a value; a value cannot be read or breaks a rule of
            `Lane`; the lists make more than `MAX_LANES` lanes.

    Examples:
        >>> import olora_viz as ov
        >>> ov.parse_lanes("olora:lr=3e-4/1e-3,r=4")
        [Lane('olora', lr=0.0003, r=4), Lane('olora', r=4)]
        >>> ov.parse_lanes("olora:lr=fair")[0].fair
        True
        >>> len(ov.parse_lanes({"init": "lora", "lr": [1e-3, 3e-3], "seed": [0, 1, 2]}))
        6
        >>> ov.parse_lanes("recipe:peft,lr=1e-4")[0].label
        'peft@lr=1e-4'
    """
    if isinstance(spec, str):
        choices, where = _choices_of_text(spec), repr(spec)
    elif isinstance(spec, Mapping):
        choices, where = _choices_of_table(spec), "its table"
    else:
        raise ValueError(f"a lane is a SPEC such as 'olora:lr=3e-3', or a table: {spec!r}")
    count = math.prod(map(len, choices.values()))
    if count > MAX_LANES:
        raise ValueError(f"{where} makes {count} lanes; a race takes at most {MAX_LANES}")
    recipe = recipe_of(choices["init"][0])
    lanes = []
    for values in itertools.product(*choices.values()):
        given = dict(zip(choices, values, strict=True))
        settings = instead | given
        if recipe:
            changes = [
                f"{key}={label_word(key, value)}" for key, value in given.items() if key not in ("init", "seed")
            ]
            label = "@".join(filter(None, [recipe.name, "+".join(changes)]))[:MAX_LABEL]
            settings |= {"label": label, **recipe.lane, **given, "init": recipe.init}
        if settings.get("lr") == FAIR:
            del settings["lr"]
            settings["fair"] = True
        lanes.append(Lane(**settings))
    return lanes


def read_lanes(entries: Iterable[Any], **instead: Any) -> tuple[Lane, ...]:
    """Read the lanes of a file: SPECs or tables, see `parse_lanes`.

    Raises:
        ValueError: see `parse_lanes`; it begins with the entry's number.

    >>> [lane.lr for lane in read_lanes(["lora", {"init": "olora", "lr": [1e-3, 3e-3]}])]
    [0.001, 0.001, 0.003]
    """
    lanes: list[Lane] = []
    for number, entry in enumerate(entries, 1):
        try:
            lanes += parse_lanes(entry, **instead)
        except ValueError as error:
            raise ValueError(f"lane {number}: {error}") from None
        if len(lanes) > MAX_LANES:
            raise ValueError(f"lanes makes {len(lanes)} lanes; a race takes at most {MAX_LANES}")
    return tuple(lanes)


def _choices_of_text(spec: str) -> dict[str, list[Any]]:
    """Return the values of each key of a SPEC."""
    name, _, rest = spec.partition(":")
    if f"{name}:" == RECIPE_NAME:
        recipe, _, rest = rest.partition(",")
        name = RECIPE_NAME + recipe
    choices: dict[str, list[Any]] = {"init": [name]}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if not equals and key[:1].isdigit():
            raise ValueError(f"several values of a key are separated by /, not by a comma before {key!r}, in {spec!r}")
        if key not in _READERS:
            raise ValueError(f"{unknown('lane key', key, _READERS, NAMES_ELSEWHERE)} (in {spec!r})")
        if not equals or not text:
            raise ValueError(f"lane key {key!r} needs a value, as in {key}=…, in {spec!r}")
        if key in choices:
            raise ValueError(f"lane key {key!r} is given twice in {spec!r}")
        try:
            choices[key] = [read_key(key, word) for word in split_values(key, text)]
        except ValueError as error:
            raise ValueError(f"{error} (in {spec!r})") from None
    return choices


def split_values(key: str, text: str) -> list[str]:
    """Return the values of a key's list, such as ``1e-3/3e-3`` or ``0-2``, each as text.

    >>> split_values("seed", "0-2"), split_values("alpha", "r/4"), split_values("r", "4/8")
    (['0', '1', '2'], ['r/4'], ['4', '8'])
    """
    if key == "label":
        return [text]
    return {"seed": read_seeds, "alpha": split_alphas}.get(key, lambda text: text.split("/"))(text)


def read_key(key: str, word: str) -> Any:
    """Return the value of a lane's key from text; ValueError if it is of another kind."""
    reader, kind = _READERS[key]
    try:
        return reader(word)
    except (ValueError, KeyError):
        raise ValueError(f"{key} must be {kind}, not {word!r}") from None


def _choices_of_table(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the values of each key of a table."""
    choices = {}
    for key, value in table.items():
        if key not in ("init", *_READERS):
            raise ValueError(unknown("lane key", key, ["init", *_READERS], NAMES_ELSEWHERE))
        if value == []:
            raise ValueError(f"{key} must not be an empty list")
        is_list = isinstance(value, list) and key not in ("init", "targets")
        choices[key] = value if is_list else [value]
    if "init" not in choices:
        raise ValueError("a lane needs the name of its initialization, such as init = 'olora'")
    return choices


def write_lane(lane: Lane) -> str:
    """Write a lane in the form of `parse_lanes`: rate, rank and all non-default values.

    >>> write_lane(Lane("olora", lr=3e-3, alpha=16.0))
    'olora:lr=3e-3,r=8,alpha=16'

    The rate of a fair lane is not written: the race finds it.

    Raises:
        ValueError: for a label with a comma, which separates keys.
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


_READERS: dict[str, tuple[Any, str]] = {
    "lr": (lambda text: FAIR if text == FAIR else float(text), "a positive number, or fair"),
    "r": (int, "a whole number"),
    "alpha": (read_alpha, ALPHA_FORM),
    "seed": (int, "a whole number"),
    "weight_decay": (float, "a number"),
    "clip": (float, "a positive number"),
    "rslora": (read_flag, "true or false"),
    "beta1": (float, "a number"),
    "beta2": (float, "a number"),
    "lora_plus": (float, "a positive number"),
    "dropout": (float, "a number"),
    "targets": (lambda text: tuple(text.split("+")), "names of layers"),
    "schedule": (str, "a word"),
    "warmup": (read_warmup, "a whole number, or a share of all steps such as 0.1"),
    "params": (read_count, "a whole number, such as 200000 or 200k"),
    "dim": (int, "a whole number"),
    "replay": (float, "a number"),
    "replay_from": (str, "a word"),
    "keep_kl": (float, "a number"),
    "beta": (float, "a positive number"),
    "kl": (float, "a number"),
    "advantage": (str, "a word"),
    "opt": (str, "a word"),
    "momentum": (float, "a number"),
    "damping": (float, "a positive number"),
    "start_from": (str, "a word"),
    "iterations": (int, "a whole number"),
    "rank_by": (str, "a word"),
    "dora": (read_flag, "true or false"),
    "label": (str, "a word"),
}


MOST_SEEDS = 1000
"""Maximum number of seeds of one list."""

_RANGE = re.compile(r"\s*(\d{1,12})\s*[-–]\s*(\d{1,12})\s*")


def read_seeds(text: str) -> list[str]:
    """Return the seeds of a list, each as text; what is neither number nor range stays as it is.

    Raises:
        ValueError: a range runs backwards, or the list is too long.

    >>> read_seeds("0-2/7"), read_seeds("1, 7"), read_seeds("x")
    (['0', '1', '2', '7'], ['1', '7'], ['x'])
    """
    seeds: list[str] = []
    for part in re.split("[/,]", text):
        ends = _RANGE.fullmatch(part)
        if ends is None:
            seeds.append(part.strip())
            continue
        first, last = int(ends[1]), int(ends[2])
        if not first <= last < first + MOST_SEEDS:
            raise ValueError(f"seeds {part.strip()!r} must run upwards, over at most {MOST_SEEDS} seeds")
        seeds += map(str, range(first, last + 1))
        if len(seeds) > MOST_SEEDS:
            raise ValueError(f"a list of seeds has more than {MOST_SEEDS} of them, up to {part.strip()!r}")
    return seeds


def write_seeds(seeds: Sequence[int]) -> str:
    """Return a list of seeds in the form of `read_seeds`, as short as it can be.

    >>> write_seeds([0, 1, 2]), write_seeds([4]), write_seeds([0, 1]), write_seeds([3, 5, 9])
    ('0-2', '4', '0/1', '3/5/9')
    """
    rising = all(b == a + 1 for a, b in pairwise(seeds))
    return f"{seeds[0]}-{seeds[-1]}" if rising and len(seeds) > 2 else "/".join(map(str, seeds))
