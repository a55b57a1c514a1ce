"""Waiting for something outside of this machine, but not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Return what `ask` returns, or give up.

    A look-up of a host's name has no time limit of its own, so `ask` runs in a thread that nobody
    waits for in the end.

    Raises
    ------
    TimeoutError : nothing came within `seconds`; else whatever `ask` raises.

    >>> within(1.0, lambda: 6 * 7)
    42
    """
    answers: list[T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    raise failures[0] if failures else TimeoutError(f"no answer within {seconds:.0f} s")
