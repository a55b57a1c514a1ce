"""A long computation in the background: its state, its end, and how readers wait for changes.

The page's queue calls `compute` in its time slice; a notebook's panel calls `start`, which computes in a thread.
Readers wait for changes with `newer`.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import transformers  # noqa: F401 - two threads at once must not be the first to import it

from olora_viz.background.record import ENDED, FAILED, LOADING, PAUSED, WAITING
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import STOPPED


@dataclass(eq=False)
class BackgroundWork:
    """A long computation on a race's set-up: a race, or a measurement of its initialization.

    Its attributes may be read at any time, from any thread.
    """

    id: str
    config: RaceConfig
    folder: Path | None
    """The folder of its results; None to keep them in memory only."""
    styles: tuple[LaneStyle, ...]
    state: str = WAITING
    """waiting, loading, the activity (racing, …), paused, or one of `ENDED`."""
    note: str = ""
    """The current activity; after the end, the reason for the end."""
    part: float = 0.0
    """The completed fraction, from 0 to 1, if known."""
    why: str = ""
    """Why it ended, if the user did not end it."""
    complete: bool = False
    """Whether it has ended: nothing changes any more."""
    error: BaseException | None = None
    """The error that made it fail."""
    stopping: threading.Event = field(default_factory=threading.Event)
    listen: Callable[[], None] | None = None
    """Called after every change, in the thread that made it, before waiting readers wake up."""
    version: int = 0
    """Grows with every change: the cursor of `newer`."""
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _heard: int = 0

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with."""
        return self.config

    @property
    def name(self) -> str:
        """See `RaceRecord.name`."""
        return self.id

    @property
    def ended(self) -> bool:
        """Whether nothing more will be measured; the lanes of a race may still be answering."""
        return self.state in ENDED

    # Readers ------------------------------------------------------------------------------------

    def newer(self, cursor: int, timeout: float | None = None) -> int:
        """Wait until there is something newer than `cursor`; return the latest cursor.

        Args:
            cursor: what this method returned before; 0 at first.
            timeout: maximum wait, in seconds.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.version > cursor, timeout)
            return self.version

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it was reached."""
        return self._wait(lambda: self.complete, timeout)

    def wait_for_pause(self) -> None:
        """Wait for the end or a pause."""
        self._wait(lambda: self.complete or (self.state == PAUSED and self.pauses()))

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, until the listener was notified as well."""
        with self.changed:
            return self.changed.wait_for(lambda: until() and self._heard == self.version, timeout)

    # Commands -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Compute in a thread, until the end."""
        self.become(LOADING, f"loading {self.config.model}")
        thread = threading.Thread(target=self._compute_to_end, name=f"olora_viz {self.id}", daemon=True)
        _running[self] = thread
        thread.start()

    def stop(self, why: str = "") -> None:
        """Request the end."""
        if not self.stopping.is_set():
            self.why = why
            self.stopping.set()
            self.wake()

    # The computation --------------------------------------------------------------------------

    def become(self, state: str, note: str = "") -> None:
        """Change the state and wake waiting readers."""
        self._change(state=state, note=note)

    def wake(self) -> None:
        """Notify the listener and wake waiting readers."""
        self._change()

    def _change(self, **values: object) -> None:
        """Change attributes; whoever waits for them goes on after the listener was notified."""
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.before_news()
            self.version += 1
            news = self.version
        try:
            if self.listen is not None:
                self.listen()
        finally:
            with self.changed:
                self._heard = max(self._heard, news)
                self.changed.notify_all()

    def before_news(self) -> None:
        """Called after every change, before anybody hears of it."""

    def is_over(self) -> bool:
        """Whether the end was requested."""
        return self.stopping.is_set()

    def progress(self, part: float, what: str) -> None:
        """Report the progress; raises if a stop was requested."""
        self.part, self.note = part, what
        self.wake()
        if self.is_over():
            raise StoppedEarlyError

    def compute(self) -> None:
        """Compute until the end or a pause; errors are reported in `note`.

        Raises:
            Exception: an unexpected error, after it was reported.
        """
        paused = None
        try:
            paused = self.run()
        except StoppedEarlyError:
            self.end(STOPPED, self.why)
        except ValueError as error:
            self.error = error
            self.end(FAILED, self.sentence_on(error))
        except Exception as error:
            self.error = error
            self.end(FAILED, self.sentence_on(error))
            raise
        finally:
            if not paused and not self.complete:
                self._change(complete=True)

    def end(self, state: str, note: str = "") -> None:
        """Enter the final state, which a reader who sees that it is complete also sees."""
        self._change(state=state, note=note, complete=True)

    def run(self) -> bool | None:
        """Compute; return True if it is paused. May raise `StoppedEarlyError`."""
        raise NotImplementedError

    def pauses(self) -> bool:
        """Whether it should wait for a command."""
        return False

    def release(self) -> None:
        """Release memory that is kept only for a quick resume."""

    def sentence_on(self, error: Exception) -> str:
        """Return one sentence on why it failed."""
        if isinstance(error, ValueError):
            return self.without_paths(str(error))
        why = getattr(error, "strerror", None) or f"{error}".split("\n")[0]
        return f"{type(error).__name__}: {self.without_paths(str(why))[:200]}"

    def without_paths(self, sentence: str) -> str:
        """Return a sentence without private information."""
        return sentence

    def _compute_to_end(self) -> None:
        with contextlib.suppress(Exception):  # it is kept in `error`
            while not self.complete:
                with self.changed:
                    self.changed.wait_for(lambda: not self.pauses())
                self.compute()


LAST_STEP = 60.0
"""Seconds that the end of a process waits for the step that is being computed."""

_running: weakref.WeakKeyDictionary[BackgroundWork, threading.Thread] = weakref.WeakKeyDictionary()


@atexit.register
def _stop_all() -> None:
    """Stop all threads before the interpreter exits: one that then returns to it would abort."""
    threads = list(_running.values())
    for work in list(_running):
        work.stop()
    for thread in threads:
        thread.join(LAST_STEP)
