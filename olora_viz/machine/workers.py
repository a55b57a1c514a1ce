"""Calls in processes of this machine, or as tasks of a Ray cluster, several at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from olora_viz.machine.memory import give_back, keep_freed
from olora_viz.machine.on_ray import RayPool

_stop_flag: Any = None
"""Memory that the processes of a pool share: not zero when it stops. It has no lock, which a process that is killed
could keep."""

_number = 0
"""Of this process in its pool."""


class Workers(ProcessPoolExecutor):
    """A pool of processes, whose calls see when it shuts down, see `goes_on`, and which end with this one.

    Args:
        count: number of processes.
        modules: what the calls need, by name: loaded once for all.

    Attributes:
        count: the number of processes.
    """

    def __init__(self, count: int, *modules: str) -> None:
        self.count = count
        give_back()  # to the workers, what this process has freed
        is_linux = sys.platform == "linux"
        if is_linux:  # processes start from one that has loaded the libraries
            multiprocessing.set_forkserver_preload([*modules])
        context: Any = multiprocessing.get_context("forkserver" if is_linux else "spawn")
        self._stop_flag: Any = context.RawValue("b", 0)
        super().__init__(count, context, _begin, (self._stop_flag, context.Value("i", 0)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Let running calls see that it stops, and drop those that wait."""
        self._stop_flag.value = 1
        super().shutdown(wait, cancel_futures=cancel_futures)


def _begin(stop_flag: Any, begun: Any) -> None:
    """Begin a process: Ctrl-C in a terminal reaches it too, but the process that started it decides."""
    global _stop_flag, _number
    _stop_flag = stop_flag
    with begun:
        _number = begun.value
        begun.value += 1
    keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: it would otherwise go on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def worker_number() -> int:
    """Return the number of this process in its pool, from 0."""
    return _number


def goes_on() -> bool:
    """Whether the pool of this process goes on; outside of any, it does."""
    return _stop_flag is None or not _stop_flag.value


def killed() -> ChildProcessError:
    """Return the error that a process of a pool was killed."""
    return ChildProcessError(
        "a process was killed, perhaps because memory ran out: the same command goes on from what has ended"
    )


Pool = Workers | RayPool

MOST_WORKERS = 1024
"""Processes that one command starts at most."""


def pool_of(
    workers: int, ray: str | None, processes: Callable[[int], Workers], *, threads: int = 1, gpus: int = 0
) -> Pool | None:
    """Return what runs calls side by side; None for this process.

    Args:
        workers: number of processes.
        ray: address of a running Ray cluster, ``HOST:PORT`` or ``auto``.
        processes: makes a pool of some processes.
        threads, gpus: what a call takes on Ray.

    Raises:
        ValueError: an unsuitable number of workers, or no such cluster.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"workers must be from 1 to {MOST_WORKERS}, not {workers}")
    if ray is not None and workers != 1:
        raise ValueError(f"workers is {workers}, but on a Ray cluster the cores say how many run at once")
    if ray is not None:
        return RayPool(ray, threads, gpus)
    return None if workers == 1 else processes(workers)
