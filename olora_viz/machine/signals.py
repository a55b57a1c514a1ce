"""Ctrl-C and SIGTERM: the first asks politely, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_interruption(close: Callable[[], None]) -> Iterator[None]:
    """Answer the first Ctrl-C or SIGTERM by a call, the next ones by a `KeyboardInterrupt`.

    Parameters
    ----------
    close : only notes that the end is wanted: it runs wherever the program happens to be.
    """
    asked = False

    def interrupt(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        close()
        with suppress(OSError):  # not by print: the signal may have come in the middle of one
            os.write(2, b"\nstopping after this step; once more to stop at once\n")

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
