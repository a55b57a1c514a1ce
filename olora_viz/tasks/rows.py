"""Conversion of a row of named fields to an example with prompt and answer."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from olora_viz.machine.naming import listed
from olora_viz.tasks.task import Example
from olora_viz.tasks.templates import (
    SPEAKERS,
    alpaca_messages,
    alpaca_prompt,
    chat_prompt,
    question_prompt,
)


class Fields(NamedTuple):
    """The fields of one kind of row."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]


PAIR = Fields(("prompt", "answer"), ("choices",))
ALPACA = Fields(("instruction", "output"), ("input", "answer", "choices"))
QUESTION = Fields(("question", "answer"), ("choices",))
CHAT = Fields(("messages",), ("choices",))
KINDS = (ALPACA, PAIR, QUESTION, CHAT)
"""The kinds of rows; if the fields of several are complete, the first counts."""

# LLM-Adapters (Hu et al. 2023, arXiv 2304.01933) end a multiple-choice instruction with this line.
_FORMAT = re.compile(r"^Answer format: *(.+?)\s*$", re.MULTILINE)


def fields_of(names: Collection[str], where: str) -> Fields:
    """Return the kind of row with these fields; raise if one is missing or misspelt.

    An unknown field is ignored, unless it resembles a known field that is absent. If the fields of
    several kinds are complete, the first of `KINDS` counts: a row with `instruction`, `output`,
    `prompt` and `answer` is an Alpaca row, and its `answer` belongs to `output`.

    Parameters
    ----------
    names : the fields of a row
    where : name of the row in messages, as in "line 3 of data.csv"

    Raises
    ------
    ValueError
        With the closest valid name.

    >>> fields_of(["prompt", "anwser"], "line 1 of data.csv")
    Traceback (most recent call last):
    ValueError: line 1 of data.csv: the field 'answer' is missing; is it 'anwser'?
    """
    whole = [fields for fields in KINDS if all(name in names for name in fields.needed)]
    guesses = (PAIR, ALPACA, QUESTION, CHAT)
    fields = whole[0] if whole else max(guesses, key=lambda fields: _likeness(fields, names))
    others = [name for name in names if name not in fields.needed + fields.optional]
    for name in fields.needed:
        if name not in names:
            near = difflib.get_close_matches(name, others, n=1)
            has = listed(map(repr, names), 6) or "none"
            guess = f"is it {near[0]!r}?" if near else f"the fields are {has}"
            raise ValueError(f"{where}: the field {name!r} is missing; {guess}")
    absent = [name for name in fields.optional if name not in names]
    for name in others:
        near = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.75)
        if near:
            raise ValueError(f"{where}: unknown field {name!r}; did you mean {near[0]!r}?")
    return fields


def example_of(row: Mapping[str, object], where: str, line: int = 0) -> Example:
    """Convert a row to an example: a pair, an Alpaca row, a question, or chat messages.

    Prompt and answer are separated by one space, unless the prompt ends with a newline or tab;
    white space around the answer is removed.

    - `prompt`, `answer`: as they are.
    - `instruction`, `output` and an optional `input`: the prompt is the Alpaca template, and the
      whole `output` is the answer. Its optional `answer` is the decisive word of the output, such
      as "answer3".
    - `question`, `answer`: the prompt is `question_prompt`.
    - `messages`, a list of `role` ("system", "user" or "assistant") and `content`: the last one,
      from the assistant, is the answer, and `chat_prompt` of those before it is the prompt.

    A model's chat template frames the messages, or what the user asks: an instruction with its
    input, or the question alone.

    The choices are those in `choices`, or in a line "Answer format:
    answer1/answer2/answer3/answer4" of an instruction: each choice is the output with the last
    occurrence of the decisive word replaced.

    Parameters
    ----------
    row : the fields; None counts as absent
    where : name of the row in messages
    line : its line in the file, from 1

    Raises
    ------
    ValueError
        If a field is missing, misspelt, empty or of the wrong type, a role is unknown, the last
        message is not the assistant's, or the answer is not a choice.

    References
    ----------
    Taori et al. 2023, Stanford Alpaca; Hu et al. 2023, arXiv 2304.01933.

    >>> example_of({"prompt": "3 + 4 =", "answer": "7"}, "line 1")
    Example(prompt='3 + 4 =', answer=' 7', choices=(), line=0)
    """
    given = {name: value for name, value in row.items() if value is not None}
    fields = fields_of(given.keys(), where)
    text = {
        name: _text(given[name], name, where)
        for name in fields.needed + fields.optional
        if name in given and name not in ("choices", "messages")
    }
    for name in fields.needed:
        if name in text and not text[name]:
            raise ValueError(f"{where}: the field {name!r} is empty")
    choices = _choices(given.get("choices"), where)
    messages: tuple[tuple[str, str], ...] = ()
    if fields is ALPACA:
        asked = text["instruction"], text.get("input", "")
        prompt, answer = alpaca_prompt(*asked), text["output"]
        messages = alpaca_messages(*asked)
        key = text.get("answer") or answer
        choices = choices or _listed(text["instruction"], key)
    else:
        if fields is CHAT:
            messages, answer = _conversation(given["messages"], where)
            prompt = chat_prompt(messages)
        elif fields is QUESTION:
            prompt, answer = question_prompt(text["question"]), text["answer"]
            messages = (("user", text["question"]),)
        else:
            prompt, answer = text["prompt"], text["answer"]
        key = answer
    if choices and key not in choices:
        raise ValueError(
            f"{where}: the answer {_short(key)} is not among its choices {_short(choices)}"
        )
    start, stop = _word_in(answer, key) if choices else (0, 0)
    if choices and not stop:
        raise ValueError(
            f"{where}: the answer {_short(key)} does not occur as a word in the output "
            f"{_short(answer)}"
        )
    gap = "" if prompt[-1] in "\n\t" else " "
    return Example(
        prompt=prompt,
        answer=gap + answer,
        choices=tuple(gap + answer[:start] + choice + answer[stop:] for choice in choices),
        line=line,
        messages=messages,
    )


def _likeness(fields: Fields, names: Collection[str]) -> int:
    """Count the fields with a similar name in `names`."""
    ours = fields.needed + fields.optional
    return sum(bool(difflib.get_close_matches(name, names, n=1, cutoff=0.75)) for name in ours)


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: the field {name!r} is not a text but {_short(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: the field {name!r} contains half a character (a lone surrogate)"
        ) from error
    # A space before an answer belongs to the answer; a newline belongs to the prompt.
    return value.rstrip(" ") if name == "prompt" and value.strip() else value.strip()


def _conversation(value: object, where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the messages before the last one, and the text of the last one, the answer."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: the field 'messages' is not a list but {_short(value)}")
    spoken = [_message(one, f"{where}, message {k}") for k, one in enumerate(value, start=1)]
    if len(spoken) < 2:
        raise ValueError(
            f"{where}: the field 'messages' needs a message and the assistant's answer to it, "
            f"not {_short(value)}"
        )
    *before, (role, answer) = spoken
    if role != "assistant":
        raise ValueError(
            f"{where}: the last message is the answer and must be the assistant's, not the {role}'s"
        )
    return tuple(before), answer


def _message(value: object, where: str) -> tuple[str, str]:
    """Return the role and the text of a message."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is not an object with 'role' and 'content' but {_short(value)}")
    for name in ("role", "content"):
        if name not in value:
            raise ValueError(f"{where}: the field {name!r} is missing in {_short(dict(value))}")
    role, content = value["role"], _text(value["content"], "content", where)
    if not isinstance(role, str) or role not in SPEAKERS:
        raise ValueError(f"{where}: the role is one of {', '.join(SPEAKERS)}, not {_short(role)}")
    if not content:
        raise ValueError(f"{where}: the field 'content' is empty")
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
        raise ValueError(
            f"{where}: choices are two or more different texts, none empty, not {_short(value)}"
        )
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
    found = list(re.finditer(left + re.escape(key) + right, text))
    return found[-1].span() if found else (0, 0)


def _listed(instruction: str, key: str) -> tuple[str, ...]:
    """Read the choices from the instruction; none if they do not include the answer."""
    line = _FORMAT.search(instruction)
    options = tuple(dict.fromkeys(line.group(1).split("/"))) if line else ()
    return options if len(options) > 1 and key in options else ()
