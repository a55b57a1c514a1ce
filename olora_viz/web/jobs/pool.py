"""The jobs of all visitors, and how many may run."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from olora_viz.background.record import PAUSED, RaceRecord
from olora_viz.learn.gallery import recorded
from olora_viz.machine.files import folder_size, has_room
from olora_viz.web.guard.fairness import Line, Pages, Places, too_many
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import Visitor
from olora_viz.web.jobs.job import Job, Work
from olora_viz.web.jobs.shelving import RunsFolder, opened, shelved

Found = TypeVar("Found", bound=Work)


class Shown(NamedTuple):
    """What a key opens."""

    record: RaceRecord
    """What may be seen of the run."""
    job: Job | None = None
    """The run as it changes; None for a recorded race."""
    readers_key: str = ""
    """What opens it for reading; empty for a recorded race."""
    owned: bool = True
    """Whether the key is the owner's, who may also pause, step, resume and stop the run, take its adapters and race on
    its own file again."""


class Register:
    """The work of a server, with its folders.

    Args:
        limits: on how much is kept, and how long one computes.
        folder: for the run folders, where those of an earlier server are found; by default the one of `RunsFolder`.
        races: how they are computed.
    """

    def __init__(self, limits: Limits, folder: Path | None, races: type[Job]) -> None:
        self._limits, self._place = limits, RunsFolder(folder)
        self.folder = self._place.path
        self.pages = Pages()
        self._jobs: dict[str, Work] = {}
        self._for_readers: dict[str, Work] = {}
        self._wake = threading.Condition()
        for job in shelved(self.folder, races):
            self._admit(job)

    def open(self, folder: Path) -> Job:
        """Show a run folder of the server's owner, under a new key.

        Raises:
            ValueError: the folder holds no run, or a damaged one.
        """
        job = opened(folder, self.folder)
        self._list(job)
        return job

    def get(self, key: object) -> Job | None:
        """Find a race by its owner's key; None if it does not exist (any more)."""
        return self.find(key, Job)

    def find(self, key: object, kind: type[Found]) -> Found | None:
        """Find work of a kind by its owner's key; None if it does not exist (any more).

        A dictionary compares hashes that are salted anew in every process, so the time of an answer tells nothing
        about the keys.
        """
        job = self._jobs.get(key) if isinstance(key, str) else None
        if not isinstance(job, kind):
            return None
        job.was_seen()
        return job

    def opened(self, key: object) -> Shown | None:
        """Find what a key opens: a race of this server, with its rights, or a recorded race."""
        job = self.get(key)
        if job is not None:
            return Shown(job, job, job.readers_key, owned=True)
        job = self._for_readers.get(key) if isinstance(key, str) else None
        if isinstance(job, Job):
            job.was_seen()
            return Shown(job.for_readers(), job, job.readers_key, owned=False)
        race = recorded(key)
        return Shown(race) if race else None

    def shown(self, key: object) -> RaceRecord | None:
        """Find what a page shows under a key, its owner's or its readers'."""
        found = self.opened(key)
        return found.record if found else None

    def _admit(self, job: Work) -> None:
        """List work to which the limits of this server apply."""
        job.grace, job.max_seconds = self._limits.grace_seconds, self._limits.max_seconds
        job.left, job.clear_disk = min(job.left, job.max_seconds), self._clear_disk
        self._list(job)

    def _list(self, job: Work) -> None:
        self._jobs[job.id] = self._for_readers[job.readers_key] = job

    def _forget(self) -> None:
        """Drop races, with their folders, where too many are kept; see `fairness.too_many`.

        Measurements do not count as races. A paused race is ended before it is dropped. The disk is read and cleared
        without the lock, for which every open page asks.
        """
        with self._wake:
            ours = [job for job in self._jobs.values() if job.forgettable]
        at_rest = [job for job in ours if job.complete or job.state == PAUSED]
        for kind in {type(job) for job in at_rest}:
            alike = [job for job in at_rest if type(job) is kind]
            gone = too_many(alike, self._limits.keep_races, is_open=self._is_shown)
            left = [job for job in alike if job not in gone]
            sizes = {job: folder_size(job.folder) for job in left}
            gone += too_many(left, self._limits.keep_mib * 2**20, sizes, self._is_shown)
            for job in gone:
                self._drop(job)

    def _clear_disk(self, needed: int = 0, kept: Work | None = None) -> None:
        """Drop ended work, all but `kept`, until the disk has so many bytes; see `too_many`."""
        with self._wake:
            ended = [job for job in self._jobs.values() if job.forgettable and job.complete]
        for job in too_many(ended, 0, is_open=self._is_shown):
            if has_room(self.folder, needed):
                return
            if job is not kept:
                self._drop(job)

    def _is_shown(self, job: Work) -> bool:
        return self.pages.show(job.id)

    def _drop(self, job: Work) -> None:
        """Remove work at rest with its files, unless it has resumed or still has to end."""
        with self._wake:
            if job.state == PAUSED and not job.complete:
                self._end(job)
            if not job.complete or self._jobs.pop(job.id, None) is None:
                return
            del self._for_readers[job.readers_key]
        job.remove()

    def _end(self, job: Work) -> None:
        """End paused work; a race that is still in memory may take a moment."""
        raise NotImplementedError


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(eq=False)
class Task:
    """One computation."""

    owner: Visitor
    compute: Callable[[], Any]
    result: Future[Any] = field(default_factory=Future)
    seen: float = math.inf
    """Its page waits for it; if the page is closed, it is cancelled."""
    turn: tuple[float, float] = (0.0, 0.0)
    complete: bool = False


class Pool:
    """Computes in one thread of its own what takes seconds at most.

    Args:
        places: how many computations may wait.
    """

    def __init__(self, places: Places) -> None:
        self._line: Line[Task] = Line(places, Pages())
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None

    async def run(
        self,
        owner: Visitor,
        compute: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Compute in turn, and return the result or raise the error.

        Raises:
            ValueError: too many computations wait already.
        """
        task = Task(owner, lambda: compute(*arguments, **options))
        with self._wake:
            self._line.let_in(owner)
            self._line.join(task)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="pool", daemon=True)
                self._worker.start()
            self._wake.notify()
        return await asyncio.wrap_future(task.result)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._line.waiting)
                task = self._line.call()
            if task.result.set_running_or_notify_cancel():  # its page may have gone
                try:
                    task.result.set_result(task.compute())
                except BaseException as error:
                    task.result.set_exception(error)
            with self._wake:
                self._line.done()


def few(what: str) -> Places:
    """Return the places of short computations; a page asks for a few at once."""
    return Places(most=30, per_page=8, per_address=20, what=what)
