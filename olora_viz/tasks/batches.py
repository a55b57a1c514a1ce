"""From tokens to the batches of a race."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from olora_viz.tasks.encoding import Encoded


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, and the places in them that are supervised.

    Padding stands at the right, after all that is supervised: under causal attention nothing that
    counts can see it, so no mask is needed.
    """

    input_ids: Int64[Tensor, "rows tokens"]
    """The tokens that are read, padded at the right."""
    index: Int64[Tensor, " n"]
    """Positions in the flattened (rows · tokens) whose logits predict a supervised token."""
    targets: Int64[Tensor, " n"]
    """The tokens to be predicted there."""
    sequence: Int64[Tensor, " n"]
    """The sequence that each of them belongs to, by its number in the call of `collate`."""


def collate(encoded: Sequence[Encoded], pad_id: int) -> Batch:
    """Lay sequences side by side, padded at the right to the longest.

    A sequence whose tokens stand at the front of another one shares its row, since causal
    attention reads both alike: choices that differ in their last token cost one row together.

    Parameters
    ----------
    encoded : at least one, lengths may differ
    pad_id : any token; it is never supervised and never seen by what is

    Returns
    -------
    Batch on the CPU

    >>> batch = collate([Encoded((5, 6, 7), 2), Encoded((8, 9), 1), Encoded((5, 4), 1)], pad_id=0)
    >>> batch.input_ids.tolist()
    [[5, 6], [8, 0]]
    >>> batch.index.tolist(), batch.targets.tolist(), batch.sequence.tolist()
    ([1, 2, 0], [7, 9, 4], [0, 1, 2])
    """
    rows, home = _rows(encoded)
    width = max(map(len, rows))
    supervised = [
        (home[k] * width + place - 1, e.ids[place], k)
        for k, e in enumerate(encoded)
        for place in range(e.supervised_from, len(e.ids))
    ]
    index, targets, sequence = torch.tensor(supervised, dtype=torch.int64).reshape(-1, 3).unbind(1)
    padded = [ids + (pad_id,) * (width - len(ids)) for ids in rows]
    return Batch(
        input_ids=torch.tensor(padded, dtype=torch.int64),
        index=index.contiguous(),
        targets=targets.contiguous(),
        sequence=sequence.contiguous(),
    )


def packed(encoded: Sequence[Encoded], most_rows: int) -> Iterator[list[Encoded]]:
    """Deal examples into parts that, with their choices, take at most so many rows each.

    An example whose choices take more rows than that makes a part of its own.
    """
    part: list[Encoded] = []
    taken = 0
    for example in encoded:
        rows = len(_rows((example, *example.choices))[0])
        if part and taken + rows > most_rows:
            yield part
            part, taken = [], 0
        part.append(example)
        taken += rows
    if part:
        yield part


def _rows(encoded: Sequence[Encoded]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Find the rows to read, in order of first use, and the row that each sequence is read in.

    The last token of a sequence is not read: there is nothing after it to predict.
    """
    read = [e.ids[:-1] for e in encoded]
    longest: list[tuple[int, ...]] = []
    for ids in sorted(set(read), key=len, reverse=True):
        if not any(row[: len(ids)] == ids for row in longest):
            longest.append(ids)
    rows: list[tuple[int, ...]] = []
    home = []
    for ids in read:
        row = next(row for row in longest if row[: len(ids)] == ids)
        if row not in rows:
            rows.append(row)
        home.append(rows.index(row))
    return rows, home


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


@lru_cache(maxsize=2 * 64)
def _epoch(n_examples: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(n_examples))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return tuple(order)
