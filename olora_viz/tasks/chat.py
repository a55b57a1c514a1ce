"""A model's chat template: prompt and answer as the messages of a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from olora_viz.machine.files import reason
from olora_viz.tasks.task import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[tuple[str, str]]
"""The role and the text of each message."""

# In place of a message's text, these show where a template puts it.
_PLACE, _PLACES = "\ue000{}\ue001", re.compile("\ue000(\\d+)\ue001")


class Spans(NamedTuple):
    """A text, and where in it the texts of messages are."""

    text: str
    messages: tuple[tuple[int, int], ...]
    """The first character of each message, in their order, and the one after its last."""


class Frame(NamedTuple):
    """What a template writes around messages of some roles."""

    literals: tuple[str, ...]
    """Before, between and after their texts."""
    order: tuple[int, ...]
    """The message between one literal and the next."""

    def filled(self, texts: Sequence[str]) -> Spans:
        """Return the conversation with these texts."""
        parts = [self.literals[0]]
        spans = [(0, 0)] * len(self.order)
        at = len(parts[0])
        for message, literal in zip(self.order, self.literals[1:], strict=True):
            spans[message] = (at, at + len(texts[message]))
            parts += [texts[message], literal]
            at += len(texts[message]) + len(literal)
        return Spans("".join(parts), tuple(spans))


class Frames(NamedTuple):
    """What a template writes around a conversation, before an answer and with one."""

    before: Frame
    answered: Frame
    closed: int
    """Characters after the answer, up to the end-of-turn token and with it."""
    end: str
    """The end-of-turn token."""


class Chat:
    """The chat template of a tokenizer.

    A prompt is what the template writes up to where the model answers, with its generation prompt; the answer is what
    follows, up to the end-of-turn token.

    Attributes:
        end: the end-of-turn token, with which an answer ends.

    Raises:
        ValueError: there is no template, it fails, or it does not show where an answer begins or ends.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
        if not has_template(tokenizer):
            raise ValueError(f"the model {model!r} has no chat template: race it without chat")
        self.model, self._tokenizer = model, tokenizer
        self._special = {str(token) for token in tokenizer.all_special_tokens} | {
            str(token) for token in tokenizer.added_tokens_decoder.values() if token.special
        }
        self._frames: dict[tuple[str, ...], Frames] = {}
        end = self._frames_of(("user",)).end
        ids: Any = tokenizer(end, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ValueError(
                f"the tokenizer of {model!r} reads the end-of-turn token {end!r} as {len(ids)} "
                "tokens: race it without chat"
            )
        self.end = int(ids[0])

    def prompt(self, messages: Messages) -> Spans:
        """Return the text before an answer, and where the messages are; ValueError if the template changes them."""
        roles = tuple(role for role, _ in messages)
        texts = [text.strip() for _, text in messages]
        spans = self._frames_of(roles).before.filled(texts)
        self._written(roles, texts, answered=False, expected=spans.text)
        return spans

    def answer(self, messages: Messages, answer: str) -> str:
        """Return the text of an answer, after that of `prompt`, with its end-of-turn token; see there."""
        roles = (*(role for role, _ in messages), "assistant")
        texts = [*(text.strip() for _, text in messages), answer.strip()]
        frames = self._frames_of(roles[:-1])
        text, spans = frames.answered.filled(texts)
        self._written(roles, texts, answered=True, expected=text)
        begin = len(frames.before.filled(texts[:-1]).text)
        return text[begin : spans[-1][1] + frames.closed]

    @property
    def unstable(self) -> str:
        """A sentence on a template whose prompt changes with the answer."""
        return (
            f"the chat template of {self.model!r} writes a prompt otherwise once it is answered, "
            "so that it does not show which tokens are the answer's: race it without chat"
        )

    def _frames_of(self, roles: tuple[str, ...]) -> Frames:
        """Return what the template writes around messages of these roles."""
        if roles not in self._frames:
            count, all_roles = len(roles), (*roles, "assistant")
            places = [_PLACE.format(i) for i in range(count + 1)]
            before = self._parsed(self._written(roles, places[:-1], answered=False), count)
            whole = self._parsed(self._written(all_roles, places, answered=True), count + 1)
            stable = (
                whole.order == (*before.order, count)
                and whole.literals[:count] == before.literals[:-1]
                and whole.literals[count].startswith(before.literals[-1])
            )
            if not stable:
                raise ValueError(self.unstable)
            self._frames[roles] = Frames(before, whole, *self._end_of_turn(whole.literals[-1]))
        return self._frames[roles]

    def _parsed(self, text: str, count: int) -> Frame:
        parts = _PLACES.split(text)
        order = tuple(map(int, parts[1::2]))
        if sorted(order) != list(range(count)):
            raise ValueError(
                f"the chat template of {self.model!r} leaves a message out, or repeats one: race it without chat"
            )
        return Frame(tuple(parts[::2]), order)

    def _written(
        self, roles: Sequence[str], texts: Sequence[str], *, answered: bool, expected: str | None = None
    ) -> str:
        """Return what the template makes of messages; ValueError if it fails, or something else is expected."""
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=not answered)
        except Exception as error:  # a template of unknown origin can fail anywhere
            raise ValueError(f"the chat template of {self.model!r} fails: {reason(error)}") from error
        if expected not in (None, text):
            raise ValueError(f"the chat template of {self.model!r} changes the text of messages: race it without chat")
        return str(text)

    def _end_of_turn(self, tail: str) -> tuple[int, str]:
        """Return where the first special token after an answer ends, and its name."""
        places = [(tail.index(name), -len(name), name) for name in self._special if name in tail]
        if not places:
            raise ValueError(
                f"the chat template of {self.model!r} ends an answer with no special token, so "
                "that nothing would stop the model: race it without chat"
            )
        at, _, name = min(places)
        return at + len(name), name


def messages_of(example: Example) -> Messages:
    """Return the messages before an answer: the prompt is one of the user, if there are no others."""
    return example.messages or (("user", example.prompt),)


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def unused_template(tokenizer: PreTrainedTokenizerBase | None, model: str) -> str:
    """Return a sentence on a model whose chat template is not used; empty if it has none."""
    if tokenizer is None or not has_template(tokenizer):
        return ""
    return f"{model}'s chat template is not used: plain text"
