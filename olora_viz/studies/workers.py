"""Processes that race side by side: they stop when the study does, and end with its process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from olora_viz.machine.memory import keep_freed
from olora_viz.races.kept import Kept

_stop: Any = None
"""Memory that the processes of a study share: not zero when it stops. It has no lock, which a
process that is killed could keep."""

_kept = Kept()
"""What the races of this process leave to each other."""


class Workers(ProcessPoolExecutor):
    """A pool whose calls are told to stop when it shuts down.

    Parameters
    ----------
    count : number of processes.
    """

    def __init__(self, count: int) -> None:
        context: Any = multiprocessing.get_context(_method())
        self._asked: Any = context.RawValue("b", 0)
        super().__init__(count, context, _begin, (self._asked,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Start a call in some process.

        It gets a `watch` that returns whether to go on, and what earlier calls there have `kept`.
        """
        return super().submit(_call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Let running calls stop at their next step, and drop those that wait."""
        self._asked.value = 1
        super().shutdown(wait, cancel_futures=cancel_futures)


def _method() -> str:
    """Return how processes start: on Linux from one that has loaded the libraries once for all."""
    if sys.platform != "linux":
        return "spawn"
    multiprocessing.set_forkserver_preload(["olora_viz.studies.running"])
    return "forkserver"


def _begin(stop: Any) -> None:
    """Begin a process: Ctrl-C in a terminal reaches it too, but its study decides."""
    global _stop
    _stop = stop
    keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when that of the study is gone, which would otherwise race on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> Any:
    return fn(*args, watch=_goes_on, kept=_kept, **kwargs)


def _goes_on(_: object) -> bool:
    return not _stop.value
