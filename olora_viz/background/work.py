"""A long computation in the background: its state, its end, and how readers wait for changes.

The page's queue calls `compute` in its time slice; a notebook's panel calls `start`, which computes in a thread.
Readers wait for changes with `newer`.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import transformers  # noqa: F401 - two threads at once must not be the first to import it

from olora_viz.background.host import Host, Seat
from olora_viz.background.record import ENDED, FAILED, LOADING, PAUSED, WAITING
from olora_viz.background.wishes import Wish
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.devices import lacked_operation
from olora_viz.machine.files import is_disk_full
from olora_viz.machine.memory import is_out_of_memory, keeping_freed
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import STOPPED

if TYPE_CHECKING:
    from olora_viz.background.pace import Speeds

STAYS = {"stays": True}
"""The metadata of a field that each process has for itself: commands, limits, listeners, clocks and what is in memory.
All others say what work is and what it has found, and travel to the process that computes it."""


@dataclass(eq=False)
class BackgroundWork:
    """A long computation on a race's set-up: a race, or a measurement of its initialization.

    Its attributes may be read at any time, from any thread.
    """

    as_steps: ClassVar[int | None] = 5
    """About the steps of a race that take as long; None for those of its own set-up."""
    travels: ClassVar[bool] = True
    """Whether another machine can compute it; what cannot takes seconds."""
    called: ClassVar[str] = "other"
    """What others who wait for it call it."""
    to_its_end: ClassVar[bool] = False
    """Whether it goes on to its end while somebody watches it, although others wait."""

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
    why: str = field(default="", metadata=STAYS)
    """Why it ended, if the user did not end it."""
    complete: bool = field(default=False, metadata=STAYS)
    """Whether it has ended: nothing changes any more."""
    cut_off: bool = False
    """Whether its process ended before its files were those of all that it has found."""
    error: BaseException | None = field(default=None, metadata=STAYS)
    stopping: threading.Event = field(default_factory=threading.Event, metadata=STAYS)
    listen: Callable[[], None] | None = field(default=None, metadata=STAYS)
    """Called after every change, in the thread that made it, before waiting readers wake up."""
    version: int = field(default=0, metadata=STAYS)
    """Grows with every change: the cursor of `newer`."""
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False, metadata=STAYS)
    _heard: int = field(default=0, metadata=STAYS)

    # What a server sets; in a notebook nothing is limited, and nothing private.
    name: str = ""
    """See `RaceRecord.name`; by default its id."""
    own_files: Mapping[str, Path] = field(default_factory=dict, metadata=STAYS)
    """The files of its examples and its text to keep by their fields of `config`, which anybody may see, and which
    has only their names."""
    seen: float = field(default_factory=time.monotonic, metadata=STAYS)
    """Time of a page's last request for it, by the monotonic clock."""
    grace: float = field(default=math.inf, metadata=STAYS)
    """Seconds without an open page after which it counts as unwatched, see `is_unwatched`."""
    left: float = field(default=math.inf, metadata=STAYS)
    """Seconds that it may still compute."""
    deadline: float = field(default=math.inf, metadata=STAYS)
    """The end of its time, by the monotonic clock, while it computes."""
    spent: float = field(default=0.0, metadata=STAYS)
    """Seconds that it has computed, in all its turns."""
    overtime: str = field(default="", metadata=STAYS)
    """Why it ends at its deadline."""
    host: Host = field(default_factory=Host, repr=False, metadata=STAYS)
    """Whoever has it computed."""
    disk_full: str = field(default="", metadata=STAYS)
    """What to say where the disk is full; by default the error itself."""
    seat: Seat = field(init=False, repr=False, metadata=STAYS)
    """How it shows what equal work computes."""

    def __post_init__(self) -> None:
        """Name it, and let it compute by itself."""
        self.name, self.seat = self.name or self.id, Seat(self)

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with."""
        paths: dict[str, Any] = {field: str(path) for field, path in self.own_files.items()}
        return replace(self.config, **paths)

    @property
    def run_folder(self) -> Path:
        """The folder of work that has one."""
        assert self.folder is not None
        return self.folder

    @property
    def races(self) -> float:
        """How many races of its set-up take as long, one after the other."""
        return 1

    @property
    def source(self) -> Any:
        """The equal work that it follows; None where it computes by itself."""
        return self.seat.source

    @property
    def ended(self) -> bool:
        """Whether nothing more will be measured; the lanes of a race may still be answering."""
        return self.state in ENDED

    # Readers ------------------------------------------------------------------------------------

    def see(self) -> None:
        """Note that a page asks for it."""
        self.seen = time.monotonic()
        self.seat.see()

    def newer(self, cursor: int, timeout: float | None = None) -> int:
        """Wait until there is something newer than `cursor`, 0 at first; return the latest cursor.

        Args:
            timeout: maximum wait, in seconds.
        """
        until = _after(timeout)
        while True:
            self.seat.catch_up()
            with self.changed:
                left = until - time.monotonic()
                if self.version > cursor or left <= 0:
                    return self.version
                self.changed.wait(max(0.001, min(left, self.seat.until_next(), LONGEST_WAIT)))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it was reached."""
        return self._wait(lambda: self.complete, timeout)

    def wait_for_pause(self) -> None:
        """Wait for the end or a pause."""
        self._wait(lambda: self.complete or (self.state == PAUSED and self.pauses()))

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait, until the listener was notified as well."""
        end = _after(timeout)
        while self.source is not None and not until() and time.monotonic() < end:
            self.newer(self.version, min(end - time.monotonic(), 1.0))
        with self.changed:
            left = None if timeout is None else max(0.0, end - time.monotonic())
            return self.changed.wait_for(lambda: until() and self._heard == self.version, left)

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
            self.host.before_news()
            self.version += 1
            news = self.version
        try:
            if self.listen is not None:
                self.listen()
        finally:
            with self.changed:
                self._heard = max(self._heard, news)
                self.changed.notify_all()
            for other in list(self.seat.followers):
                with other.changed:
                    other.changed.notify_all()

    def is_over(self) -> bool:
        """Whether the end was requested, or the time is up."""
        if time.monotonic() >= self.deadline:
            self.stop(self.overtime)
        return self.stopping.is_set()

    def remaining(self, whole: float | None) -> float | None:
        """Return the seconds after which it lets the next one begin, given those of all of it; None if unknown."""
        return whole and whole * (1 - self.part)

    def teach(self, speeds: Speeds) -> None:
        """Tell how fast this machine is, once it has finished."""
        speeds.learn_whole(self)

    def is_unwatched(self) -> bool:
        """Whether no page has asked for it for too long."""
        return time.monotonic() - self.seen > self.grace

    def progress(self, part: float, what: str) -> None:
        """Report the progress; raises if a stop was requested."""
        self.part, self.note = part, what
        self.wake()
        if self.is_over():
            raise StoppedEarlyError

    def compute(self) -> None:
        """Compute until the end or a pause, within the time that is left; errors are reported in `note`.

        Raises:
            Exception: an unexpected error, after it was reported.
        """
        paused, began = None, time.monotonic()
        self.deadline = began + self.left
        self.seat.begin_turn()
        try:
            with keeping_freed():
                paused = self.host.compute(self)
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
            self.left, self.deadline = self.deadline - time.monotonic(), math.inf
            self.spent += time.monotonic() - began
            if not paused and not self.complete:
                self._change(complete=True)

    def end(self, state: str, note: str = "") -> None:
        """Enter the final state, which a reader who sees that it is complete also sees; follow nobody any more."""
        self.seat.let_go()
        self._change(state=state, note=note, complete=True)

    def run(self) -> bool | None:
        """Compute; return True if it is paused. May raise `StoppedEarlyError`."""
        raise NotImplementedError

    def pauses(self) -> bool:
        """Whether it should wait for a command."""
        return False

    def wants_pause(self) -> bool:
        """Whether it should wait for a command of its own page's."""
        return False

    # In another process ------------------------------------------------------------------------

    def travelling(self) -> dict[str, Any]:
        """Return its attributes that travel."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.metadata}

    def __reduce__(self) -> tuple[Callable[[], BackgroundWork], tuple[()]]:
        """Travel as its kind and plain values, with the work that it is about."""
        return partial(type(self), **self.travelling()), ()

    def wish(self) -> Wish:
        """Return what is wished of it at this moment, by whoever has it computed."""
        return Wish(stop=self.is_over(), why=self.why, yields=self.host.yields())

    def obey(self, wish: Wish) -> None:
        """Do as whoever has it computed wishes."""
        if wish.stop:
            self.stop(wish.why)

    def take(self, values: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Take over values from the process that computes it, and those of the results of a race that differ."""
        for name, value in values.items():
            setattr(self, name, value)

    def restore(self) -> None:
        """Take over what is on disk and was not reported: the process that made it was lost in between."""

    @property
    def size(self) -> int:
        """A number that grows with what is known of it."""
        return 0

    @property
    def goes_on_from(self) -> str:
        """From where it goes on if its process is lost, in words."""
        return "its beginning"

    def rest(self) -> None:
        """Come to rest after a turn, before the next one."""
        self.become(WAITING)

    def end_here(self) -> None:
        """Go on from a pause only to write the files of what it has found."""

    def release(self) -> None:
        """Release memory that is kept only for a quick resume."""

    def make_way(self, why: str) -> None:
        """Request that it leaves its place to others; by default this is its end."""
        self.stop(why)

    def leave(self) -> None:
        """Make way before its turn, as was requested."""
        self.end(STOPPED, self.why)

    def sentence_on(self, error: Exception) -> str:
        """Return one sentence on why it failed."""
        if self.disk_full and is_disk_full(error):
            return self.disk_full
        if isinstance(error, ValueError):
            return self.host.without_paths(str(error))
        if is_out_of_memory(error):
            return "the memory of the device is used up: fewer lanes, prompts a step or shorter examples take less"
        if lacked := lacked_operation(error):
            return lacked
        why = getattr(error, "strerror", None) or f"{error}".split("\n")[0]
        return f"{type(error).__name__}: {self.host.without_paths(str(why))[:200]}"

    def _compute_to_end(self) -> None:
        with contextlib.suppress(Exception):  # it is kept in `error`
            while not self.complete:
                with self.changed:
                    self.changed.wait_for(lambda: not self.pauses())
                self.compute()


def _after(timeout: float | None) -> float:
    """Return the end of a wait, by the monotonic clock."""
    return time.monotonic() + (math.inf if timeout is None else timeout)


LONGEST_WAIT = 60.0
"""Seconds after which whoever waits looks again."""

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
