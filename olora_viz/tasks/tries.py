"""Rows that branch: sequences which begin alike, with their common tokens once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool


class Trie:
    """A row of tokens in which each follows an earlier one, not always the one before it.

    Attributes
    ----------
    ids : the tokens.
    positions : of each token, its place in the sequences that hold it, from 0.

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
