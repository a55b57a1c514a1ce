"""Tokenization of examples into prompt and supervised tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from olora_viz.tasks.task import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


@dataclass(frozen=True)
class Encoding:
    """The result of `encode`."""

    kept: tuple[Encoded, ...]
    """The tokenized examples, in order."""
    examples: tuple[Example, ...]
    """The examples that `kept` was made from, in the same order."""
    left_out: int = 0
    """Number of examples longer than `max_length`, which are not in `kept`."""


def encode(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    context: int,
    ends: bool = False,
    plain_text: bool = False,
    choices: bool = True,
) -> Encoding:
    """Tokenize examples and locate their answers.

    `prompt + answer` is tokenized as one string. A token across the boundary belongs to the answer.
    At least one token precedes the supervised ones, since a model predicts each token from those
    before it.

    Parameters
    ----------
    examples : prompts and answers
    tokenizer : a fast tokenizer, with offsets
    max_length : maximum tokens of an example, including choices; longer ones are skipped and
        counted. If None, the limit is the context, and a longer example is an error
    context : maximum tokens of the model
    ends : append and supervise the tokenizer's end-of-text token, if it has one; choices get it
        too, since one may be a prefix of another
    plain_text : supervise every token but the first
    choices : tokenize the choices too, which scoring needs and training does not

    Returns
    -------
    Encoding, with at least one example

    Raises
    ------
    ValueError
        If an example exceeds the context and `max_length` is None, `max_length` is below 2 or above
        the context, no example is left, or an example is a single token.
    """
    limit = context if max_length is None else max_length
    if not 2 <= limit <= context:
        raise ValueError(f"max_length {limit} is not between 2 and the model's context, {context}")
    if not examples:
        raise ValueError("no examples to encode")
    front = _front(tokenizer)
    eos = tokenizer.eos_token_id
    end = (eos,) if ends and isinstance(eos, int) else ()
    answers = _tokens([(e.prompt, e.answer) for e in examples], tokenizer, front)
    offered = [e.choices if choices else () for e in examples]
    options_of_all = iter(
        _tokens(
            [(e.prompt, choice) for e, of in zip(examples, offered, strict=True) for choice in of],
            tokenizer,
            front,
        )
    )

    kept: list[Encoded] = []
    chosen: list[Example] = []
    shortest = math.inf
    for example, (ids, begin), of in zip(examples, answers, offered, strict=True):
        options = [(option + end, first) for option, first in (next(options_of_all) for _ in of)]
        ids = ids + end
        length = max([len(ids), *(len(option) for option, _ in options)])
        shortest = min(shortest, length)
        if length > limit:
            if max_length is None:
                raise ValueError(
                    f"{_named(example)} is {length} tokens long, more than the {context} of the "
                    "model's context (set a maximum length to skip such examples)"
                )
            continue
        if len(ids) < 2:
            raise ValueError(f"{_named(example)} is a single token, so nothing could predict it")
        # All choices are scored from the same position on, or the comparison would be unfair.
        common = min((first for _, first in options), default=0)
        kept.append(
            Encoded(
                ids=ids,
                supervised_from=1 if plain_text else begin,
                choices=tuple(
                    Encoded(option, common, characters=len(choice.strip()))
                    for (option, _), choice in zip(options, of, strict=True)
                ),
                correct=example.choices.index(example.answer) if options else -1,
            )
        )
        chosen.append(example)
    if not kept:
        raise ValueError(
            f"none of {len(examples)} examples is within {limit} tokens: the shortest is {shortest}"
        )
    return Encoding(tuple(kept), tuple(chosen), len(examples) - len(kept))


def encode_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokenize a prompt alone, as `encode` does in front of an answer."""
    read = tokenizer(prompt, add_special_tokens=False, verbose=False)
    return (*_front(tokenizer), *read["input_ids"])


def _front(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that the tokenizer prepends to every text: its BOS token, or none."""
    bos = tokenizer.bos_token_id
    given = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    by_itself = isinstance(bos, int) and given[:1] == [bos] and bare[:1] != [bos]
    return (bos,) if isinstance(bos, int) and by_itself else ()


def _tokens(
    pairs: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, front: tuple[int, ...]
) -> list[tuple[tuple[int, ...], int]]:
    """Return the tokens of each prompt and answer, and the index of the first answer token."""
    if not pairs:
        return []
    read = tokenizer(
        [prompt + answer for prompt, answer in pairs],
        add_special_tokens=False,
        return_offsets_mapping=True,
        verbose=False,  # lengths are checked here, with the example's name
    )
    found = []
    for (prompt, _), ids, offsets in zip(
        pairs, read["input_ids"], read["offset_mapping"], strict=True
    ):
        begin = next((i for i, (_, stop) in enumerate(offsets) if stop > len(prompt)), len(ids))
        found.append((front + tuple(ids), max(1, len(front) + begin)))
    return found


def _named(example: Example) -> str:
    """Describe an example in a message by its line in the file or by its beginning."""
    start = (example.prompt or example.answer).strip()
    quoted = repr(start if len(start) <= 40 else start[:37] + "…")
    return f"the example on line {example.line}, {quoted}," if example.line else f"example {quoted}"
