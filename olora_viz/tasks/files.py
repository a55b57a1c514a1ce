"""The user's own examples from a JSON list, JSON lines or CSV, with errors by line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from olora_viz.tasks.rows import CHAT, example_of, fields_of
from olora_viz.tasks.split import Split, by_content
from olora_viz.tasks.task import Example, Task

MAX_BYTES = 64 * 2**20
"""Maximum size of a file in bytes: 64 MiB, enough for Alpaca."""

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_KINDS: dict[type, str] = {
    dict: "an object", str: "a text", int: "a number", float: "a number", type(None): "null",
}  # fmt: skip


def load_file(name: str, seed: int = 0, split: Split = by_content) -> Task:
    """Read the user's examples, and set aside a tenth as held out and a tenth for the test.

    The split depends on the prompts alone, not on the name of the file or on other rows.

    Parameters
    ----------
    name : path of the file, see `read_examples`
    seed, split : determine which prompts are in which part

    Returns
    -------
    Task, whose answers end with the end-of-text token

    Raises
    ------
    ValueError
        One sentence that names the file, the line and the rule.
    """
    path = Path(name).expanduser()
    examples = read_examples(path)
    if len(examples) < 2:
        raise ValueError(f"{path} has too few examples, {len(examples)}: at least two are needed")
    if len({example.prompt for example in examples}) < 2:
        raise ValueError(f"{path} has the same prompt on every line: none can be held out")
    train, held_out, test = split(examples, path.name, None, seed)
    summary = f"{len(examples):,} examples from {path.name}."
    return Task(path.name, summary, train, held_out, ends=True, test=test)


def read_examples(path: Path) -> list[Example]:
    """Read the user's examples.

    The extension decides the format: `.json` (a list of objects), `.jsonl` (one object per line) or
    `.csv` (a header, then rows; choices are separated by `|`). The fields are those of
    `example_of`; chat messages are lists, which a CSV cannot hold. The file is UTF-8, with or
    without a byte order mark.

    Raises
    ------
    ValueError
        One sentence that names the file, the line and the rule.
    """
    text = _read(path)
    return [
        example_of(row, f"line {line} of {path}", line)
        for line, row in _READERS[path.suffix.lower()](text, path)
    ]


def _read(path: Path) -> str:
    """Read a file, or raise with the reason."""
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; a task is a file: {_endings()}")
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        if not path.is_file():
            raise ValueError(f"{path} is not a readable file")
        if path.suffix.lower() not in _READERS:
            raise ValueError(f"{path} ends in {path.suffix!r}, not in one of {_endings()}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path} is too large: {size:,} bytes, at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} of {path} is not UTF-8 text") from error
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Read a list of objects one by one, with the line number of each."""
    at, line = _skip(text, 0), 1
    if text[at] != "[":
        value, _ = _value(text, at, path)
        hint = " (for one object per line, use a .jsonl file)" if isinstance(value, dict) else ""
        raise ValueError(f"{path} holds {_kind(value)}, not a list of objects{hint}")
    at, counted = _skip(text, at + 1), 0
    closed = text[at : at + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, at), at
        value, at = _value(text, at, path)
        yield line, _object(value, line, path)
        at = _skip(text, at)
        mark = text[at : at + 1]
        closed = mark == "]"
        if not closed:
            if mark != ",":
                raise _broken(path, text.count("\n", 0, at) + 1, "expected a comma or ]")
            at = _skip(text, at + 1)
    if _skip(text, at + 1) < len(text):
        raise _broken(path, text.count("\n", 0, at) + 1, "unexpected text after the list")


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Read one object per line; blank lines are skipped."""
    for line, row in enumerate(text.split("\n"), start=1):
        at = _skip(row, 0)
        if at == len(row):
            continue
        value, stop = _value(row, at, path, line)
        if _skip(row, stop) < len(row):
            raise _broken(path, line, "unexpected text after the object")
        yield line, _object(value, line, path)


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Read a header and rows; a quoted cell may hold commas, line ends and doubled quotes."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if header is None and any(cells):
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise ValueError(f"line {line} of {path}: two columns have the same name")
                if fields_of(header, f"line {line} of {path}") is CHAT:
                    raise ValueError(
                        f"line {line} of {path}: a CSV cannot hold 'messages', which are lists "
                        "(use .json or .jsonl)"
                    )
            elif header is not None and any(cells):
                if len(cells) != len(header):
                    raise ValueError(
                        f"line {line} of {path} has {len(cells)} cells, the header names "
                        f"{len(header)} (quote a cell that holds a comma)"
                    )
                row: dict[str, object] = dict(zip(header, cells, strict=True))
                listed = str(row.get("choices", ""))
                row["choices"] = listed.split("|") if listed.strip() else None
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line} of {path} is invalid CSV: {error}") from error


_READERS = {".json": _json_rows, ".jsonl": _jsonl_rows, ".csv": _csv_rows}


def _endings() -> str:
    return ", ".join(_READERS)


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int, path: Path, line: int | None = None) -> tuple[object, int]:
    """Read one JSON value and return its end."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        where = error.lineno if line is None else line
        rule = f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
        raise _broken(path, where, rule) from error
    except (ValueError, RecursionError) as error:
        where = text.count("\n", 0, at) + 1 if line is None else line
        raise _broken(
            path, where, "a number is too long, or lists are nested too deeply"
        ) from error


def _object(value: object, line: int, path: Path) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"line {line} of {path} holds {_kind(value)}, not an object with fields")
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a list" if isinstance(value, list) else "true or false")


def _broken(path: Path, line: int, rule: str) -> ValueError:
    return ValueError(f"line {line} of {path} is invalid JSON: {rule}")
