"""What a server wishes of work that another process computes, and the box in which the worker finds it.

Nothing heavy is imported here: the box has a process of its own.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import NamedTuple

HEARD_WITHIN = 5.0
"""Seconds after which the box answers that nothing is new."""


@dataclass(frozen=True)
class Wish:
    """All that a server wishes at a moment; a later wish takes its place."""

    stop: bool = False
    why: str = ""
    """Why it stops, if the user did not stop it."""
    pause: bool = False
    goal: float = math.inf
    """The step after which a race pauses."""
    last: float = math.inf
    """The step after which it stops."""
    yields: bool = False
    """Whether to make way for others."""
    prompt: str | None = None
    """The owner's own prompt to the lanes of a race that waits for an answer."""


class Heard(NamedTuple):
    """A wish, and its number among those for this work."""

    number: int
    wish: Wish


class Wishes:
    """The latest wish for each turn of work; an actor of a cluster."""

    def __init__(self) -> None:
        self._latest: dict[str, Heard] = {}
        self._changed = asyncio.Condition()

    async def put(self, turn: str, wish: Wish) -> None:
        """Take a wish; one that is repeated changes nothing."""
        number, before = self._latest.get(turn, (0, None))
        if wish != before:
            self._latest[turn] = Heard(number + 1, wish)
            async with self._changed:
                self._changed.notify_all()

    async def newer(self, turn: str, number: int) -> Heard | None:
        """Wait for a wish after that of a number; return None if there is none within `HEARD_WITHIN`."""

        def is_there() -> bool:
            return turn in self._latest and self._latest[turn].number > number

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(is_there), HEARD_WITHIN)
            except TimeoutError:
                return None
            return self._latest[turn]

    async def forget(self, turn: str) -> None:
        """Forget a turn that has ended."""
        self._latest.pop(turn, None)
