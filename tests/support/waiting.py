"""Waiting for what another thread, process or page does; the time says only when to give up."""

import time
from collections.abc import Callable

PATIENCE = 300.0
"""Seconds that a test waits for anything: on a busy machine it may take its time."""


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return once a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not come about within {seconds} s"
        time.sleep(0.005)
