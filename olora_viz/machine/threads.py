"""Calls side by side, each on a thread of one core, and hooks that belong to a thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from torch import nn

from olora_viz.machine.process import Progress, StoppedEarlyError, cores

T = TypeVar("T")

Call = Callable[[Progress], T]
"""Work that reports its progress; what the report raises ends it."""

Report = Callable[[Sequence[float], str], None]
"""Called with the fractions that are done, one per call, and a short description of the latest work."""

NICE = 5
"""The priority of a server's computations, from -20, the highest, to 19: beside others a third of their share."""

REPORT_EVERY = 0.05
"""Seconds between two reports of calls that run side by side."""


def in_order(calls: Sequence[Call[T]], report: Report | None = None) -> list[T]:
    """Return the results of some calls, one after the other, each on all threads that torch has here.

    >>> in_order([lambda tell: 1, lambda tell: 2])
    [1, 2]
    """
    parts = [0.0] * len(calls)

    def tell(i: int, part: float, words: str) -> None:
        parts[i] = part
        if report is not None:
            report(parts, words)

    results = []
    for i, call in enumerate(calls):
        results.append(call(partial(tell, i)))
        parts[i] = 1.0
    return results


def side_by_side(calls: Sequence[Call[T]], report: Report | None = None) -> list[T]:
    """Return the results of some calls, each computed by one core, as many at once as torch has threads here.

    Whatever that number, a call computes bitwise the same; if it is one, the calls run in this thread.

    Args:
        report: is called in this thread. What it raises, and Ctrl-C, ends the calls that report, and comes out once
            all have ended; so does the first error of a call.

    >>> side_by_side([lambda tell: torch.get_num_threads()] * 2)
    [1, 1]
    """
    if torch.get_num_threads() == 1:
        return in_order(calls, report)
    parts, results, errors = [0.0] * len(calls), dict[int, T](), dict[int, BaseException]()
    together = min(len(calls), torch.get_num_threads())
    waiting, over = iter(range(len(calls))), list[None]()
    halted, ended = threading.Event(), threading.Event()
    running = [threading.Lock() for _ in calls]
    latest: list[str] = []

    def tell(i: int, part: float, words: str) -> None:
        parts[i] = part
        latest[:] = [words]
        if halted.is_set():
            raise StoppedEarlyError

    def work() -> None:
        for i in waiting:
            with running[i]:
                try:
                    if not halted.is_set():
                        results[i], parts[i] = calls[i](partial(tell, i)), 1.0
                except BaseException as error:
                    errors[i] = error
                    halted.set()
        over.append(None)
        if len(over) == together:
            ended.set()

    try:
        _cores.run(work, together)
        while not ended.wait(REPORT_EVERY):
            if report is not None and latest and not halted.is_set():
                report(parts, latest[0])
    finally:
        halted.set()
        for lock in running:  # and not for `ended`: an interrupt may come before the calls begin, which then never do
            with lock:
                pass
    if errors:
        error = errors[min(errors, key=lambda i: (isinstance(errors[i], StoppedEarlyError), i))]
        errors.clear()
        try:
            raise error
        finally:
            del error  # whose traceback has this frame
    return [results[i] for i in range(len(calls))]


@contextmanager
def on_one_core() -> Generator[None]:
    """Compute on one core within a block, so that no bit depends on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Cores:
    """Threads that compute on one core each: as many as were needed at once, kept for later calls."""

    def __init__(self) -> None:
        self._lock, self._tasks = threading.Lock(), SimpleQueue[tuple[Callable[[], None], int]]()
        self._count = 0

    def run(self, task: Callable[[], None], times: int) -> None:
        """Begin to run a task on several threads."""
        with self._lock:
            if self._count < times:
                self._grow(times)
        self._tasks.put((task, times))

    def _grow(self, count: int) -> None:
        begun = SimpleQueue[None]()
        while self._count < count:
            threading.Thread(target=self._serve, args=(begun,), name="olora_viz core", daemon=True).start()
            self._count += 1
            begun.get()
        # Torch remembers the latest number for all threads to come, so it is told that of this thread again.
        torch.set_num_threads(torch.get_num_threads())

    def _serve(self, begun: SimpleQueue[None]) -> None:
        torch.get_num_threads()  # A thread takes the number of all when it first asks, and may then have its own.
        torch.set_num_threads(1)
        begun.put(None)
        while True:
            task, times = self._tasks.get()
            if times > 1:
                self._tasks.put((task, times - 1))
            task()
            del task  # and what it holds


_cores = _Cores()


def _forget() -> None:
    global _cores
    _cores = _Cores()  # a fork has none of the threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def make_way() -> None:
    """Let this thread, and those that it starts, compute on all cores what others leave: a server answers meanwhile.

    Where threads have no priority of their own, as they have on Linux, one core is left to others. Nothing changes if
    ``OMP_NUM_THREADS`` says how many threads compute.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    else:
        torch.set_num_threads(max(1, cores() - 1))


_registering = threading.Lock()


@contextmanager
def before_forward(hooks: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Generator[None]:
    """Call hooks before the forward of some modules within a block, and in this thread alone.

    Other threads may run the same modules meanwhile.

    Args:
        hooks: modules, and what to call with each and its inputs; see torch's ``register_forward_pre_hook``.
    """
    mine = threading.get_ident()

    def called(hook: Callable[..., Any], *given: Any) -> Any:
        return hook(*given) if threading.get_ident() == mine else None

    handles = []
    try:
        with _registering:  # torch counts its hooks, and two threads could get the same number
            for module, hook in hooks:
                handles.append(module.register_forward_pre_hook(partial(called, hook)))
        yield
    finally:
        with _registering:
            for handle in handles:
                handle.remove()
