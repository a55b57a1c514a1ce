"""The rate of updates."""

from __future__ import annotations

import time


class Pace:
    """At most about four updates per second and a tenth of the time."""

    EVERY, SHARE = 0.22, 0.1

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether the next update is due."""
        return time.monotonic() >= self._next

    def took(self, began: float) -> None:
        """Record the start time of the update that has just ended."""
        now = time.monotonic()
        self._next = now + max(self.EVERY, (now - began) / self.SHARE)
