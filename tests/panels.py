"""Panels of a notebook, used as a cell does."""

import time
from collections.abc import Callable

from races import PAIR, small

LANES = PAIR
CONFIG = small(LANES, steps=6, batch_size=2, eval_every=3)
LONG = small(LANES, steps=100_000, batch_size=2)


def wait_for(what: Callable[[], object]) -> None:
    """Wait for another thread; the time says only when to give up."""
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    raise TimeoutError


def press(panel, word: str) -> None:
    """Press a button of a panel."""
    panel._buttons[word].click()


def text(panel) -> str:
    """Return the line beside its buttons."""
    return panel._status.value
