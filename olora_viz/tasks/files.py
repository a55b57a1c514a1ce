"""Tasks from files, and from rows that are passed in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

from olora_viz.machine.checks import described
from olora_viz.tasks.rows import CHAT, SHAREGPT, all_answers, example_of, fields_of
from olora_viz.tasks.task import Example, Task, by_content, conversations, deduplicated, text_of


class FileFormat(NamedTuple):
    """One form of a task file."""

    title: str
    ending: str
    example: str


FILE_FORMATS = (
    FileFormat("Prompts and answers", ".csv", "prompt,answer\n3 and 4 make,7\n2 and 9 make,11"),
    FileFormat("Prompts and completions", ".jsonl", '{"prompt": "3 and 4 make", "completion": "7"}'),
    FileFormat("Preferences, of which lanes learn with DPO", ".jsonl",
               '{"prompt": "3 and 4 make", "chosen": "7", "rejected": "8"}'),
    FileFormat("Questions and answers", ".csv", "question,answer\nWhat is 3 + 4?,7"),
    FileFormat("Instructions, as in Alpaca", ".json",
               '[{"instruction": "Add the numbers.",\n  "input": "3, 4", "output": "7"}]'),
    FileFormat("Chat messages, one chat per line, of which every answer is learned", ".jsonl",
               '{"messages": [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "7"}]}'),
    FileFormat("Conversations, as in ShareGPT", ".jsonl",
               '{"conversations": [{"from": "human", "value": "3 + 4?"}, {"from": "gpt", "value": "7"}]}'),
    FileFormat("Plain text, of which every token is learned", ".jsonl", '{"text": "3 and 4 make 7."}'),
)  # fmt: skip
"""One example of each kind of row; JSON, JSON lines and CSV take all of them, but CSV no chats."""


MAX_BYTES = 64 * 2**20
"""Maximum size of a file in bytes: 64 MiB, enough for Alpaca."""

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_KINDS: dict[type, str] = {dict: "an object", str: "a text", int: "a number", float: "a number", type(None): "null"}


def load_file(name: str, seed: int = 0) -> Task:
    """Read the user's examples, and set aside a tenth as held out and a tenth for the test; see `read_examples`.

    The split depends on the prompts alone, not on the name of the file or on other rows. Answers end with the
    end-of-text token.
    """
    path = Path(name).expanduser()
    return _divided(read_examples(path), path.name, str(path), seed)


def _divided(rows: Sequence[Example], name: str, where: str, seed: int) -> Task:
    """Return conversations, each given as its last answer, as a task.

    Every answer of a training conversation is learned. Of a held-out or test one the last alone is judged: several
    answers of one conversation are no independent examples, as intervals take them to be.
    """
    if len(rows) < 2:
        raise ValueError(f"{where} has too few examples, {len(rows)}: at least two are needed")
    plain = is_plain(rows, where)
    if len({text_of(row) for row in rows}) < 2:
        raise ValueError(f"{where} has the same {'text' if plain else 'prompt'} on every line: none can be held out")
    parts = by_content(rows, name, None, seed)
    parts = parts._replace(train=all_answers(parts.train))
    summary = f"{sum(map(len, parts)):,} {'texts' if plain else 'examples'} from {name}."
    return Task(name, summary, parts.train, parts.held_out, plain_text=plain, ends=True, test=parts.test)


def is_plain(examples: Sequence[Example], where: str) -> bool:
    """Return whether examples are plain text; raise a ValueError if only some are.

    >>> is_plain([Example("", "A fox sat by the river.")], "stories.jsonl")
    True
    """
    plain = [example for example in examples if not example.prompt]
    if 0 < len(plain) < len(examples):
        raise ValueError(
            f"{where} has plain texts, {len(plain):,}, beside {len(examples) - len(plain):,} prompts with answers: "
            "a task has one kind of them"
        )
    return bool(plain)


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read the user's examples, of a conversation the last answer; see `all_answers`.

    A row with which another one begins is a part of that conversation.

    The extension decides the format: `.json` (a list of objects), `.jsonl` (one object per line) or `.csv` (a header,
    then rows; choices are separated by `|`). The fields are those of `example_of`; chat messages are lists, which a
    CSV cannot hold. The file is UTF-8, with or without a byte order mark.

    Raises:
        ValueError: one sentence that names the file, the line and the rule.
    """
    text = read_text(path, f"a task is a file: {', '.join(_READERS)}", _READERS)
    rows = _READERS[path.suffix.lower()](text, path)
    return conversations([example_of(row, f"line {line} of {path}", line) for line, row in rows])


PACKED = {
    b"PK\3\4": "a zip archive, as spreadsheets are too: unpack it, or save the table as CSV",
    b"\x1f\x8b": "compressed by gzip: unpack it",
}
"""What a file is that begins with these bytes, whatever its name."""


def advice(ending: str, *, plain: bool = False) -> str:
    """Return what to do with a file of this ending so that it can be read, also as `plain` text; empty for any other.

    >>> advice(".XLSX"), advice(".docx", plain=True), advice(".zip"), advice(".txt")
    (': save it as CSV', ': save it as plain text', ': unpack it', '')
    """
    if ending.lower() in (".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst", ".7z", ".rar"):
        return ": unpack it"
    if plain and ending.lower() in (".pdf", ".docx", ".doc", ".odt", ".rtf"):
        return ": save it as plain text"
    return ": save it as CSV" if ending.lower() in (".xlsx", ".xls", ".ods", ".numbers", ".pdf", ".docx") else ""


def read_text(path: Path, rule: str, endings: Collection[str] = ()) -> str:
    """Read a file of UTF-8 text, with or without a byte order mark.

    Args:
        rule: what is wanted in place of a folder, for the message.
        endings: those that the file may have; by default any.

    Raises:
        ValueError: it cannot be read, is too large, empty or no such text; the message has the reason.
    """
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; {rule}")
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path} is a link to {str(path.readlink())!r}, where there is no file")
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        if not path.is_file():
            raise ValueError(f"{path} is not a readable file")
        if endings and path.suffix.lower() not in endings:
            ending = f"ends in {path.suffix!r}, not in" if path.suffix else "has no ending: a task file has"
            raise ValueError(f"{path} {ending} one of {', '.join(endings)}{advice(path.suffix)}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path} is too large: {size:,} bytes, at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    for start, what in PACKED.items():
        if data.startswith(start):
            raise ValueError(f"{path} is {what}")
    if b"\0" in data[:100]:
        raise ValueError(f"{path} is not UTF-8 text: if it is UTF-16, as some programs write it, save it as UTF-8")
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
                if len(header) == 1 and (other := re.search("[;\t]", header[0])):
                    rule = f"separate its cells by commas, not {other[0]!r}"
                    raise ValueError(f"line {line} of {path} has no comma: {rule}")
                if len(set(header)) < len(header):
                    raise ValueError(f"line {line} of {path}: two columns have the same name")
                fields = fields_of(header, f"line {line} of {path}")
                if fields in (CHAT, SHAREGPT):
                    (name,) = fields.needed
                    raise ValueError(
                        f"line {line} of {path}: a CSV cannot hold {name!r}, which are lists (use .json or .jsonl)"
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

TASK_ENDINGS = tuple(_READERS)
"""The endings of task files."""


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _value(text: str, at: int, path: Path, line: int | None = None) -> tuple[object, int]:
    """Read one JSON value and return its end."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        where = error.lineno if line is None else line
        rule = f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")  # "Unterminated string starting at"
        rule += f" at column {error.colno}"
        raise _broken(path, where, rule) from error
    except (ValueError, RecursionError) as error:
        where = text.count("\n", 0, at) + 1 if line is None else line
        raise _broken(path, where, "a number is too long, or lists are nested too deeply") from error


def _object(value: object, line: int, path: Path) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"line {line} of {path} holds {_kind(value)}, not an object with fields")
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a list" if isinstance(value, list) else "true or false")


def _broken(path: Path, line: int, rule: str) -> ValueError:
    return ValueError(f"line {line} of {path} is invalid JSON: {rule}")


Own = Task | Iterable[Any]
"""A task with its parts, or rows with the columns of a task file, which are split here."""


def own_task(own: Own, seed: int = 0, name: str = "") -> Task:
    """Return the user's rows as a task; of a `Task` each held-out or test conversation is judged by its last answer.

    Rows are those of `example_of` and `all_answers`, divided by the seed; their answers end with the end-of-text
    token, like those of a file. A table of pandas or polars has a row for each example.

    Args:
        name: of a data set of the hub, also for messages; its rows with a blank answer are left out.

    Raises:
        ValueError: if a row is invalid (the message has its number, from 1, and the rule), or if `own` is neither a
            task nor rows.

    >>> rows = [{"prompt": f"{a} and one make", "answer": str(a + 1)} for a in range(2, 40)]
    >>> len(own_task(rows).examples)
    38
    """
    if isinstance(own, Task):
        if not own.train or not own.held_out:
            raise ValueError(f"the task {own.name!r} needs training and held-out examples")
        return replace(own, held_out=conversations(own.held_out), test=conversations(own.test))
    if isinstance(own, str | Mapping):
        raise ValueError(
            f"task must be a Task or rows, such as a datasets.Dataset, not {type(own).__name__} "
            "(pass one split of several; the name or file of a task belongs in RaceConfig)"
        )
    rows = []
    for number, row in enumerate(_rows(own), start=1):
        where = f"row {number}{name and f' of {name}'}"
        if not isinstance(row, Mapping):
            raise ValueError(f"{where} is not a mapping but {type(row).__name__}")
        answer = next((row[field] for field in ("output", "completion", "answer") if field in row), True)
        if not name or (answer and str(answer).strip()):
            rows.append(example_of(row, where))
    own_name = getattr(getattr(own, "info", None), "dataset_name", None) or "rows"
    return deduplicated(_divided(conversations(rows), name or own_name, name or "the task", seed))


def _rows(own: Iterable[Any]) -> Iterable[Any]:
    """Return rows, of a table with None for its missing cells."""
    table: Any = own
    if hasattr(table, "columns") and hasattr(table, "to_dict"):
        records = table.to_dicts() if hasattr(table, "to_dicts") else table.to_dict("records")
        return [{str(name): None if _is_missing(cell) else cell for name, cell in row.items()} for row in records]
    if not isinstance(own, Iterable):
        raise ValueError(f"task must be a Task or rows, such as a datasets.Dataset, not {described(own)}")
    return own


def _is_missing(cell: object) -> bool:
    return (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in ("NAType", "NaTType")


def sha256_of(task: Task) -> str:
    """Return a hash of what a race sees of a task."""

    # Messages say what the prompt does, and hashes of older versions are without them.
    def seen(example: Example) -> tuple[object, ...]:
        *seen, _, others = astuple(example)
        return (*seen, *[others] * bool(others))

    parts = [list(map(seen, part)) for part in (task.train, task.held_out, task.test)]
    return hashlib.sha256(repr((task.plain_text, task.ends, parts)).encode()).hexdigest()
