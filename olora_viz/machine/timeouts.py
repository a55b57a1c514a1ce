"""Timeouts for calls that have none, such as a DNS lookup."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Return the result of `ask`, or raise after a timeout.

    `ask` runs in a daemon thread, which is abandoned when the time is up.

    Raises
    ------
    TimeoutError : `ask` did not return within `seconds`. Errors of `ask` itself are re-raised.

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
