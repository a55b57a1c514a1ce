"""Set-ups in TOML: their values are checked by kind, and every complaint names the line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from olora_viz.machine.checks import unknown
from olora_viz.machine.files import check_format

LARGEST_FILE = 1_000_000
"""The largest file that is read: a set-up has a few lines."""


class KeyKind(NamedTuple):
    """What the value of a key must be."""

    of: type
    """``str``, ``int``, ``float``, ``bool``, or ``object`` for what is checked elsewhere."""
    is_list: bool = False
    """Whether it is a list of them, of which a single one may stand alone."""


_WORDS: dict[type, tuple[str, str]] = {
    str: ("a string", "strings"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
}
"""A kind in words, and a list of it."""


def kinds_of(cls: type) -> dict[str, KeyKind]:
    """Return the kinds of a dataclass's fields, by name; None is no value of TOML."""
    return {name: _kind(hint) for name, hint in get_type_hints(cls).items()}


def _kind(hint: Any) -> KeyKind:
    if get_origin(hint) is Mapping:
        return KeyKind(object)
    for option in (hint, *get_args(hint)):
        if get_origin(option) is tuple:
            entry = get_args(option)[0]
            return KeyKind(entry if entry in _WORDS else object, is_list=True)
        if option in _WORDS:
            return KeyKind(option)
    return KeyKind(object)


@dataclass(frozen=True)
class TomlSetup:
    """The values of a set-up in TOML, and where they stand."""

    values: dict[str, Any]
    """By key; a list is a tuple."""
    text: str
    name: str
    """Of the file, for messages."""

    @classmethod
    def read(cls, path: Path, kinds: Mapping[str, KeyKind], **meant: str) -> TomlSetup:
        """Read a file, given the kinds of the keys that it may have.

        Args:
            meant: keys by what else they may be called.

        Raises:
            ValueError: it is no TOML, sets nothing, or has an unknown key or a value of another kind.
            OSError: it cannot be read.
        """
        name = repr(str(path))
        if path.is_dir():
            raise ValueError(f"{name} is a folder, not a set-up in TOML")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"{name} has more than {LARGEST_FILE // 1_000_000} MB: it is no set-up")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not TOML: it is not UTF-8 text") from None
        return cls.parse(text, kinds, name, **meant)

    @classmethod
    def parse(cls, text: str, kinds: Mapping[str, KeyKind], name: str, **meant: str) -> TomlSetup:
        """Read a text; see `read`."""
        try:
            values = tomllib.loads(text)
        except RecursionError:
            raise ValueError(f"{name} is not TOML: it is nested too deeply") from None
        except ValueError as error:
            end = f"at the end, line {len(text.splitlines())}"
            why = str(error).replace("at end of document", end)
            raise ValueError(f"{name} is not TOML: {why}") from None
        check_format(values, name)
        if not values:
            raise ValueError(f"{name} sets nothing: its keys can be {', '.join(kinds)}")
        setup = cls({}, text, name)
        for key, value in values.items():
            if key not in kinds:
                raise ValueError(f"{setup.line(key)}: {unknown('setting', key, kinds, meant)}")
            try:
                setup.values[key] = _of_kind(key, value, kinds[key])
            except ValueError as error:
                raise ValueError(f"{setup.line(key)}: {error}") from None
        return setup

    def line(self, key: str, number: int = 1) -> str:
        """Return where a key is set, ``line 3 of 'file'``; of several tables the one with this number, from 1."""
        setting = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]|\s*\[+\s*{re.escape(key)}\b")
        lines = [at for at, line in enumerate(self.text.split("\n"), 1) if setting.match(line)]
        return f"line {lines[min(number, len(lines)) - 1] if lines else 1} of {self.name}"

    @contextmanager
    def naming_lines(self, instead: Collection[str] = ()) -> Generator[None]:
        """Name the line, or else the file, in errors about the values, but for the settings in `instead`."""
        try:
            yield
        except ValueError as error:
            about = re.match(r"(?:unknown )?(\w+)(?: (\d+):)?", str(error))
            key, number = (about[1], int(about[2] or 1)) if about else ("", 1)
            key = "lanes" if key == "lane" else key
            tables = [value for value in self.values.values() if isinstance(value, dict)]
            if key not in instead and any(key in values for values in (self.values, *tables)):
                raise ValueError(f"{self.line(key, number)}: {error}") from None
            if not instead:
                raise ValueError(f"{self.name}: {error}") from None
            raise


def _of_kind(key: str, value: Any, kind: KeyKind) -> Any:
    """Return a value of TOML as a set-up has it; ValueError if it is of another kind."""
    if not kind.is_list:
        if not _fits(value, kind.of):
            raise ValueError(f"{key} must be {_WORDS[kind.of][0]}, not {_shown(value)}")
        return float(value) if kind.of is float else value
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not _fits(entry, kind.of):
            raise ValueError(f"{key} must be a list of {_WORDS[kind.of][1]}, not {_shown(entry)}")
    return tuple(float(entry) if kind.of is float else entry for entry in entries)


def _fits(value: Any, kind: type) -> bool:
    if kind is object:
        return True
    if kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and not (isinstance(value, int) and value.bit_length() > 1000)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _shown(value: Any) -> str:
    """Return a value about as TOML writes it, short enough for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
