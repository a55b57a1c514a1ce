"""Batches of tokens."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from olora_viz.machine.wording import epochs
from olora_viz.tasks.encoding import Encoded


class Size(NamedTuple):
    """What the memory of a pass over some rows depends on."""

    rows: int
    width: int
    """Tokens of each row, padding included."""
    supervised: int
    """Supervised tokens of all rows."""

    @classmethod
    def covering(cls, sizes: Iterable[Size]) -> Size:
        """Return a size that is at least as large as each of these in every respect.

        >>> Size.covering([Size(2, 8, 1), Size(4, 3, 5)])
        Size(rows=4, width=8, supervised=5)
        """
        rows, width, supervised = map(max, zip(*sizes, strict=True))
        return cls(rows, width, supervised)


@dataclass(frozen=True)
class Batch:
    """Rows of tokens and their supervised positions.

    Padding is on the right, after the supervised tokens. Causal attention does not see it, so no mask is needed.
    """

    input_ids: Int64[Tensor, "rows tokens"]
    """The input tokens, padded on the right."""
    index: Int64[Tensor, " n"]
    """Positions in the flattened (rows · tokens) with logits that predict a supervised token."""
    targets: Int64[Tensor, " n"]
    """The target tokens at these positions."""
    sequence: Int64[Tensor, " n"]
    """The sequence of each target, by its index in the argument of `collate`."""
    positions: Int64[Tensor, "rows tokens"] | None = None
    """The place of each token in its sequence; None if rows do not branch."""
    seen: Bool[Tensor, "rows tokens tokens"] | None = None
    """Whether a token (second) attends to another (third); None if rows do not branch."""
    first: Int64[Tensor, "rows tokens"] | None = None
    """The first position in the flattened (rows · tokens) after whose tokens and whose own a token is what it is: that
    of itself or of an earlier row that begins alike. None if no token is taken from another row."""

    @property
    def size(self) -> Size:
        """What its memory depends on."""
        return Size(len(self.input_ids), self.input_ids.shape[1], self.index.numel())

    def as_branching(self) -> Batch:
        """Return a batch whose rows do not branch in the form of one whose rows may.

        >>> batch = collate([Encoded((5, 6, 7), 2)], pad_id=0).as_branching()
        >>> batch.positions.tolist(), batch.seen.tolist()
        ([[0, 1]], [[[True, False], [True, True]]])
        """
        rows, width = self.input_ids.shape
        ones = torch.ones(rows, width, width, dtype=torch.bool, device=self.input_ids.device)
        at = torch.arange(width, device=self.input_ids.device)
        return replace(self, positions=at.repeat(rows, 1), seen=ones.tril())


def collate(encoded: Sequence[Encoded], pad_id: int) -> Batch:
    """Collate sequences into a batch, padded on the right to the longest.

    A sequence that is a prefix of another one shares its row, since causal attention reads both the same way: choices
    that differ only in their last token share one row.

    Args:
        encoded: at least one; lengths may differ.
        pad_id: any token; it is neither supervised nor attended to by supervised tokens.

    >>> batch = collate([Encoded((5, 6, 7), 2), Encoded((8, 9), 1), Encoded((5, 4), 1)], pad_id=0)
    >>> batch.input_ids.tolist()
    [[5, 6], [8, 0]]
    >>> batch.index.tolist(), batch.targets.tolist(), batch.sequence.tolist()
    ([1, 2, 0], [7, 9, 4], [0, 1, 2])
    """
    rows, row_of = _rows(encoded)
    return _laid_out(rows, row_of, [range(len(e.ids)) for e in encoded], encoded, pad_id)


def sharing(batch: Batch) -> Batch:
    """Return a batch, whose rows do not branch, in which tokens may be computed once for all rows that begin alike.

    >>> sharing(collate([Encoded((5, 6, 7), 1), Encoded((5, 8, 9), 1)], pad_id=0)).first.tolist()
    [[0, 1], [0, 3]]
    """
    trie, first = Trie(), {}
    places = [place for row in batch.input_ids.tolist() for place in trie.add(row)]
    flat = [first.setdefault(place, at) for at, place in enumerate(places)]
    return replace(batch, first=torch.tensor(flat).view_as(batch.input_ids))


def collate_examples(examples: Sequence[Encoded], pad_id: int, *, branching: bool = False) -> Batch:
    """Collate examples and their choices, the choices of each after it; see `collate`.

    Args:
        branching: whether an example and its choices form one row, in which the tokens that they begin with are read
            once. The row is a `Trie`, so that the model needs a mask.

    >>> right, wrong = Encoded((5, 6, 7, 9), 2), Encoded((5, 8, 9), 2)
    >>> example = Encoded((5, 6, 7, 9), 2, choices=(right, wrong))
    >>> batch = collate_examples([example], pad_id=0, branching=True)
    >>> batch.input_ids.tolist(), batch.positions.tolist()
    ([[5, 6, 7, 8]], [[0, 1, 2, 1]])
    >>> batch.index.tolist(), batch.seen[0, 3].tolist()
    ([1, 2, 1, 2, 3], [True, False, False, True])
    """
    sequences = [s for e in examples for s in (e, *e.choices)]
    if not branching:
        return collate(sequences, pad_id)
    tries = [Trie() for _ in examples]
    row_of = [i for i, e in enumerate(examples) for _ in (e, *e.choices)]
    places = [tries[i].add(s.ids[:-1]) for i, s in zip(row_of, sequences, strict=True)]
    batch = _laid_out([tuple(t.ids) for t in tries], row_of, places, sequences, pad_id)
    rows, width = batch.input_ids.shape
    positions = torch.zeros(rows, width, dtype=torch.int64)
    seen = torch.eye(width, dtype=torch.bool).repeat(rows, 1, 1)
    for i, trie in enumerate(tries):
        length = len(trie.ids)
        positions[i, :length] = torch.tensor(trie.positions)
        seen[i, :length, :length] = torch.from_numpy(trie.seen())
    return replace(batch, positions=positions, seen=seen)


def _laid_out(
    rows: Sequence[tuple[int, ...]], row_of: Sequence[int], places: Sequence[Sequence[int]],
    sequences: Sequence[Encoded], pad_id: int,
) -> Batch:  # fmt: skip
    """Pad rows, and find the supervised tokens of sequences, given the row of each and its tokens' places in it."""
    width = max(map(len, rows))
    supervised = [
        (row_of[k] * width + places[k][at - 1], e.ids[at], k)
        for k, e in enumerate(sequences)
        for at in range(e.supervised_from, len(e.ids))
    ]
    index, targets, sequence = torch.tensor(supervised, dtype=torch.int64).reshape(-1, 3).unbind(1)
    padded = torch.tensor([ids + (pad_id,) * (width - len(ids)) for ids in rows], dtype=torch.int64)
    return Batch(padded, index.contiguous(), targets.contiguous(), sequence.contiguous())


def borders(count: int, parts: int) -> list[tuple[int, int]]:
    """Return where so many parts of a batch begin and end.

    >>> borders(5, 2)
    [(0, 2), (2, 5)]
    """
    return list(pairwise(i * count // parts for i in range(parts + 1)))


def packed(encoded: Sequence[Encoded], most_rows: int, *, branching: bool = False) -> Iterator[list[Encoded]]:
    """Split examples into parts of at most `most_rows` rows each, choices included.

    An example with more rows forms a part of its own. `branching` is that of `collate_examples`.
    """
    part: list[Encoded] = []
    taken = 0
    for example in encoded:
        rows = len(rows_of(example, branching=branching))
        if part and taken + rows > most_rows:
            yield part
            part, taken = [], 0
        part.append(example)
        taken += rows
    if part:
        yield part


def packed_size(encoded: Sequence[Encoded], most_rows: int, *, branching: bool = False) -> Size:
    """Return a size that covers every part that `packed` makes of examples, choices included.

    >>> packed_size([Encoded((5, 6, 7), 2), Encoded((8, 9, 1, 2), 2)], most_rows=10)
    Size(rows=2, width=3, supervised=4)
    """
    all_rows, longest, most_judged = 0, 1, 0.0
    for example in encoded:
        lengths = rows_of(example, branching=branching)
        judged = sum(len(e.ids) - e.supervised_from for e in (example, *example.choices))
        all_rows, longest = all_rows + len(lengths), max(longest, *lengths)
        most_judged = max(most_judged, judged / len(lengths))
        most_rows = max(most_rows, len(lengths))
    rows = min(most_rows, all_rows)
    return Size(rows, longest, math.ceil(rows * most_judged))


def rows_of(example: Encoded, *, branching: bool = False) -> list[int]:
    """Return the length of each row of an example with its choices, see `collate_examples`."""
    sequences = (example, *example.choices)
    if not branching:
        return [len(row) for row in _rows(sequences)[0]]
    trie = Trie()
    for sequence in sequences:
        trie.add(sequence.ids[:-1])
    return [len(trie.ids)]


def _rows(encoded: Sequence[Encoded]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the rows, in order of first use, and the row of each sequence.

    The last token of a sequence is not an input, since nothing follows it.
    """
    read = [e.ids[:-1] for e in encoded]
    longest: list[tuple[int, ...]] = []
    for ids in sorted(set(read), key=len, reverse=True):
        if not any(row[: len(ids)] == ids for row in longest):
            longest.append(ids)
    holding = [next(row for row in longest if row[: len(ids)] == ids) for ids in read]
    rows = list(dict.fromkeys(holding))
    return rows, [rows.index(row) for row in holding]


def batch_indices(n_examples: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Return the indices of the examples in the batch of a step.

    Every epoch is a new permutation of all examples, which depends on the seed. A batch may span two epochs, and a
    batch larger than the data spans several. There is no state between calls, so a race can resume at any step,
    counted from 0.

    >>> first, second = (batch_indices(6, 3, seed=0, step=step) for step in (0, 1))
    >>> sorted(first + second)
    [0, 1, 2, 3, 4, 5]
    """
    if n_examples < 1 or batch_size < 1 or step < 0:
        raise ValueError(
            "a batch needs an example, a size >= 1 and a step >= 0: "
            f"got {n_examples} examples, batch size {batch_size}, step {step}"
        )
    places = range(step * batch_size, (step + 1) * batch_size)
    return [_epoch(n_examples, seed, place // n_examples)[place % n_examples] for place in places]


class Epochs(NamedTuple):
    """How much a lane sees of the rows that it trains on.

    >>> Epochs(20, 480).words, Epochs(1600, 480).words
    ('0.042 epochs (20 of 480 rows)', '3.3 epochs of 480 rows')
    """

    prompts: int
    """Of all its batches."""
    rows: int
    """Of the training part; 0 if unknown."""

    @property
    def number(self) -> float:
        """How often it sees all of them; NaN if there is no telling."""
        return self.prompts / self.rows if self.rows else math.nan

    @property
    def words(self) -> str:
        """Their number, with that of the rows; empty if there is no telling."""
        if not self.rows:
            return ""
        of_rows = f" ({self.prompts:,} of {self.rows:,} rows)" if self.number < 1 else f" of {self.rows:,} rows"
        return f"{epochs(self.number)}{of_rows}"


@lru_cache(maxsize=2 * 64)
def _epoch(n_examples: int, seed: int, epoch: int) -> array[int]:
    order = list(range(n_examples))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return array("I", order)  # a tenth of what objects take


class Trie:
    """A row of tokens, in which each follows an earlier one, not always the one before it, and their positions.

    The position of a token is its place in the sequences that hold it, from 0.

    >>> trie = Trie()
    >>> trie.add([5, 6, 7]), trie.add([5, 8])
    ([0, 1, 2], [0, 3])
    >>> trie.ids, trie.positions
    ([5, 6, 7, 8], [0, 1, 2, 1])
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self._follows: list[int] = []
        self._next: dict[tuple[int, int], int] = {}

    def add(self, ids: Sequence[int]) -> list[int]:
        """Add a sequence; return the place of each of its tokens in the row."""
        places, before = [], -1
        for position, token in enumerate(ids):
            place = self._next.setdefault((before, token), len(self.ids))
            if place == len(self.ids):
                self.ids.append(token)
                self.positions.append(position)
                self._follows.append(before)
            places.append(place)
            before = place
        return places

    def seen(self) -> Bool[np.ndarray, "n n"]:
        """Return whether each token (rows) comes after another (columns) in a sequence, or is it.

        >>> trie = Trie()
        >>> _ = trie.add([5, 6]), trie.add([5, 8])
        >>> trie.seen().astype(int).tolist()
        [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
        """
        seen = np.eye(len(self.ids), dtype=bool)
        for place, before in enumerate(self._follows):
            if before >= 0:
                seen[place] |= seen[before]
        return seen
