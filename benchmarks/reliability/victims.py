"""Processes to be killed: forks of this one, which has loaded the libraries already."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

Say = Callable[[str], None]


class Victim:
    """A process and the lines that it says.

    Args:
        work: what it does; it gets a function that says a line.
        temporary: its temporary folder.
    """

    def __init__(self, work: Callable[[Say], object], temporary: Path) -> None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            os.close(reading)
            _live(work, writing, temporary)
        os.close(writing)
        self.lines = open(reading, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.status: int | None = None

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def heard(self, line: str, times: int = 1) -> bool:
        """Wait until it has said a line so often; False if it ended before."""
        for said in self.lines:
            times -= said.strip() == line
            if not times:
                return True
        return False


def _live(work: Callable[[Say], object], writing: int, temporary: Path) -> None:
    """Work in the fork, and end it without what its parent registered for its own end."""
    status = 1
    try:
        torch.set_num_threads(1)
        tqdm.set_lock(threading.RLock())  # the parent would wait for one that dies with this process
        temporary.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(temporary)
        work(lambda line: os.write(writing, f"{line}\n".encode()) and None)
        status = 0
    except BaseException:
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(status)


@contextmanager
def victim(work: Callable[[Say], object], temporary: Path) -> Iterator[Victim]:
    """Yield a process, and kill it at the end if it lives."""
    its = Victim(work, temporary)
    try:
        yield its
    finally:
        its.kill()
        its.lines.close()


def apart(work: Callable[[Say], object], temporary: Path) -> str:
    """Do work in a process of its own; return what it said.

    Raises:
        AssertionError: it failed; the message is what it said.
    """
    with victim(work, temporary) as its:
        said = its.lines.read()
        assert its.wait() == 0, said[-1500:]
    return said
