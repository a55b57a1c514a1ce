"""Short computations of all visitors, in one thread of their own."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from olora_viz.web.guard.fairness import FRONT, Line, Pages, Places
from olora_viz.web.guard.limits import Visitor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(eq=False)
class Computation:
    """One computation that a page waits for."""

    owner: Visitor
    compute: Callable[[], Any]
    result: Future[Any] = field(default_factory=Future)
    seen: float = math.inf
    """Its page waits for it; if the page is closed, it is cancelled."""
    turn: tuple[float, float, int] = FRONT
    complete: bool = False


class Pool:
    """Computes in one thread of its own what takes seconds at most; `places` says how many may wait."""

    def __init__(self, places: Places) -> None:
        self._line: Line[Computation] = Line(places, Pages())
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None

    async def run(
        self,
        owner: Visitor,
        compute: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Compute in turn, and return the result or raise the error.

        Raises:
            ValueError: too many computations wait already.
        """
        computation = Computation(owner, lambda: compute(*arguments, **options))
        with self._wake:
            self._line.let_in(owner)
            self._line.ask(computation)
            self._line.join(computation)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="pool", daemon=True)
                self._worker.start()
            self._wake.notify()
        try:
            return await asyncio.wrap_future(computation.result)
        finally:
            with self._wake:  # if nobody waits for it any more
                self._line.leave(computation)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._line.waiting)
                computation = self._line.call()
            if computation.result.set_running_or_notify_cancel():  # its page may have gone
                try:
                    computation.result.set_result(computation.compute())
                except BaseException as error:
                    computation.result.set_exception(error)
            with self._wake:
                self._line.done(computation)


def few(what: str) -> Places:
    """Return the places of short computations; a page asks for a few at once."""
    return Places(most=30, per_page=8, per_address=20, what=what)
