"""A mapping whose values are made when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

V = TypeVar("V")


class LazyMapping(Mapping[str, V]):
    """Values by name, in the order of the names; `make` makes each one when it is read.

    >>> squares = LazyMapping(["1", "2"], lambda name: int(name) ** 2)
    >>> squares["2"], list(squares), squares.get("3")
    (4, ['1', '2'], None)
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], V]) -> None:
        self._names, self._make = names, make

    def __getitem__(self, name: str) -> V:
        """Make a value; KeyError if there is none of that name."""
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        """Return the names in order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)
