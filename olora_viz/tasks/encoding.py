"""From examples to tokens: what is given, and what is supervised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from olora_viz.tasks.task import Example


@dataclass(frozen=True)
class Encoded:
    """One example in tokens: what is given, then what is supervised."""

    ids: tuple[int, ...]
    """The tokens of prompt and answer."""
    supervised_from: int
    """Index of the first supervised token, at least 1; all that follow are supervised too."""
    choices: tuple[Encoded, ...] = ()
    """The same prompt with each of its choices; empty where the answer is open."""
    correct: int = -1
    """Index of the right choice; -1 where the answer is open."""


@dataclass(frozen=True)
class Encoding:
    """What `encode` kept of its examples."""

    kept: tuple[Encoded, ...]
    """The examples in tokens, in their order."""
    examples: tuple[Example, ...]
    """The examples that `kept` was made from, one for one."""
    left_out: int = 0
    """How many were longer than `max_length` and are not in `kept`."""


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
    """Turn examples into tokens and find where in them the answer begins.

    `prompt + answer` is one string to the tokenizer, as it would be to a reader; a token that
    reaches over the border belongs to the answer. At least one token always stays in front, since
    a model predicts the next token from those before it.

    Parameters
    ----------
    examples : prompts and answers
    tokenizer : a fast one, which knows where in the text each token stands
    max_length : the most tokens an example may have, choices included; longer ones are left out
        and counted. None: no example may be longer than the context, and one that is, is an error
    context : the most tokens that the model can read
    ends : the tokenizer's end-of-text token, where it has one, follows the answer and is supervised
    plain_text : every token but the first is supervised
    choices : encode the choices too, which scoring needs and training does not

    Returns
    -------
    Encoding, with at least one example

    Raises
    ------
    ValueError
        Where an example is too long and no `max_length` allows to leave it out, where `max_length`
        is below 2 or above the context, where nothing is left, where an example is one token only.
    """
    limit = context if max_length is None else max_length
    if not 2 <= limit <= context:
        raise ValueError(f"max_length {limit} is not between 2 and the model's context, {context}")
    if not examples:
        raise ValueError("there is no example to encode")
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
        options = [next(options_of_all) for _ in of]
        ids = ids + end
        length = max([len(ids), *(len(option) for option, _ in options)])
        shortest = min(shortest, length)
        if length > limit:
            if max_length is None:
                raise ValueError(
                    f"{_named(example)} is {length} tokens long, more than the {context} of the "
                    "model's context (a maximum length leaves such examples out)"
                )
            continue
        if len(ids) < 2:
            raise ValueError(f"{_named(example)} is a single token, so nothing could predict it")
        # Choices are compared token by token from one place on, or the comparison would be unfair.
        common = min((first for _, first in options), default=0)
        kept.append(
            Encoded(
                ids=ids,
                supervised_from=1 if plain_text else begin,
                choices=tuple(Encoded(option, common) for option, _ in options),
                correct=example.choices.index(example.answer) if options else -1,
            )
        )
        chosen.append(example)
    if not kept:
        raise ValueError(
            f"none of {len(examples)} examples is within {limit} tokens: the shortest is {shortest}"
        )
    return Encoding(tuple(kept), tuple(chosen), len(examples) - len(kept))


def _front(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that this tokenizer puts before every text by itself: its BOS, or none."""
    bos = tokenizer.bos_token_id
    given = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    by_itself = isinstance(bos, int) and given[:1] == [bos] and bare[:1] != [bos]
    return (bos,) if isinstance(bos, int) and by_itself else ()


def _tokens(
    pairs: list[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, front: tuple[int, ...]
) -> list[tuple[tuple[int, ...], int]]:
    """Return for each prompt and answer the tokens and the index of the answer's first one."""
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
    """Name an example in a message: by its line in the file, or by how it begins."""
    start = (example.prompt or example.answer).strip()
    quoted = repr(start if len(start) <= 40 else start[:37] + "…")
    return f"the example on line {example.line}, {quoted}," if example.line else f"example {quoted}"
