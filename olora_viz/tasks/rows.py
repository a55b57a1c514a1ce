"""A row of a task: its fields, what is wrong with them, and the examples that it is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from olora_viz.machine.wording import listed
from olora_viz.tasks.built_in import SPEAKERS, alpaca_messages, alpaca_prompt, chat_prompt, question_prompt
from olora_viz.tasks.task import Example


class Fields(NamedTuple):
    """The fields of one kind of row."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]


PAIR = Fields(("prompt", "answer"), ("choices",))
COMPLETION = Fields(("prompt", "completion"), ("choices",))
ALPACA = Fields(("instruction", "output"), ("input", "answer", "choices"))
PREFERENCE = Fields(("prompt", "chosen", "rejected"), ())
QUESTION = Fields(("question", "answer"), ("choices",))
CHAT = Fields(("messages",), ("choices",))
SHAREGPT = Fields(("conversations",), ("choices",))
PLAIN_TEXT = Fields(("text",), ())
ROW_KINDS = (ALPACA, PAIR, COMPLETION, PREFERENCE, QUESTION, CHAT, SHAREGPT, PLAIN_TEXT)
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
    ValueError: line 1: the fields are 'source', 'target', and a row needs instruction+output, prompt+answer,\
 prompt+completion, prompt+chosen+rejected, question+answer, messages, conversations, or text
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
            if sum(other in names for other in fields.needed) > 1:
                raise ValueError(f"{where}: the field {name!r} is missing")
            has = f"the fields are {listed(map(repr, names), 6)}" if names else "there are no fields"
            *kinds, last = ("+".join(kind.needed) for kind in ROW_KINDS)
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
      answer, and `chat_prompt` of those before it is the prompt; what follows it is left out. See `all_answers` for
      those before it.
    - `conversations`: the same, with `from` ("system", "human" or "gpt") and `value`.
    - `answers`, or a list as `answer`, in place of one `answer`: several right ones. The first is learned, and a
      metric accepts any.
    - `prompt`, `chosen`, `rejected`: the prompt and two answers, of which `chosen` is the right one and both are the
      choices. Of preferences lanes learn with the objective ``dpo``.
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
    if fields is PREFERENCE:
        if text["chosen"] == text["rejected"]:
            raise ValueError(f"{where}: 'chosen' and 'rejected' are the same, {_short(text['chosen'])}")
        gap = "" if text["prompt"][-1] in "\n\t" else " "
        chosen, rejected = (gap + text[name] for name in ("chosen", "rejected"))
        return Example(text["prompt"], chosen, (chosen, rejected), line)
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


def all_answers(rows: Iterable[Example]) -> tuple[Example, ...]:
    """Return an example for each answer of the assistant's in conversations, each given as its last answer.

    The prompt of each is what was said before it. Choices are those of the last answer, which alone is then asked.

    >>> turns = ("user", "1?"), ("assistant", "2"), ("user", "3?")
    >>> [answer.answer for answer in all_answers([Example(chat_prompt(turns), " 4", messages=turns)])]
    [' 2', ' 4']
    """
    answers: list[Example] = []
    for row in rows:
        before = () if row.choices else enumerate(row.messages)
        said = ((row.messages[:k], text) for k, (role, text) in before if role == "assistant")
        answers += (Example(chat_prompt(turns), f" {text}", line=row.line, messages=turns) for turns, text in said)
        answers.append(row)
    return tuple(answers)


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
