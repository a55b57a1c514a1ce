"""The jobs of all visitors, and how many may run: one computes, some wait, the last few are kept for their pages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from olora_viz.background.record import PAUSED, WAITING, RaceRecord
from olora_viz.background.work import LAST_STEP
from olora_viz.figures.theme import lane_styles
from olora_viz.learn.gallery import recorded
from olora_viz.machine.files import folder_size, has_room
from olora_viz.machine.memory import give_back, leave_a_core
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.races.step import STOPPED
from olora_viz.web.guard.fairness import Line, Pages, Places, too_many
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import Job, Work, new_key
from olora_viz.web.jobs.shelving import RESTARTED, RunsFolder, opened, shelved

W = TypeVar("W", bound=Work)


class Access(NamedTuple):
    """What a key opens, and with which rights."""

    race: Job | RaceRecord
    """A race of this server, or a recorded one."""
    owned: bool = True
    """Whether the key is the owner's, who may also pause, step, resume and stop the run, take its adapters and race on
    its own file again."""

    @property
    def job(self) -> Job | None:
        """The run as it changes; None for a recorded race."""
        return self.race if isinstance(self.race, Job) else None

    @property
    def record(self) -> RaceRecord:
        """What may be seen of the run now."""
        if isinstance(self.race, RaceRecord):
            return self.race
        return self.race.record() if self.owned else self.race.for_readers()

    @property
    def readers_key(self) -> str:
        """What opens it for reading; empty for a recorded race."""
        return self.race.readers_key if isinstance(self.race, Job) else ""


class Jobs:
    """All work of this server, with its folders.

    Args:
        limits: on how much is kept, how many wait, and how long one computes.
        folder: for the run folders, where those of an earlier server are found; by default the one of `RunsFolder`.
        races: how races are computed.
    """

    def __init__(self, limits: Limits | None = None, folder: Path | None = None, races: type[Job] = Job) -> None:
        self._limits, self._runs_folder, self._races = limits or Limits(), RunsFolder(folder), races
        self.folder = self._runs_folder.path
        self.pages = Pages()
        places = Places(self._limits.max_waiting, self._limits.page_waiting, self._limits.address_waiting)
        self._line: Line[Work] = Line(places, self.pages)
        self._jobs: dict[str, Work] = {}
        self._for_readers: dict[str, Work] = {}
        self._models = ModelCache()
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        self._in_memory: Work | None = None
        """The work that computed last: if it is paused, its race may still be in memory."""
        for job in shelved(self.folder, races):
            self._limit(job)
            self._list(job)
        self._forget()

    # What keys open ------------------------------------------------------------------------------

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

    def find(self, key: object, kind: type[W]) -> W | None:
        """Find work of a kind by its owner's key; None if it does not exist (any more).

        A dictionary compares hashes that are salted anew in every process, so the time of an answer tells nothing
        about the keys.
        """
        job = self._jobs.get(key) if isinstance(key, str) else None
        if not isinstance(job, kind):
            return None
        job.was_seen()
        return job

    def opened(self, key: object) -> Access | None:
        """Find what a key opens: a race of this server, with its rights, or a recorded race."""
        job = self.get(key)
        if job is not None:
            return Access(job)
        job = self._for_readers.get(key) if isinstance(key, str) else None
        if isinstance(job, Job):
            job.was_seen()
            return Access(job, owned=False)
        recording = recorded(key)
        return Access(recording) if recording else None

    def shown(self, key: object) -> RaceRecord | None:
        """Find what a page shows under a key, its owner's or its readers'."""
        access = self.opened(key)
        return access.record if access else None

    # Commands ------------------------------------------------------------------------------------

    def start(self, config: RaceConfig, goal: float = math.inf, owner: Visitor = NOBODY) -> Job:
        """Put a race into the queue.

        Args:
            goal: the step after which it pauses.
            owner: who asks for it.

        Raises:
            ValueError: too many races wait already.
        """
        name = new_key()
        return self.put(
            self._races(name, config, self.folder / name, lane_styles(config.lanes), owner=owner, goal=goal)
        )

    def put(self, job: W) -> W:
        """Put a race or a measurement into the queue, as `start` does."""
        with self._wake:
            self._make_room(job)
            job.keep_own_file()
            self._limit(job)
            self._list(job)
            job.keep()
            self._line.join(job)
            self._call_worker()
        self._forget()
        return job

    def prepare(self, config: RaceConfig) -> None:
        """Set up a race and forget it, so that the first one on its model and task starts at once.

        A race that is asked for meanwhile would have to load the same.
        """
        with self._wake:
            self._call_worker(lambda: Race(config, cache=self._models).lanes.detach())

    def _call_worker(self, first: Callable[[], object] = lambda: None) -> None:
        """Start the thread of the races, unless it runs; call it with the lock held."""
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, args=(first,), name="races", daemon=True)
            self._worker.start()

    def pause(self, job: Job) -> None:
        """Pause a race after its current step; a waiting race pauses immediately."""
        with self._wake:
            if job.ended or job.state == PAUSED:
                return
            job.pause()
            if self._line.leave(job):
                job.leave_line()

    def resume(self, job: Job, goal: float = math.inf) -> None:
        """Queue a paused race to resume, until it has completed `goal` steps.

        Raises:
            ValueError: too many races wait already.
        """
        with self._wake:
            if job.ended:
                return
            if job.state == PAUSED:
                self._make_room(job)
            job.resume(goal)
            if job.state == PAUSED:
                self._return(job)

    def stop(self, job: Work) -> None:
        """End waiting work immediately, and running work soon, see `Job.stop`."""
        with self._wake:
            if isinstance(job, Job) and job.cut_off and job.state == PAUSED:
                job.last = len(job.steps) + 1  # it catches up, and writes its adapters
                job.resume()
                self._return(job)
                return
            job.stop()
            if self._line.leave(job):
                job.end(STOPPED)
            elif job.state == PAUSED:
                self._end(job)

    def before(self, job: Work) -> int:
        """Count the work ahead of this one."""
        with self._wake:
            return self._line.before(job)

    def close(self) -> None:
        """Pause all races as they are, for the next server on the folder, and give it back."""
        with self._wake:
            self._closed = True
            self._line.waiting.clear()
            for job in self._jobs.values():
                job.yield_turn(RESTARTED)
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout=LAST_STEP)
        self._runs_folder.give_back()

    # The line; its methods are called with the lock held -----------------------------------------

    def _list(self, job: Work) -> None:
        """Give work what it needs of the queue, and let its keys open it."""
        job.others_wait = lambda: bool(self._line.waiting)
        if isinstance(job, Job):
            job.yields, job.models = lambda: self._line.yields(job), self._models
        self._jobs[job.id] = self._for_readers[job.readers_key] = job

    def _limit(self, job: Work) -> None:
        """Apply the limits of this server, which what its owner has opened does not have."""
        job.grace, job.max_seconds = self._limits.grace_seconds, self._limits.max_seconds
        job.left, job.clear_disk = min(job.left, job.max_seconds), self._clear_disk

    def _make_room(self, job: Work) -> None:
        """Let waiting work that nobody watches leave its place to a job, if no other place is free.

        Raises:
            ValueError: there is none.
        """
        for other in self._line.let_in(job.owner):
            other.yield_turn("its page was closed, and others needed its place in the queue")
            other.leave_line()

    def _call_worker(self, first: Callable[[], object] = lambda: None) -> None:
        """Start the thread of the races, or wake it if it runs."""
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, args=(first,), name="races", daemon=True)
            self._worker.start()
        self._wake.notify()

    def _return(self, job: Job) -> None:
        """Let a paused race wait again."""
        job.seen = time.monotonic()
        job.become(WAITING)
        self._line.join(job)
        self._call_worker()

    def _end(self, job: Work) -> None:
        """End paused work; a race that is still in memory may take a moment."""
        job.stop()
        if job is self._in_memory:
            self._line.join(job, first=True)  # it asks its lanes, and ends
            self._wake.notify()
        else:
            job.end(STOPPED)

    # What is dropped; the disk is read and cleared without the lock, for which every page asks ----

    def _forget(self) -> None:
        """Drop races, with their folders, where too many are kept; see `fairness.too_many`.

        Measurements do not count as races. A paused race is ended before it is dropped.
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

    def _clear_disk(self, needed: int = 0, but: Work | None = None) -> None:
        """Drop ended work, all `but` one, until the disk has so many bytes; see `too_many`."""
        with self._wake:
            ended = [job for job in self._jobs.values() if job.forgettable and job.complete]
        for job in too_many(ended, 0, is_open=self._is_shown):
            if has_room(self.folder, needed):
                return
            if job is not but:
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

    # The thread of the races ---------------------------------------------------------------------

    def _work(self, first: Callable[[], object]) -> None:
        leave_a_core()
        _reported(first)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._line.waiting or self._closed)
                job = self._line.call() if self._line.waiting else None
                last, self._in_memory = self._in_memory, job
            if last is not None and last is not job:
                _reported(last.release)
            if job is None:
                return
            self._clear_disk()
            _reported(job.compute)
            self._clear_disk(but=job)
            give_back()
            with self._wake:
                self._line.done()
                waits = job in self._line.waiting  # a request that arrived while it paused
                if waits or job.complete or self._closed:
                    continue
                if job.state == WAITING:  # it lets others take their turn
                    self._line.join(job)
                elif isinstance(job, Job) and job.state == PAUSED and not (job.pauses() and job.wants_pause()):
                    job.become(WAITING)  # it yielded to others
                    self._line.waiting.insert(0, job)


def _reported(call: Callable[[], object]) -> None:
    """Call, and log the traceback of an unexpected error for the operator of the server."""
    try:
        call()
    except Exception as error:
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
