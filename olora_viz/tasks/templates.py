"""The texts that a prompt is put into: Alpaca, question, and chat in plain text."""

from __future__ import annotations

from collections.abc import Iterable

SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}
"""The roles of chat messages, and the name before each message in a prompt."""


def alpaca_prompt(instruction: str, given: str = "") -> str:
    r"""Format an instruction, with its input if any, by the Alpaca template.

    References
    ----------
    Taori et al. 2023, Stanford Alpaca.

    >>> alpaca_prompt("Say hello.")
    '### Instruction:\nSay hello.\n\n### Response:\n'
    """
    middle = f"\n\n### Input:\n{given}" if given else ""
    return f"### Instruction:\n{instruction}{middle}\n\n### Response:\n"


def alpaca_messages(instruction: str, given: str = "") -> tuple[tuple[str, str], ...]:
    """Return an instruction, with its input if any, as a message of the user.

    >>> alpaca_messages("Say hello.")
    (('user', 'Say hello.'),)
    """
    return (("user", "\n\n".join(filter(None, (instruction, given)))),)


def question_prompt(question: str) -> str:
    r"""Format a question, to be followed by a space and the answer.

    >>> question_prompt("What do bees make?")
    'Question: What do bees make?\nAnswer:'
    """
    return f"Question: {question}\nAnswer:"


def chat_prompt(messages: Iterable[tuple[str, str]]) -> str:
    r"""Format messages as plain text, to be followed by a space and the assistant's answer.

    The same text is used for every model, unless a race applies the model's own chat template:
    base models have none, and lanes of two models then read different prompts.

    Parameters
    ----------
    messages : role, one of `SPEAKERS`, and text of each message before the answer

    >>> chat_prompt([("system", "Be brief."), ("user", "What do bees make?")])
    'System: Be brief.\n\nUser: What do bees make?\n\nAssistant:'
    """
    spoken = "".join(f"{SPEAKERS[role]}: {text}\n\n" for role, text in messages)
    return f"{spoken}{SPEAKERS['assistant']}:"
