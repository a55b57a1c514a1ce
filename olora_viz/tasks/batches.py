"""From examples to tokens, and from tokens to the batches of a race."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor
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


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, and the places in them that are supervised.

    Padding stands at the right, after all that is supervised: under causal attention nothing that
    counts can see it, so no mask is needed.
    """

    input_ids: Int64[Tensor, "rows tokens"]
    """The tokens, padded at the right; without the last of a row, which predicts nothing."""
    index: Int64[Tensor, " n"]
    """Positions in the flattened (rows · tokens) whose logits predict a supervised token."""
    targets: Int64[Tensor, " n"]
    """The tokens to be predicted there."""
    row: Int64[Tensor, " n"]
    """The row that each of them belongs to."""


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


def collate(encoded: Sequence[Encoded], pad_id: int) -> Batch:
    """Lay encoded examples side by side, padded at the right to the longest.

    Parameters
    ----------
    encoded : at least one, lengths may differ
    pad_id : any token; it is never supervised and never seen by what is

    Returns
    -------
    Batch on the CPU

    >>> batch = collate([Encoded((5, 6, 7), 2), Encoded((8, 9), 1)], pad_id=0)
    >>> batch.input_ids.tolist(), batch.index.tolist(), batch.targets.tolist(), batch.row.tolist()
    ([[5, 6], [8, 0]], [1, 2], [7, 9], [0, 1])
    """
    width = max(len(e.ids) for e in encoded) - 1
    supervised = [
        (row * width + place - 1, e.ids[place], row)
        for row, e in enumerate(encoded)
        for place in range(e.supervised_from, len(e.ids))
    ]
    index, targets, row = torch.tensor(supervised, dtype=torch.int64).reshape(-1, 3).unbind(1)
    rows = [e.ids[:-1] + (pad_id,) * (width + 1 - len(e.ids)) for e in encoded]
    return Batch(
        input_ids=torch.tensor(rows, dtype=torch.int64),
        index=index.contiguous(),
        targets=targets.contiguous(),
        row=row.contiguous(),
    )


def batch_indices(n_examples: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Say which examples make the batch of a step.

    The examples are dealt in epochs, each a fresh permutation of all of them; a batch may begin in
    one epoch and end in the next, and one larger than the data goes round several times. Nothing
    is remembered between calls, so a race resumes at any step.

    Parameters
    ----------
    n_examples : how many there are
    batch_size : how many to take
    seed : of the permutations
    step : which batch, from 0

    Returns
    -------
    `batch_size` indices below `n_examples`

    >>> first, second = (batch_indices(6, 3, seed=0, step=step) for step in (0, 1))
    >>> sorted(first + second)
    [0, 1, 2, 3, 4, 5]
    """
    if n_examples < 1 or batch_size < 1 or step < 0:
        raise ValueError(
            f"a batch needs an example, a size and a step from 0: got {n_examples} examples, "
            f"batch size {batch_size}, step {step}"
        )
    places = range(step * batch_size, (step + 1) * batch_size)
    return [_epoch(n_examples, seed, place // n_examples)[place % n_examples] for place in places]


@lru_cache(maxsize=8)
def _epoch(n_examples: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(n_examples))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return tuple(order)


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
