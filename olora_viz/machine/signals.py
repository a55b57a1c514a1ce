"""Ctrl-C and SIGTERM: the first signal stops gracefully, the second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_interruption(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` at the first Ctrl-C or SIGTERM; raise `KeyboardInterrupt` at the next.

    Parameters
    ----------
    close : called from the signal handler, at any point of the program: it should only set a flag.
    """
    asked = False

    def interrupt(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        close()
        with suppress(OSError):  # print is not reentrant, and the signal may have interrupted one
            os.write(2, b"\nstopping after this step; press again to stop at once\n")

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
