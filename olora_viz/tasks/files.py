"""Tasks from files, and from rows that are passed in."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

from olora_viz.machine.checks import described
from olora_viz.machine.wording import listed
from olora_viz.tasks.built_in import SPEAKERS, alpaca_messages, alpaca_prompt, chat_prompt, question_prompt
from olora_viz.tasks.task import Example, Task, by_content, deduplicated, text_of, words_of


class FileFormat(NamedTuple):
    """One form of a task file."""

    title: str
    ending: str
    example: str


FILE_FORMATS = (
    FileFormat("Prompts and answers", ".csv", "prompt,answer\n3 and 4 make,7\n2 and 9 make,11"),
    FileFormat("Prompts and completions", ".jsonl", '{"prompt": "3 and 4 make", "completion": "7"}'),
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


class Fields(NamedTuple):
    """The fields of one kind of row."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]


PAIR = Fields(("prompt", "answer"), ("choices",))
COMPLETION = Fields(("prompt", "completion"), ("choices",))
ALPACA = Fields(("instruction", "output"), ("input", "answer", "choices"))
QUESTION = Fields(("question", "answer"), ("choices",))
CHAT = Fields(("messages",), ("choices",))
SHAREGPT = Fields(("conversations",), ("choices",))
PLAIN_TEXT = Fields(("text",), ())
ROW_KINDS = (ALPACA, PAIR, COMPLETION, QUESTION, CHAT, SHAREGPT, PLAIN_TEXT)
"""The kinds of rows; if the fields of several are complete, the first counts."""

LABELS = ("label", "target", "response", *(name for kind in ROW_KINDS[:-1] for name in kind.needed))
"""How the names of fields begin that no row of plain text has, where they would be left out."""

# LLM-Adapters (Hu et al. 2023, arXiv 2304.01933) end a multiple-choice instruction with this line.
_FORMAT = re.compile(r"^Answer format: *(.+?)\s*$", re.MULTILINE)


def fields_of(names: Collection[str], where: str) -> Fields:
    """Return the kind of row with these fields; raise if one is missing or misspelt.

    An unknown field is ignored, unless it resembles a known field that is absent, or stands beside a plain text as its
    label. If the fields of several kinds are complete, the first of `ROW_KINDS` counts: a row with `instruction`,
    `output`, `prompt` and `answer` is an Alpaca row, and its `answer` belongs to `output`.

    Raises:
        ValueError: with the name of the row, as in "line 3 of data.csv", and the closest valid field.

    >>> fields_of(["prompt", "anwser"], "line 1 of data.csv")
    Traceback (most recent call last):
    ValueError: line 1 of data.csv: the field 'answer' is missing; is it 'anwser'?
    >>> fields_of(["source", "target"], "line 1")
    Traceback (most recent call last):
    ValueError: line 1: the fields are 'source', 'target', and a row needs instruction and output, prompt and answer,\
 prompt and completion, question and answer, messages, conversations, or text
    """

    def likeness(fields: Fields) -> int:
        """Count the fields with a similar name."""
        ours = fields.needed + fields.optional
        return sum(bool(difflib.get_close_matches(name, names, n=1, cutoff=0.75)) for name in ours)

    whole = [fields for fields in ROW_KINDS if all(name in names for name in fields.needed)]
    fields = whole[0] if whole else max((PAIR, *ROW_KINDS), key=likeness)
    others = [name for name in names if name not in fields.needed + fields.optional]
    for name in fields.needed:
        if name not in names:
            if near := difflib.get_close_matches(name, others, n=1):
                raise ValueError(f"{where}: the field {name!r} is missing; is it {near[0]!r}?")
            has = f"the fields are {listed(map(repr, names), 6)}" if names else "there are no fields"
            *kinds, last = (" and ".join(kind.needed) for kind in ROW_KINDS)
            raise ValueError(f"{where}: {has}, and a row needs {', '.join(kinds)}, or {last}")
    label = next((name for name in others if fields is PLAIN_TEXT and name.lower().startswith(LABELS)), None)
    if label:
        raise ValueError(f"{where}: 'text' beside {label!r} is no plain text; call them 'prompt' and 'answer'")
    absent = [name for name in fields.optional if name not in names]
    for name in others:
        near = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.75)
        if near:
            raise ValueError(f"{where}: unknown field {name!r}; did you mean {near[0]!r}?")
    return fields


def example_of(row: Mapping[str, object], where: str, line: int = 0) -> Example:
    """Convert a row to an example: a pair, an Alpaca row, a question, the last answer of a chat, or plain text.

    Prompt and answer are separated by one space, unless the prompt ends with a newline or tab; white space around the
    answer is removed.

    - `prompt` and `answer` or `completion`: as they are.
    - `instruction`, `output` and an optional `input`: the prompt is the Alpaca template, and the whole `output` is the
      answer. Its optional `answer` is the decisive word of the output, such as "answer3".
    - `question`, `answer`: the prompt is `question_prompt`.
    - `messages`, a list of `role` ("system", "user" or "assistant") and `content`: the assistant's last one is the
      answer, and `chat_prompt` of those before it is the prompt; what follows it is left out. See `answers_in` for the
      answers before it.
    - `conversations`: the same, with `from` ("system", "human" or "gpt") and `value`.
    - `answers`, or a list as `answer`, in place of one `answer`: several right ones. The first is learned, and a
      metric accepts any.
    - `text`: plain text, without a prompt, every token of which is supervised.

    A model's chat template frames the messages, or what the user asks: an instruction with its input, or the question
    alone.

    The choices are those in `choices`, or in a line "Answer format: answer1/answer2/answer3/answer4" of an
    instruction: each choice is the output with the last occurrence of the decisive word replaced.

    Args:
        row: the fields; None counts as absent
        where: name of the row in messages

    Raises:
        ValueError: if a field is missing, misspelt, empty or of the wrong type, a role is unknown or out of turn, no
            message is an answer of the assistant's, or the answer is not a choice.

    References:
        Taori et al. 2023, Stanford Alpaca; Hu et al. 2023, arXiv 2304.01933.

    >>> example_of({"prompt": "3 + 4 =", "answer": "7"}, "line 1")
    Example(prompt='3 + 4 =', answer=' 7', choices=(), line=0)
    """
    given, others = _several({name: value for name, value in row.items() if value is not None}, where)
    fields = fields_of(given.keys(), where)
    text = {
        name: _text(given[name], name, where)
        for name in fields.needed + fields.optional
        if name in given and name not in ("choices", "messages", "conversations")
    }
    for name in fields.needed:
        if name in text and not text[name]:
            raise ValueError(f"{where}: the field {name!r} is empty")
    if fields is PLAIN_TEXT:
        return Example("", text["text"], line=line)
    choices = _choices(given.get("choices"), where)
    messages: tuple[tuple[str, str], ...] = ()
    if fields is ALPACA:
        asked = text["instruction"], text.get("input", "")
        prompt, answer = alpaca_prompt(*asked), text["output"]
        messages = alpaca_messages(*asked)
        key = text.get("answer") or answer
        choices = choices or _listed(text["instruction"], key)
    else:
        if fields in (CHAT, SHAREGPT):
            messages, answer = _conversation(given[fields.needed[0]], fields.needed[0], where)
            prompt = chat_prompt(messages)
        elif fields is QUESTION:
            prompt, answer = question_prompt(text["question"]), text["answer"]
            messages = (("user", text["question"]),)
        else:
            prompt, answer = text["prompt"], text[fields.needed[1]]
        key = answer
    if choices and key not in choices:
        raise ValueError(f"{where}: the answer {_short(key)} is not among its choices {_short(choices)}")
    start, stop = _word_in(answer, key) if choices else (0, 0)
    if choices and not stop:
        raise ValueError(f"{where}: the answer {_short(key)} does not occur as a word in the output {_short(answer)}")
    gap = "" if prompt[-1] in "\n\t" else " "
    choices = tuple(gap + answer[:start] + choice + answer[stop:] for choice in choices)
    return Example(prompt, gap + answer, choices, line, messages, others)


def answers_in(row: Example) -> tuple[Example, ...]:
    """Return an example for each answer of the assistant's in a row, given that of its last one.

    The prompt of each is what was said before it. Choices are those of the last answer, which alone is then asked.

    >>> turns = ("user", "1?"), ("assistant", "2"), ("user", "3?")
    >>> [answer.answer for answer in answers_in(Example(chat_prompt(turns), " 4", messages=turns))]
    [' 2', ' 4']
    """
    before = () if row.choices else enumerate(row.messages)
    answers = ((row.messages[:k], text) for k, (role, text) in before if role == "assistant")
    earlier = (Example(chat_prompt(said), f" {text}", line=row.line, messages=said) for said, text in answers)
    return *earlier, row


def _several(given: dict[str, object], where: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return a row with its first right answer as its answer, and the other ones, where it lists several."""
    name = "answers" if "answers" in given and "answer" not in given else "answer"
    if not isinstance(given.get(name), list) and name == "answer":
        return given, ()
    answers = given[name]
    if not isinstance(answers, list) or not answers:
        raise ValueError(f"{where}: the field {name!r} is no list of right answers but {_short(answers)}")
    first, *others = (_text(answer, name, where) for answer in answers)
    if not all((first, *others)):
        raise ValueError(f"{where}: the field {name!r} has an empty text: {_short(answers)}")
    return {key: value for key, value in given.items() if key != name} | {"answer": first}, tuple(others)


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: the field {name!r} is not a text but {_short(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: the field {name!r} contains half a character (a lone surrogate)") from error
    # A space before an answer belongs to the answer; a newline belongs to the prompt.
    return value.rstrip(" ") if name == "prompt" and value.strip() else value.strip()


MOST_MESSAGES = 256
"""Maximum messages of a conversation: its beginning is read again before each answer, work that grows as a square."""

_NAMES = {"messages": ("role", "content"), "conversations": ("from", "value")}
_ROLES = {"human": "user", "gpt": "assistant"}
"""What ShareGPT calls the roles."""


def _conversation(value: object, field: str, where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the text of the assistant's last message, the answer, and before it the messages before it."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: the field {field!r} is not a list but {_short(value)}")
    if len(value) > MOST_MESSAGES:
        raise ValueError(f"{where}: the field {field!r} has {len(value):,} messages, at most {MOST_MESSAGES} are read")
    spoken = [_message(message, _NAMES[field], f"{where}, message {k}") for k, message in enumerate(value, start=1)]
    at = max((k for k, (role, _) in enumerate(spoken) if role == "assistant"), default=0)
    if not at:
        raise ValueError(
            f"{where}: the field {field!r} needs a message and the assistant's answer to it, not {_short(value)}"
        )
    first = int(spoken[0][0] == "system")
    for k, (role, _) in enumerate(spoken[first : at + 1]):
        if role != (turn := ("user", "assistant")[k % 2]):
            raise ValueError(
                f"{where}, message {first + k + 1}: it is the turn of {turn!r}, not of {role!r}; after at most one "
                "system message, user and assistant take turns"
            )
    return tuple(spoken[:at]), spoken[at][1]


def _message(value: object, names: tuple[str, str], where: str) -> tuple[str, str]:
    """Return the role and the text of a message, given the names of both fields."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is not an object with {names[0]!r} and {names[1]!r} but {_short(value)}")
    for name in names:
        if name not in value:
            raise ValueError(f"{where}: the field {name!r} is missing in {_short(dict(value))}")
    role, content = value[names[0]], _text(value[names[1]], names[1], where)
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    if not isinstance(role, str) or role not in SPEAKERS:
        raise ValueError(f"{where}: the role is one of {', '.join(SPEAKERS)}, not {_short(role)}")
    if not content:
        raise ValueError(f"{where}: the field {names[1]!r} is empty")
    return role, content


def _short(value: object) -> str:
    written = repr(value)
    return written if len(written) <= 70 else written[:69] + "…"


def _choices(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"{where}: the field 'choices' is not a list of texts but {_short(value)}")
    choices = tuple(_text(choice, "choices", where) for choice in value)
    if len(choices) < 2 or len(set(choices)) < len(choices) or not all(choices):
        raise ValueError(f"{where}: choices are two or more different texts, none empty, not {_short(value)}")
    return choices


def _word_in(text: str, key: str) -> tuple[int, int]:
    """Return the span of the last occurrence of `key` in `text` as a whole word or number.

    >>> _word_in("yes, since eyes see it", "yes")
    (0, 3)
    >>> _word_in("no, no-one knows", "no"), _word_in("1.5 and not 15", "5")
    ((0, 2), (0, 0))
    """
    left = r"(?<!\w)(?<!\d[.,])(?<![^\W\d][-'’])" if re.match(r"\w", key[0]) else ""
    right = r"(?!\w|[.,]\d|[-'’][^\W\d])" if re.match(r"\w", key[-1]) else ""
    matches = list(re.finditer(left + re.escape(key) + right, text))
    return matches[-1].span() if matches else (0, 0)


def _listed(instruction: str, key: str) -> tuple[str, ...]:
    """Read the choices from the instruction; none if they do not include the answer."""
    line = _FORMAT.search(instruction)
    options = tuple(dict.fromkeys(line.group(1).split("/"))) if line else ()
    return options if len(options) > 1 and key in options else ()


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
    return _divided(_rows_of(path), path.name, str(path), seed)


def _divided(rows: Sequence[Example], name: str, where: str, seed: int) -> Task:
    """Return rows, each given as its last answer, as a task; all answers of a conversation are in one part.

    Where conversations of several parts begin alike, the test is without what is held out, and training without both.
    """
    if len(rows) < 2:
        raise ValueError(f"{where} has too few examples, {len(rows)}: at least two are needed")
    plain = is_plain(rows, where)
    if len({text_of(row) for row in rows}) < 2:
        raise ValueError(f"{where} has the same {'text' if plain else 'prompt'} on every line: none can be held out")
    parts = by_content(rows, name, None, seed)
    train, held_out, test = (tuple(answer for row in part for answer in answers_in(row)) for part in parts)
    judged = set(map(words_of, held_out))
    test = tuple(answer for answer in test if words_of(answer) not in judged)
    summary = f"{len(train + held_out + test):,} {'texts' if plain else 'examples'} from {name}."
    return Task(name, summary, train, held_out, plain_text=plain, ends=True, test=test)


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


def read_examples(path: Path) -> list[Example]:
    """Read the user's examples, of a conversation one for each answer.

    The extension decides the format: `.json` (a list of objects), `.jsonl` (one object per line) or `.csv` (a header,
    then rows; choices are separated by `|`). The fields are those of `example_of`; chat messages are lists, which a
    CSV cannot hold. The file is UTF-8, with or without a byte order mark.

    Raises:
        ValueError: one sentence that names the file, the line and the rule.
    """
    return [answer for row in _rows_of(path) for answer in answers_in(row)]


def _rows_of(path: Path) -> list[Example]:
    """Read a file, each row as its last answer."""
    text = read_text(path, f"a task is a file: {', '.join(_READERS)}", _READERS)
    return [example_of(row, f"line {line} of {path}", line) for line, row in _READERS[path.suffix.lower()](text, path)]


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
    """Return the user's rows as a task; a `Task` is returned unchanged.

    Rows are those of `example_of` and `answers_in`, divided by the seed; their answers end with the end-of-text token,
    like those of a file. A table of pandas or polars has a row for each example.

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
        return own
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
    return deduplicated(_divided(rows, name or own_name, name or "the task", seed))


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
