"""How often a visitor may ask for something: at most so many times a minute."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from olora_viz.web.guard.visitor import NOBODY, Visitor

WINDOW = 60.0
"""Seconds over which requests are counted."""


class Rate:
    """Counts the requests of the last minute, by page and by address.

    Parameters
    ----------
    per_page, per_address : the most requests.
    clock : the time in seconds.
    """

    def __init__(
        self, per_page: int, per_address: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = {"page": per_page, "address": per_address}
        self._clock, self._lock = clock, threading.Lock()
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def count(self, owner: Visitor, what: str) -> None:
        """Count a request.

        Parameters
        ----------
        what : is counted, in the plural.

        Raises
        ------
        ValueError : the visitor has made too many; the message says when to try again.
        """
        if owner == NOBODY:
            return
        with self._lock:
            now = self._clock()
            for key, times in list(self._times.items()):
                while times and times[0] <= now - WINDOW:
                    times.popleft()
                if not times:
                    del self._times[key]
            keys = [("page", owner.page), ("address", owner.address)]
            for kind, name in keys:
                times = self._times.get((kind, name), deque[float]())
                if name and len(times) >= self._most[kind]:
                    wait = math.ceil(times[0] + WINDOW - now)
                    raise ValueError(
                        f"{self._most[kind]} {what} a minute are the most for one {kind}: try "
                        f"again in {wait} s"
                    )
            for key in keys:
                self._times[key].append(now)
