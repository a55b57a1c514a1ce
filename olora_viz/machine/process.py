"""This process: its threads, signals and time limits, and how it shows progress."""

from __future__ import annotations

import math
import os
import secrets
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from tqdm import tqdm

CHOSEN_BY_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables of OpenMP that say how its threads wait."""


SPINS = 6000
"""Rounds for which a thread of GNU's OpenMP spins before it sleeps: about 0.1 ms."""


def wait_asleep() -> None:
    """Let OpenMP's threads sleep when they have waited for each other for a moment, unless the user chose otherwise.

    By default they spin for much longer. If something else needs one of their cores, they spin until it has had its
    turn, many times in each step: two threads beside two busy processes take 3.8 times as long as alone, sleeping ones
    1.6 times, and the more load, the wider the gap. Threads that sleep at once take 1.3 times as long on an idle
    machine (`benchmarks/threads.py`). OpenMP reads this when torch is loaded: call it before.
    """
    if not any(name in os.environ for name in CHOSEN_BY_THE_USER):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # of every OpenMP
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # of GNU's, where it goes before
        if "torch" in sys.modules:
            _came_first.append("torch")


_came_first: list[str] = []
"""What had chosen how its threads wait before it could be told; emptied by the warning."""


def warn_of_spinning() -> None:
    """Warn, once, if torch was loaded before it could be told how its threads wait."""
    if _came_first:
        _came_first.clear()
        warnings.warn(
            "torch was imported before olora_viz, so its threads spin while they wait for each other, and a race "
            "beside busy processes can take many times as long: import olora_viz first, or set "
            "OMP_WAIT_POLICY=PASSIVE",
            stacklevel=2,
        )


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


T = TypeVar("T")


TELLS = 0.1
"""Seconds between two calls of what is told meanwhile."""


def within(seconds: float, ask: Callable[[], T], meanwhile: Callable[[], object] | None = None) -> T:
    """Return the result of `ask`, or raise its error; it runs in a daemon thread, abandoned when the time is up.

    Args:
        meanwhile: called ten times a second; `ask` is also abandoned if it raises an error, which comes out.

    Raises:
        TimeoutError: `ask` did not return within `seconds`.

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
    if meanwhile is None:
        thread.join(seconds)
    else:
        end = time.monotonic() + seconds
        while thread.is_alive() and time.monotonic() < end:
            meanwhile()
            thread.join(min(TELLS, max(0.0, end - time.monotonic())))
    if answers:
        return answers[0]
    raise failures[0] if failures else TimeoutError(f"no answer within {seconds:.0f} s")


class _Closing:
    """Handler that calls `close` at the first signal, and raises `KeyboardInterrupt` at the next."""

    def __init__(self, close: Callable[[], None], then: str = "") -> None:
        self._close, self._then, self._asked = close, then, False

    def __call__(self, *_: object) -> None:
        """Handle a signal."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._close()
        _say(f"stopping after this step, or in its evaluation{self._then}; press again to stop at once")


@contextmanager
def on_interruption(close: Callable[[], None], then: str = "") -> Generator[None]:
    """Call `close` at the first Ctrl-C or SIGTERM; raise `KeyboardInterrupt` at the next.

    Args:
        close: called from the signal handler, at any point of the program: it should only set a flag.
        then: what takes time afterwards, in words that follow.
    """
    handler = _Closing(close, then)
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)


class HeldInterrupt:
    """A context that a Ctrl-C, or an interrupt of the kernel, does not leave halfway.

    The first one is kept in `interrupt`; the second one acts at once, and what it raises is not interrupted again
    within the context. Nothing changes outside of the main thread, which receives no signals, or where
    `on_interruption` is in charge.

    Attributes:
        interrupt: does what the interrupt would have done, such as raise `KeyboardInterrupt`; None if there was none.
            It is called automatically if the context ends with an error.
    """

    def __init__(self) -> None:
        self.interrupt: Callable[[], Any] | None = None
        self._before: Any = None
        self._raises = False

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
        if self._raises:
            return
        if self.interrupt is not None:
            self.interrupt, self._raises = None, True
            self._before(number, frame)
            self._raises = False
        else:
            self.interrupt = partial(self._before, number, None)
            _say("stopping after this step, or in its evaluation; interrupt again to stop at once and repeat the step")


def _say(words: str) -> None:
    with suppress(OSError):  # print is not reentrant, and the signal may have interrupted one
        os.write(2, f"\n{words}\n".encode())


Progress = Callable[[float, str], None]
"""Callback with the fraction done, in [0, 1], and a short description of the current work.

An exception raised here propagates through the work, so that the caller can cancel it.
"""

LONG_AFTER, REPORT_EVERY = 0.5, 0.1
"""Seconds until work counts as long, and between two reports of it."""


class StoppedEarlyError(Exception):
    """Raised inside long work to stop it, at a moment at which nothing is lost."""


class OfLongWork:
    """Progress of work that may be over at once, and then is not reported at all."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._last, self._due = (math.inf, ""), math.inf

    def __call__(self, part: float, words: str) -> None:
        """Report it, if that is due."""
        now, last, self._last = time.monotonic(), self._last, (part, words)
        if words != last[1] or part < last[0]:  # other work begins
            self._due = now + LONG_AFTER
        elif now >= self._due and self._progress is not None:
            self._due = now + REPORT_EVERY
            self._progress(part, words)


@contextmanager
def reporting(progress: Progress | None) -> Generator[Progress]:
    """Show a bar on standard error while the block runs; yield a callback that updates it and `progress`."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, bar_format=form, file=sys.stderr, dynamic_ncols=True) as bar:

        def report(fraction: float, words: str) -> None:
            bar.update(100 * min(max(fraction, 0.0), 1.0) - bar.n)  # draws ten times a second
            if words != bar.desc:
                bar.set_description_str(words)  # draws at once
            if progress is not None:
                progress(fraction, words)

        yield report


class Stages:
    """Reports the progress of each stage as progress of the whole, which has `total` stages, `done` of them over."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def stage(self, name: str) -> Progress:
        """Begin the next stage, and return its progress callback."""
        done = self._done
        self._done += 1

        def report(part: float, what: str) -> None:
            if self._progress:
                self._progress((done + part) / self._total, f"{name}: {what}")

        return report


Bundle = Mapping[str, object]
"""One content in several forms, by MIME type."""

REDRAW_EVERY, REDRAW_SHARE = 0.25, 0.2
"""Least seconds between two updates, and the largest share of the time that they take."""


def is_notebook() -> bool:
    """Whether a kernel runs this, so that outputs can be replaced."""
    shell = sys.modules.get("IPython.core.getipython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


class LiveOutput:
    """An output below the cell; made where `is_notebook`."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(8)
        self._is_there, self._next = False, 0.0

    def show(self, make: Callable[[], Bundle], *, at_once: bool = False) -> None:
        """Show a content in place of the one before, unless that is too recent.

        Args:
            make: returns the content; called only if it is shown.
            at_once: show it in any case.
        """
        began = time.monotonic()
        if at_once or began >= self._next:
            self._publish(make())
            now = time.monotonic()
            self._next = now + max(REDRAW_EVERY, (now - began) / REDRAW_SHARE)

    def clear(self) -> None:
        """Leave nothing below the cell."""
        if self._is_there:
            self._publish({"text/plain": ""})

    def _publish(self, bundle: Bundle) -> None:
        from IPython.display import publish_display_data

        where = {"display_id": self._id}
        publish_display_data(dict(bundle), transient=where, update=self._is_there)
        self._is_there = True


V = TypeVar("V")


class LazyMapping(Mapping[str, V]):
    """Values by name, in the order of the names; `make` makes each one when it is read.

    >>> squares = LazyMapping(["1", "2"], lambda name: int(name) ** 2)
    >>> squares["2"], list(squares), squares.get("3")
    (4, ['1', '2'], None)
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], V]) -> None:
        self._names, self._make = names, make

    def __getitem__(self, name: str) -> V:
        """Make a value; KeyError if there is none of that name."""
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        """Whether there is a value of that name; none is made."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Return the names in order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)
