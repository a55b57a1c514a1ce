"""A race in a thread of its own, which can be paused, stepped and stopped while cells run."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable

from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.step import Step

ENDED = ("stopped", "finished", "diverged", "failed")


_running: weakref.WeakSet[BackgroundRace] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Let no thread compute while the interpreter goes away."""
    for job in list(_running):
        job.stop()
        job.wait(5)


class StoppedEarlyError(Exception):
    """Raised out of the loading when the race is no longer wanted."""


class BackgroundRace:
    """One race. What is read of it (`steps`, `state` and so on) may be read at any time.

    Attributes
    ----------
    config : the set-up.
    steps : what was measured so far; it only grows.
    race : None while it is loading, and after its model was let go of.
    state : loading, racing, paused, or one of `ENDED`.
    note : what is being loaded; of what failed or was stopped by others, why, in a sentence.
    error : what made it fail.

    Parameters
    ----------
    tell : called in the race's thread when something is new; True where it is to stand still
        now, at a pause or an end.
    """

    def __init__(self, config: RaceConfig, tell: Callable[[bool], None]) -> None:
        self.config = config
        self.steps: list[Step] = []
        self.race: Race | None = None
        self.state, self.note = "loading", f"loading {config.model}"
        self.error: BaseException | None = None
        self._tell = tell
        self._may_go, self._stopping = threading.Event(), threading.Event()
        self._single = False
        self._thread = threading.Thread(target=self._run, name="olora_viz race", daemon=True)

    def start(self, *, paused: bool = False) -> None:
        """Begin; `paused`: with one step alone."""
        self._single = paused
        self._may_go.set()
        _running.add(self)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether no further step will be made."""
        return self.state in ENDED

    def pause(self) -> None:
        """Stand still after the step that is being made."""
        self._may_go.clear()

    def go_on(self) -> None:
        """Race on after a pause."""
        self._single = False
        self._may_go.set()

    def step(self) -> None:
        """Make one step, then stand still."""
        self._single = True
        self._may_go.set()

    def stop(self, why: str = "") -> None:
        """End after the step that is being made; of a long look, in its middle."""
        if not self.ended and not self._stopping.is_set():
            self.note = why
            self._stopping.set()
            if self.race is not None:
                self.race.close()
        self._may_go.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait_while_racing(self) -> None:
        """Wait for the end, or until it stands still."""
        while self._thread.is_alive() and not self._stands_still:
            self._thread.join(0.05)

    @property
    def _stands_still(self) -> bool:
        asked = self._may_go.is_set() or self._stopping.is_set()
        return self.state == "paused" and not asked

    def _run(self) -> None:
        try:
            self._go()
        except StoppedEarlyError:
            self.state = "stopped"
        except ValueError as error:
            self.state, self.note, self.error = "failed", str(error), error
        except BaseException as error:
            self.state, self.error = "failed", error
            self.note = f"the race failed with {type(error).__name__}: {error}"
        self._tell(True)

    def _go(self) -> None:
        self._tell(False)
        racing = self.race = race(self.config, progress=self._loading)
        self.config, self.state = racing.config, "racing"
        if not self._stopping.is_set():
            self.note = ""
        self._tell(False)
        while True:
            if not self._may_go.is_set() and not self._stopping.is_set():
                self.state = "paused"
                self._tell(True)
                self._may_go.wait()
                self.state = "racing"
                self._tell(False)
            if self._stopping.is_set():
                racing.close()
            step = next(racing, None)
            if step is None:
                self.state = racing.status
                return
            self.steps.append(step)
            if self._single:
                self._may_go.clear()
            self._tell(False)

    def _loading(self, part: float, what: str) -> None:
        if self._stopping.is_set():
            raise StoppedEarlyError
        self.note = what
        self._tell(False)


class Pace:
    """When to show what is new: about four times a second, and a tenth of the time at most."""

    EVERY, SHARE = 0.22, 0.1

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self._next

    def took(self, began: float) -> None:
        """Say when the showing began that has just ended."""
        now = time.monotonic()
        self._next = now + max(self.EVERY, (now - began) / self.SHARE)
