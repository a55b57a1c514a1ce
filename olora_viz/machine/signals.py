"""Ctrl-C and SIGTERM: the first signal waits until nothing is lost, the second one acts at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Closing:
    """Handler that calls `close` at the first signal, and raises `KeyboardInterrupt` at the next.

    Parameters
    ----------
    close, then : see `on_interruption`.
    """

    def __init__(self, close: Callable[[], None], then: str = "") -> None:
        self._close, self._then, self._asked = close, then, False

    def __call__(self, *_: object) -> None:
        """Handle a signal."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._close()
        _say(
            f"stopping after this step, or in its evaluation{self._then}; press again to stop at "
            "once"
        )


@contextmanager
def on_interruption(close: Callable[[], None], then: str = "") -> Generator[None]:
    """Call `close` at the first Ctrl-C or SIGTERM; raise `KeyboardInterrupt` at the next.

    Parameters
    ----------
    close : called from the signal handler, at any point of the program: it should only set a flag.
    then : what takes time afterwards, in words that follow.
    """
    handler = _Closing(close, then)
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, its in before.items():
            signal.signal(number, its or signal.SIG_DFL)


class HeldInterrupt:
    """A context that a Ctrl-C, or an interrupt of the kernel, does not leave halfway.

    The first one is kept in `interrupt`; the second one acts at once. Nothing changes outside of
    the main thread, which receives no signals, or where `on_interruption` is in charge.

    Attributes
    ----------
    interrupt : does what the interrupt would have done, such as raise `KeyboardInterrupt`; None if
        there was none. It is called automatically if the context ends with an error.
    """

    def __init__(self) -> None:
        self.interrupt: Callable[[], Any] | None = None
        self._before: Any = None

    def __enter__(self) -> HeldInterrupt:
        """Hold interrupts back from now on."""
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before) and not isinstance(before, _Closing):
                self._before = before
                signal.signal(signal.SIGINT, self._hold)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Let interrupts through again."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is not None:
            self.release()

    def release(self) -> None:
        """Do what an interrupt would have done, if there was one."""
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.interrupt is not None:
            self.interrupt = None
            self._before(number, frame)
        else:
            self.interrupt = partial(self._before, number, None)
            _say("stopping after this step, or in its evaluation; interrupt again to stop at once")


def _say(words: str) -> None:
    with suppress(OSError):  # print is not reentrant, and the signal may have interrupted one
        os.write(2, f"\n{words}\n".encode())
