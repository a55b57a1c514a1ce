"""The jobs of the queue: work of any kind, and races that open pages pause, step and stop.

A job's id is its owner's key: random, and never outside its owner's browser and the name of its folder. Links carry
the readers' key, and what is saved or drawn the name. Both are derived from the id, also after a restart, and neither
leads back to it.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import FAILED, PAUSED, RaceRecord
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.files import DiskFullError, is_disk_full, write_json
from olora_viz.machine.text import duration, finite_or_none
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import STOPPED, Step
from olora_viz.tasks import TASKS
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.accelerator import here

SEEN_SECONDS = 1.0
"""Minimum time between two updates on disk of when a page last asked for a race."""

DISK_FULL = (
    "the server's disk is full, although its oldest races have been deleted: try again later, or "
    "with fewer lanes or a smaller rank"
)

PATH = re.compile(r"'?(?<![\w.:/])/(?:[\w.+@~-]+/)+[\w.+@~-]*'?")
"""An absolute path in a sentence, with its quotes."""


def new_key() -> str:
    """Return the id of a job: 128 random bits."""
    return secrets.token_urlsafe(16)


def derived(key: str, use: bytes, size: int) -> str:
    """Derive bytes from a key that do not lead back to it, as text.

    >>> derived("a" * 22, b"read", 16)
    'mnZUaxxlNYv1j6uRk0wNjQ'
    """
    digest = blake2b(key.encode(), digest_size=size, person=use).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


OF_STUDY = ".study"
"""The ending of a study's folder, which tells it from a run's: no study outlives its server."""


def record_of(folder: Path) -> Path:
    """Return the file with the data that a page shows of a run, next to the run's folder."""
    return folder.with_name(f"{folder.name}.record")


def own_folder(folder: Path) -> Path:
    """Return the folder of the copy of a visitor's own file, next to the run's folder."""
    return folder.with_name(f"{folder.name.removesuffix(OF_STUDY)}.task")


def study_folder(folder: Path) -> Path:
    """Return the folder of a decision or of claims, where a race would have its run folder."""
    return folder.with_name(folder.name + OF_STUDY)


@dataclass(eq=False)
class Work(BackgroundWork):
    """A unit of work in the queue: a race, or a measurement at initialization.

    If its task is a visitor's own file, `config` has only the file's name, since anybody may see it, and `raced` has
    the path of this job's copy.
    """

    folder: Path  # pyrefly: ignore[bad-override-mutable-attribute]
    seen: float = field(default_factory=time.monotonic)
    """Time of a page's last request for it, by the monotonic clock."""
    owner: Visitor = NOBODY
    """The visitor who asked for it."""
    turn: tuple[float, float] = (0.0, 0.0)
    """See `fairness.Waits`."""
    left: float = math.inf
    """Seconds that it may still compute."""
    deadline: float = math.inf
    """The end of its time, by the monotonic clock, while it computes."""
    max_seconds: float = math.inf
    """Seconds that it may compute in all."""
    grace: float = math.inf
    """Seconds without an open page after which a race pauses."""
    own_file: Path | None = None
    """The visitor's own file, if the task is one."""
    others_wait: Callable[[], bool] = lambda: False
    """Whether other work waits for its turn."""
    clear_disk: Callable[[int], None] = lambda _: None
    """Called with the bytes that it needs and the disk lacks."""
    forgettable: bool = True
    """Whether the server may drop it, with its folder, for newer ones."""

    def __post_init__(self) -> None:
        """Keep the path of a visitor's own file out of everything that is shown."""
        if self.config.task not in TASKS:
            self.own_file = Path(self.config.task)
            self.config = replace(self.config, task=self.own_file.name)

    @property
    def name(self) -> str:
        """Its name in figures and files, which opens nothing."""
        return derived(self.id, b"name", 9)

    @property
    def readers_key(self) -> str:
        """What opens it for reading."""
        return derived(self.id, b"read", 16)

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with, in this process."""
        return here(self._with_own_file())

    def _with_own_file(self) -> RaceConfig:
        return replace(self.config, task=str(self.own_file)) if self.own_file else self.config

    def keep_own_file(self) -> None:
        """Copy the visitor's own file, which may be gone before its turn comes.

        Raises:
            ValueError: the file is gone, or the disk is full.
        """
        if self.own_file is not None:
            copy = own_folder(self.folder) / self.own_file.name
            try:
                copy.parent.mkdir(parents=True)
                shutil.copyfile(self.own_file, copy)
            except OSError as error:
                if is_disk_full(error):
                    raise ValueError(DISK_FULL) from None
                raise ValueError("your file is no longer available: its page was closed; choose it again") from None
            self.own_file = copy

    def keep(self) -> None:
        """Write what is needed to show it after a restart of the server; by default it is lost."""

    def yield_turn(self, why: str) -> None:
        """Request that it makes way; by default this is its end."""
        self.stop()

    def leave_line(self) -> None:
        """Make way before its turn, as was requested."""
        self.end(STOPPED)

    def was_seen(self) -> None:
        """Record that a page asks for it."""
        self.seen = time.monotonic()

    def without_paths(self, sentence: str) -> str:
        """Remove the paths of the server from a sentence."""
        if self.own_file:
            sentence = sentence.replace(str(self.own_file), self.own_file.name)
        return PATH.sub("a file of this server", sentence.replace(str(self.folder), "the run"))

    def sentence_on(self, error: Exception) -> str:
        """Return one sentence on why it failed."""
        return DISK_FULL if is_disk_full(error) else super().sentence_on(error)

    def remove(self) -> None:
        """Remove all its files."""
        for folder in (self.folder, own_folder(self.folder)):
            shutil.rmtree(folder, ignore_errors=True)

    def is_over(self) -> bool:
        """Whether the end was requested, or the time is up."""
        if time.monotonic() >= self.deadline:
            self.stop(f"stopped after {duration(self.max_seconds)}, this server's limit")
        return self.stopping.is_set()

    def compute(self) -> None:
        """Take its turn, within the time that it has left, see `BackgroundWork.compute`."""
        self.deadline = time.monotonic() + self.left
        try:
            super().compute()
        finally:
            self.left, self.deadline = self.deadline - time.monotonic(), math.inf


@dataclass(eq=False)
class Job(Work, BackgroundRace):
    """A race in the queue.

    Between two turns it is paused: on disk as a checkpoint, and on a CPU also in memory until another race's turn, so
    that single steps are quick. A GPU is released immediately.
    """

    last: float = math.inf
    """The step after which it stops."""
    cut_off: bool = False
    """Whether the server ended before its adapters were those of its last step."""
    on_disk: tuple[str, bool] | None = None
    """State and completeness in its record on disk; None while it has none."""
    refused: str = ""
    """Why it is paused, if no GPU was lent to it, see `accelerator.refusal`."""
    zips: Path | None = None
    """The folder for its zipped adapters; None for its own folder."""
    _touched: float = -math.inf

    @property
    def raced(self) -> RaceConfig:
        """The set-up to compute with, also on a GPU that is lent."""
        return self._with_own_file()

    def for_readers(self) -> RaceRecord:
        """Return what others may see: nothing that quotes a visitor's own file."""
        now = self.record()
        if self.own_file is None:
            return now
        held_out = now.held_out and now.held_out.without_quotes()
        note = "" if now.state == FAILED else now.note
        return replace(now, answers=(), held_out=held_out, note=note)

    def yield_turn(self, why: str) -> None:
        """Request a pause."""
        self.pause(why)

    def leave_line(self) -> None:
        """Pause before its turn."""
        self.become(PAUSED, self.why_paused)

    def before_news(self) -> None:
        """Save a new state."""
        if self.on_disk is not None and self.on_disk != (self.state, self.complete):
            self.keep()

    def keep(self) -> None:
        """Write the record; on a full disk the older one is kept."""
        with self.changed, suppress(OSError):
            self.on_disk, self._touched = (self.state, self.complete), -math.inf
            left = min(self.left, self.deadline - time.monotonic())
            values = {"left": finite_or_none(left), "owner": list(self.owner)}
            write_json(record_of(self.folder), self.record().to_json() | values)

    def was_seen(self) -> None:
        """Record that a page asks for it, also in the file time of the record."""
        super().was_seen()
        if self.on_disk is not None and self.seen - self._touched > SEEN_SECONDS:
            self._touched = self.seen
            with suppress(OSError):
                os.utime(record_of(self.folder))

    def remove(self) -> None:
        """Remove all its files."""
        with self.changed:
            self.on_disk = None
            record_of(self.folder).unlink(missing_ok=True)
        super().remove()

    def is_over(self) -> bool:
        """Whether the end was requested, its last step is made, or the time is up."""
        if len(self.steps) >= self.last:
            self.stop()
        return super().is_over()

    def wants_pause(self) -> bool:
        """Whether to pause: on request, at the goal, or without an open page."""
        away = time.monotonic() - self.seen > self.grace
        if away:
            self.why_paused = f"no page watched it for {duration(self.grace)}"
        return away or super().wants_pause()

    def _open(self) -> tuple[Race, Iterator[Step]]:
        """Build or resume the race, on a short disk with the room of older ones."""
        try:
            return super()._open()
        except DiskFullError as full:
            self.clear_disk(full.needed)
            return super()._open()

    def checkpoint(self, racing: Race) -> None:
        """Write a checkpoint, and release the GPU."""
        super().checkpoint(racing)
        self.cut_off = False
        if racing.device.type != "cpu":
            self.release()
