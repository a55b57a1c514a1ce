"""A race in the background, which can be paused, stepped, resumed and stopped.

The page's queue calls `compute` in a race's time slice; a notebook's panel calls `start`, which
computes in a thread. Readers wait for changes with `newer`.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.state import DIVERGED, RACING, STOPPED
from olora_viz.races.step import Step
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut
from olora_viz.views.race_record import ENDED, FAILED, LOADING, PAUSED, WAITING

ANSWERS = 4
"""Held-out prompts that every lane answers after a race."""


class StoppedEarlyError(Exception):
    """Raised inside a long computation to stop it."""


@dataclass(eq=False)
class BackgroundWork:
    """A long computation on a race's set-up: a race, or a measurement of its initialization.

    Its attributes may be read at any time, from any thread.
    """

    id: str
    config: RaceConfig
    folder: Path | None
    """The folder of its results; None: in memory only."""
    styles: tuple[LaneStyle, ...]
    state: str = WAITING
    """waiting, loading, what it does (racing, …), paused, or one of `ENDED`."""
    note: str = ""
    """The current activity; after the end, the reason for the end."""
    part: float = 0.0
    """The completed fraction, from 0 to 1, if known."""
    why: str = ""
    """Why it ended, if its owner did not end it."""
    device: str = ""
    """``CPU`` or ``CUDA``; empty while unknown."""
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
    def recorded(self) -> bool:
        """Always False: it is computed live, see `RaceRecord`."""
        return False

    @property
    def ended(self) -> bool:
        """Whether nothing more will be measured; the lanes of a race may still be answering."""
        return self.state in ENDED

    # Readers ------------------------------------------------------------------------------------

    def newer(self, cursor: int, timeout: float | None = None) -> int:
        """Wait until there is something newer than `cursor`; return the latest cursor.

        Parameters
        ----------
        cursor : what this method returned before; 0 at first.
        timeout : maximum wait, in seconds.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.version > cursor, timeout)
            return self.version

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it was reached."""
        return self._wait(lambda: self.complete, timeout)

    def wait_while_going(self) -> None:
        """Wait for the end or a pause."""
        self._wait(lambda: self.complete or (self.state == PAUSED and self.rests()))

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, until the listener was notified as well."""
        with self.changed:
            return self.changed.wait_for(lambda: until() and self._heard == self.version, timeout)

    # Commands -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Compute in a thread, until the end."""
        self.become(LOADING, f"loading {self.config.model}")
        _running.add(self)
        threading.Thread(target=self._live, name=f"olora_viz {self.id}", daemon=True).start()

    def stop(self, why: str = "") -> None:
        """Request the end."""
        if not self.stopping.is_set():
            self.why = why
            self.stopping.set()
            self.wake()

    # The computation --------------------------------------------------------------------------

    def become(self, state: str, note: str = "") -> None:
        """Change the state and wake waiting readers."""
        with self.changed:
            self.state, self.note = state, note
        self.wake()

    def wake(self) -> None:
        """Notify the listener and wake waiting readers."""
        with self.changed:
            self.version += 1
            news = self.version
        try:
            if self.listen is not None:
                self.listen()
        finally:
            with self.changed:
                self._heard = max(self._heard, news)
                self.changed.notify_all()

    def is_over(self) -> bool:
        """Whether the end was requested."""
        return self.stopping.is_set()

    def tell(self, part: float, what: str) -> None:
        """Report the progress; raises if a stop was requested."""
        self.part, self.note = part, what
        self.wake()
        if self.is_over():
            raise StoppedEarlyError

    def compute(self) -> None:
        """Compute until the end or a pause; errors are reported in `note`.

        Raises
        ------
        Exception : an unexpected error, after it was reported.
        """
        rests = None
        try:
            rests = self.run()
        except StoppedEarlyError:
            self.end(STOPPED, self.why)
        except ValueError as error:
            self.error = error
            self.end(FAILED, self.sayable(str(error)))
        except Exception as error:
            self.error = error
            why = error.strerror if isinstance(error, OSError) else f"{error}".split("\n")[0]
            self.end(FAILED, f"{type(error).__name__}: {self.sayable(str(why))[:200]}")
            raise
        finally:
            self.came_to_rest()
            if not rests and not self.complete:
                self.complete = True
                self.wake()

    def end(self, state: str, note: str = "") -> None:
        """Enter the last state: a reader who sees that it is complete sees that state."""
        with self.changed:
            self.state, self.note, self.complete = state, note, True
        self.wake()

    def run(self) -> bool | None:
        """Compute; return True if it is paused. May raise `StoppedEarlyError`."""
        raise NotImplementedError

    def came_to_rest(self) -> None:
        """Called when it pauses or has ended."""

    def rests(self) -> bool:
        """Whether it should wait for a command."""
        return False

    def release(self) -> None:
        """Release memory that is kept only for a quick resume."""

    def sayable(self, sentence: str) -> str:
        """Return a sentence without private information."""
        return sentence

    def _live(self) -> None:
        with contextlib.suppress(Exception):  # it is kept in `error`
            while not self.complete:
                with self.changed:
                    self.changed.wait_for(lambda: not self.rests())
                self.compute()


@dataclass(eq=False)
class BackgroundRace(BackgroundWork):
    """A race and its results, see `RaceRecord`; the results only grow.

    With a folder, its steps, checkpoints and adapters are on disk, and memory is released at the
    end. Without one the race stays in memory, with its lanes.
    """

    steps: list[Step] = field(default_factory=list)
    baseline: Evaluation | None = None
    plain_text: bool = False
    held_out: HeldOut | None = None
    left_out: int = 0
    """Training examples that were longer than ``config.max_length``."""
    adapted: str = ""
    """See `Race.adapted`."""
    answers: list[Answer] = field(default_factory=list)
    racing: Race | None = None
    """The race while it is in memory."""
    goal: float = math.inf
    """The step after which it pauses automatically."""
    pausing: threading.Event = field(default_factory=threading.Event)
    why_paused: str = ""
    """Why it paused, if its owner did not pause it."""
    _going: Race | Generator[Step, None, None] | None = None
    _run: runs.Run | None = None

    def stop(self, why: str = "") -> None:
        """Request the end after the current step, without its remaining measurements."""
        super().stop(why)
        racing = self.racing
        if racing is not None:
            racing.close()

    def pause(self, why: str = "") -> None:
        """Request a pause after the current step."""
        self.why_paused = why
        self.pausing.set()
        self.wake()

    def unpause(self, goal: float = math.inf) -> None:
        """Cancel the request for a pause, until a given step."""
        self.goal, self.why_paused = goal, ""
        self.pausing.clear()
        self.wake()

    def step(self) -> None:
        """Run one step, then pause."""
        self.unpause(len(self.steps) + 1)

    def run(self) -> bool:
        """Train until the end, the goal, a requested pause, or the end of the time slice."""
        try:
            racing, going = self._open()
            self.become(RACING)
            while not self.rests():
                step = next(going, None)
                if step is None:
                    break
                self.steps.append(step)
                self.adapted = racing.adapted
                self.wake()
                if self.is_over() and racing.status in (RACING, STOPPED):
                    racing.close()
                    self.become(STOPPED, "writing the adapters" if self._run else "")
            else:
                self.park(racing)
                self.become(PAUSED, self.why_paused)
                return True
            self.become(racing.status, "generating answers")
            if self.steps:
                self.answers = racing.answers(ANSWERS if not self.plain_text else ANSWERS // 2)
            self.become(self.state, self.reason(racing.state.diverged_at))
        except BaseException:
            self.let_go()
            raise
        if self._run is not None:
            self.let_go()
        return False

    def rests(self) -> bool:
        """Whether it should wait for a command before the next step."""
        if self.stopping.is_set() or (self.racing and self.racing.status != RACING):
            return False
        return self.wants_rest()

    def wants_rest(self) -> bool:
        """Whether a pause was requested or the goal is reached."""
        return self.pausing.is_set() or len(self.steps) >= self.goal

    def park(self, racing: Race) -> None:
        """Keep everything needed to resume bitwise."""
        if self._run is not None:
            self._run.checkpoint()

    def release(self) -> None:
        """Keep only the checkpoint on disk, from which `run` resumes bitwise."""
        if self._run is not None and self._going is not None:
            self._going.close()  # writes the checkpoint
            self.let_go()

    def let_go(self) -> None:
        """Release the race and its base model."""
        racing, self.racing, self._going, self._run = self.racing, None, None, None
        if racing is not None:
            racing.lanes.detach()

    def reason(self, at: np.ndarray) -> str:
        """Return why it ended, if not by its owner or with the last step."""
        if self.state == DIVERGED:
            first = int(at.argmin())
            return (
                f"no lane is left: the loss of {self.styles[first].label} was no longer finite "
                f"at step {at[first]}" + (f", the last lane's at step {at.max()}" * (len(at) > 1))
            )
        return self.why if self.state == STOPPED else ""

    def _open(self) -> tuple[Race, Iterator[Step]]:
        """Build the race, or resume the one in memory or on disk."""
        if self.racing is not None and self._going is not None:
            return self.racing, self._going
        self.become(LOADING)
        self.tell(0.0, f"loading {self.config.model}")
        if self.folder is None:
            racing = race(self.raced, progress=self.tell)
            self._going = racing
        else:
            begun = (self.folder / "config.json").exists()
            self._run = (
                runs.resume(self.folder, progress=self.tell)
                if begun
                else runs.start(self.raced, self.folder, progress=self.tell)
            )
            racing, self._going = self._run.race, iter(self._run)
        self.racing = racing
        if self.stopping.is_set():
            racing.close()
        self.device = device_words(racing)
        self.baseline, self.plain_text = racing.baseline, racing.task.plain_text
        self.left_out, self.adapted = racing.data.left_out, racing.adapted
        self.held_out = racing.data.about_held_out
        return racing, self._going


def device_words(racing: Race) -> str:
    """Return the kind of a race's device, as shown on the page."""
    return str(racing.device).split(":")[0].upper()


_running: weakref.WeakSet[BackgroundWork] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop all threads before the interpreter exits."""
    for work in list(_running):
        work.stop()
    for work in list(_running):
        work.wait(5)
