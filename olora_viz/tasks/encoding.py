"""Tokenization of examples into prompt and supervised tokens."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from olora_viz.tasks.chat import Chat, messages_of
from olora_viz.tasks.task import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Piece(NamedTuple):
    """A token of an example."""

    text: str
    """What it stands for; empty for the later tokens of a character that takes several."""
    supervised: bool
    """Whether it is trained."""


def pieces_of(
    example: Example, tokenizer: PreTrainedTokenizerBase, *, ends: bool = False, chat: Chat | None = None
) -> list[Piece]:
    """Return the tokens that a race reads of an example, each with its part of the text.

    Special tokens, and the token of unknown characters, have their own names as text. The texts of the others join to
    ``prompt + answer``, since each one starts where the last one ends. With a chat template, all of them join to what
    it writes.

    Raises:
        ValueError: if the example is a single token, or the template does not fit.
    """
    (encoded,) = encode([example], tokenizer, context=sys.maxsize, ends=ends, choices=False, chat=chat).kept
    prompt, (answer,), *_ = text_of(example, chat)
    text = prompt + answer
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    inner, offsets = read["input_ids"], read["offset_mapping"]
    after = int(ends and not chat and isinstance(tokenizer.eos_token_id, int))
    before = len(encoded.ids) - len(inner) - after
    texts = [str(tokenizer.convert_ids_to_tokens(token)) for token in encoded.ids]
    reached = 0
    for at, (token, (_, stop)) in enumerate(zip(inner, offsets, strict=True), start=before):
        if token != tokenizer.unk_token_id:
            texts[at] = text[reached:stop]
        reached = max(reached, stop)
    return [Piece(text, at >= encoded.supervised_from) for at, text in enumerate(texts)]


@dataclass(frozen=True)
class Encoded:
    """A tokenized example: the prompt, then the supervised tokens."""

    ids: tuple[int, ...]
    """The tokens of prompt and answer."""
    supervised_from: int
    """Index of the first supervised token, at least 1; all later tokens are supervised too."""
    choices: tuple[Encoded, ...] = ()
    """The same prompt with each choice; empty for an open answer."""
    correct: int = -1
    """Index of the correct choice; -1 for an open answer."""
    characters: int = 0
    """For a choice, its length in characters without surrounding space."""
    prompt: str = ""
    """The words of a prompt that a chat template frames; empty where the tokens say them."""


@dataclass(frozen=True)
class Encoding:
    """The result of `encode`."""

    kept: tuple[Encoded, ...]
    """The tokenized examples, in order."""
    examples: tuple[Example, ...]
    """The examples that `kept` was made from, in the same order."""
    left_out: int = 0
    """Number of examples longer than `max_length`, which are not in `kept`."""
    cut: int = 0
    """Number of examples in `kept` whose prompt was cut at its left."""
    ends: bool = False
    """Whether each ends with an end token: the tokenizer's, or that of a chat template's turn."""


def encode(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    context: int,
    ends: bool = False,
    plain_text: bool = False,
    choices: bool = True,
    truncate: bool = False,
    chat: Chat | None = None,
) -> Encoding:
    """Tokenize examples and locate their answers.

    `prompt + answer` is tokenized as one string. A token across the boundary belongs to the answer. At least one token
    precedes the supervised ones, since a model predicts each token from those before it.

    Args:
        tokenizer: a fast tokenizer, with offsets
        max_length: maximum tokens of an example, including choices; longer ones are skipped and counted. If None, the
            limit is the context, and a longer example is an error
        context: maximum tokens of the model
        ends: append and supervise the tokenizer's end-of-text token, if it has one; choices get it too, since one may
            be a prefix of another
        plain_text: supervise every token but the first
        choices: tokenize the choices too, which scoring needs and training does not
        truncate: instead of skipping a longer example, remove the first tokens of its prompt; of a chat, those of the
            user's messages. What is supervised stays, the tokens before the prompt do, and so does a token of the
            prompt: an example that is longer even so is skipped and counted. All choices of an example lose the same
            tokens
        chat: the template that formats prompt and answer; the end-of-turn token is then supervised

    Raises:
        ValueError: if an example exceeds the context and `max_length` is None, `max_length` is below 2 or above the
            context, no example is left, an example is a single token, or the chat template does not fit an example.
    """
    limit = context if max_length is None else max_length
    if not 2 <= limit <= context:
        raise ValueError(f"max_length {limit} is not between 2 and the model's context, {context}")
    if not examples:
        raise ValueError("no examples to encode")
    front, eos = () if chat else front_of(tokenizer), tokenizer.eos_token_id
    end = (eos,) if ends and not chat and isinstance(eos, int) else ()
    texts = [text_of(example, chat, choices=choices) for example in examples]
    tokens = _tokens(texts, tokenizer, front, chat)

    encodings: list[Encoded] = []
    chosen: list[Example] = []
    shortest, cut = math.inf, 0
    for example, text in zip(examples, texts, strict=True):
        sequences = list(islice(tokens, len(text.answers)))
        length = max(len(sequence.ids) for sequence in sequences) + len(end)
        shortest, cut_to = min(shortest, length), 0
        if length > limit and truncate:
            shorter = _without(sequences, text, length - limit, len(front))
            if shorter:
                sequences, length, cut = shorter, limit, cut + 1
                cut_to = shorter[0].cut_to
        if length > limit:
            if max_length is None and not truncate:
                raise ValueError(
                    f"{_named(example)} is {length} tokens long, more than the {context} of the model's context (set "
                    "a maximum length to skip such examples, or truncate them)"
                )
            continue
        (ids, begin, *_), *options = sequences
        offered = example.choices if options else ()
        ids = ids + end
        if len(ids) < 2:
            raise ValueError(f"{_named(example)} is a single token, so nothing could predict it")
        # All choices are scored from the same position on, or the comparison would be unfair.
        common = min((option.begin for option in options), default=0)
        alternatives = tuple(
            Encoded(option.ids + end, common, characters=len(choice.strip()))
            for option, choice in zip(options, offered, strict=True)
        )
        correct = example.choices.index(example.answer) if options else -1
        words = text.words(cut_to) if chat else ""
        encodings.append(Encoded(ids, 1 if plain_text else begin, alternatives, correct, prompt=words))
        chosen.append(example)
    if not encodings:
        raise ValueError(f"none of {len(examples)} examples is within {limit} tokens: the shortest is {shortest}")
    left_out = len(examples) - len(encodings)
    return Encoding(tuple(encodings), tuple(chosen), left_out, cut, ends=bool(end or chat))


class Text(NamedTuple):
    """An example as the model reads it."""

    prompt: str
    answers: tuple[str, ...]
    """The answer, then the choices; each follows the prompt."""
    messages: tuple[tuple[int, int], ...]
    """Where in the prompt the texts of the messages are, or the prompt itself."""
    cuttable: tuple[tuple[int, int], ...]
    """Those of them that may be cut."""

    def words(self, cut_to: int = 0) -> str:
        """Return the texts of the messages, without what was cut before a character."""
        spans = ((max(a, cut_to) if (a, b) in self.cuttable else a, b) for a, b in self.messages)
        return "\n\n".join(self.prompt[a:b] for a, b in spans if a < b)


def text_of(example: Example, chat: Chat | None, *, choices: bool = False) -> Text:
    """Return an example as the model reads it; a chat template frames its messages; ValueError if it does not fit."""
    answers = (example.answer, *(example.choices if choices else ()))
    if chat is None:
        whole = ((0, len(example.prompt)),)
        return Text(example.prompt, answers, whole, whole)
    messages = messages_of(example)
    prompt, spans = chat.prompt(messages)
    asked = (span for (role, _), span in zip(messages, spans, strict=True) if role == "user")
    written = tuple(chat.answer(messages, answer) for answer in answers)
    return Text(prompt, written, spans, tuple(asked))


def encode_prompt(
    prompt: str, tokenizer: PreTrainedTokenizerBase, *, chat: Chat | None = None, limit: float = math.inf
) -> Encoded:
    """Tokenize a prompt alone, as `encode` does in front of an answer; nothing is supervised.

    Args:
        chat: the template that formats it, as a message of the user.
        limit: the first tokens of a longer prompt are removed, as by `encode`, if enough are left.
    """
    text = text_of(Example(prompt, " "), chat)
    front = () if chat else front_of(tokenizer)
    read = tokenizer(text.prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = front + tuple(read["input_ids"])
    whole = _Sequence(ids, len(ids), read["offset_mapping"])
    if len(ids) > limit:
        (whole,) = _without([whole], text, int(len(ids) - limit), len(front)) or [whole]
    return Encoded(whole.ids, len(whole.ids), prompt=text.words(whole.cut_to) if chat else "")


def front_of(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that the tokenizer prepends to every text: its BOS token, or none."""
    bos = tokenizer.bos_token_id
    given, bare = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    return (bos,) if isinstance(bos, int) and given[:1] == [bos] and bare[:1] != [bos] else ()


class _Sequence(NamedTuple):
    """The tokens of a prompt and an answer."""

    ids: tuple[int, ...]
    begin: int
    """Index of the first token of the answer."""
    offsets: Sequence[tuple[int, int]]
    """Of each token in the text, without those in front of it."""
    cut_to: int = 0
    """The first character of the prompt that was not cut."""


def _tokens(
    texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, front: tuple[int, ...], chat: Chat | None
) -> Iterator[_Sequence]:
    """Yield the tokens of each prompt with each of its answers; ValueError if an answer changes its prompt's."""
    read = tokenizer(
        [text.prompt + answer for text in texts for answer in text.answers],
        add_special_tokens=False,
        return_offsets_mapping=True,
        verbose=False,  # lengths are checked here, with the example's name
    )
    alone = chat and tokenizer([text.prompt for text in texts], add_special_tokens=False, verbose=False)
    sequences = zip(read["input_ids"], read["offset_mapping"], strict=True)
    for place, text in enumerate(texts):
        for ids, offsets in islice(sequences, len(text.answers)):
            border = len(text.prompt)
            begin = next((i for i, (_, stop) in enumerate(offsets) if stop > border), len(ids))
            if alone and chat and alone["input_ids"][place] != ids[:begin]:
                raise ValueError(chat.unstable)
            yield _Sequence(front + tuple(ids), max(1, len(front) + begin), offsets)


def _without(sequences: Sequence[_Sequence], text: Text, count: int, front: int) -> list[_Sequence] | None:
    """Return the sequences of a text without the first tokens of their prompt; None if they cannot be cut.

    All of them lose the same tokens, and one token of the messages stays. `front` tokens stand before the text.
    """

    def may_go(a: int, b: int) -> bool:
        """Whether a token is of a message that may be cut; a space before it may go too."""
        return any((u <= a or (u < b and text.prompt[a:u].isspace())) and b <= v for u, v in text.cuttable)

    shorter, removed = [], set()
    for ids, begin, offsets, _ in sequences:
        inner = enumerate(offsets[: max(0, begin - front)], start=front)
        places = [i for i, (a, b) in inner if may_go(a, b)]
        if len(places) <= count:
            return None
        cut = set(places[:count])
        removed.add(tuple((i, ids[i]) for i in sorted(cut)))
        rest = tuple(token for i, token in enumerate(ids) if i not in cut)
        shorter.append(_Sequence(rest, begin - count, (), offsets[max(cut) - front][1]))
    return shorter if len(removed) == 1 else None


def _named(example: Example) -> str:
    """Describe an example in a message by its line in the file or by its beginning."""
    start = (example.prompt or example.answer).strip()
    quoted = repr(start if len(start) <= 40 else start[:37] + "…")
    return f"the example on line {example.line}, {quoted}," if example.line else f"example {quoted}"
