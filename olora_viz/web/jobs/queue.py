"""The queue: one race or measurement runs at a time, and the others wait for their turns.

All of them run on one thread: a second thread that uses OpenMP would double the time of a step on
two cores. A page asks for a job with a key, see `olora_viz.web.guard.keys`; a job's id is its
owner's. Whose turn is next, who may still wait, and what is dropped for newer races is in
`fairness`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from olora_viz.figures.theme import lane_styles
from olora_viz.learn.gallery import recorded
from olora_viz.machine.cache import has_room
from olora_viz.machine.device import leave_a_core
from olora_viz.machine.files import folder_size
from olora_viz.machine.memory import give_back
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import STOPPED
from olora_viz.views.race_record import PAUSED, WAITING, RaceRecord
from olora_viz.web.guard.fairness import Line, Pages, Places, too_many
from olora_viz.web.guard.keys import Shown, new_key, reading_key
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import Job, Work
from olora_viz.web.jobs.runs_folder import RunsFolder
from olora_viz.web.jobs.shelving import RESTARTED, opened, shelved

Taken = TypeVar("Taken", bound=Work)


class Jobs:
    """All work of this server: one computes, some wait, the last few are kept for their pages.

    Parameters
    ----------
    keep, keep_mib : maximum number of ended and paused races kept, and of their MiB on disk.
    max_waiting, page_waiting, address_waiting : races that may wait: of all visitors, of one page,
        and of one address.
    folder : for the run folders, where those of an earlier server are found; by default the one
        of `RunsFolder`.
    max_seconds : a race that computes longer, including the loading of its model, is stopped.
    grace : seconds without an open page after which a race pauses.
    races : how they are computed.
    """

    def __init__(
        self,
        keep: int = 6,
        max_waiting: int = Places.most,
        folder: Path | None = None,
        max_seconds: float = 1800,
        grace: float = math.inf,
        keep_mib: int = 4000,
        races: type[Job] = Job,
        page_waiting: int = Places.per_page,
        address_waiting: int = Places.per_address,
    ) -> None:
        self._place = RunsFolder(folder)
        self.folder = self._place.path
        self._keep, self._keep_bytes = keep, keep_mib * 2**20
        self.pages = Pages()
        places = Places(max_waiting, page_waiting, address_waiting)
        self._line: Line[Work] = Line(places, self.pages)
        self._races = races
        self._max_seconds, self._grace = max_seconds, grace
        self._jobs: dict[str, Work] = {}
        self._for_readers: dict[str, str] = {}
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        self._parked: Work | None = None
        for job in shelved(self.folder, races):
            job.grace, job.max_seconds = grace, max_seconds
            job.left = min(job.left, max_seconds)
            self._list(job)
        self._forget()

    def start(self, config: RaceConfig, goal: float = math.inf, owner: Visitor = NOBODY) -> Job:
        """Put a race into the queue.

        Parameters
        ----------
        goal : the step after which it pauses.
        owner : who asks for it.

        Raises
        ------
        ValueError : too many races wait already.
        """
        name = new_key()
        job = self._races(
            name, config, self.folder / name, lane_styles(config.lanes), grace=self._grace,
            owner=owner,
        )  # fmt: skip
        job.goal = goal
        return self.put(job)

    def put(self, job: Taken) -> Taken:
        """Put a race or a measurement into the queue, as `start` does."""
        with self._wake:
            self._make_room(job)
            job.keep_own_file()
            job.max_seconds = job.left = self._max_seconds
            job.clear_disk = self._clear_disk
            job.keep()
            self._list(job)
            self._enqueue(job)
        self._forget()
        return job

    def open(self, folder: Path) -> Job:
        """Show a run folder of the server's owner, under a new key.

        Raises
        ------
        ValueError : the folder holds no run, or a damaged one.
        """
        job = opened(folder, self.folder)
        self._list(job)
        return job

    def _list(self, job: Work) -> None:
        self._jobs[job.id] = job
        self._for_readers[reading_key(job.id)] = job.id

    def _make_room(self, job: Work) -> None:
        """Let waiting work that nobody watches leave its place to a job, if no other place is free.

        Raises
        ------
        ValueError : there is none.
        """
        for other in self._line.let_in(job.owner):
            if isinstance(other, Job):
                other.pause("its page was closed, and others needed its place in the queue")
                other.become(PAUSED, other.why_paused)
            else:
                other.stop()
                other.end(STOPPED)

    def _enqueue(self, job: Work) -> None:
        """Let work wait for its turn; call it with the lock held."""
        with self._wake:
            if isinstance(job, Job):
                job.gives_way = lambda: self._line.gives_way(job)
            self._line.join(job)
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="races", daemon=True)
                self._worker.start()
            self._wake.notify()

    def pause(self, job: Job) -> None:
        """Pause a race after its current step; a waiting race pauses immediately."""
        with self._wake:
            if job.ended or job.state == PAUSED:
                return
            job.pause()
            if self._line.leave(job):
                job.become(PAUSED)

    def go_on(self, job: Job, goal: float = math.inf) -> None:
        """Queue a paused race to resume, until it has completed `goal` steps.

        Raises
        ------
        ValueError : too many races wait already.
        """
        with self._wake:
            if job.ended:
                return
            if job.state == PAUSED:
                self._make_room(job)
            job.unpause(goal)
            if job.state == PAUSED:
                self._return(job)

    def _return(self, job: Job) -> None:
        """Let a paused race wait again; call it with the lock held."""
        job.seen = time.monotonic()
        job.become(WAITING)
        self._enqueue(job)

    def stop(self, job: Work) -> None:
        """End waiting work immediately, and running work soon, see `Job.stop`."""
        with self._wake:
            if isinstance(job, Job) and job.cut_off and job.state == PAUSED:
                job.last = len(job.steps) + 1  # it catches up, and writes its adapters
                job.unpause()
                self._return(job)
                return
            job.stop()
            if self._line.leave(job):
                job.end(STOPPED)
            elif job.state == PAUSED:
                if job is self._parked:
                    self._line.join(job, first=True)  # it asks its lanes, and ends
                    self._wake.notify()
                else:
                    job.end(STOPPED)

    def get(self, key: object) -> Job | None:
        """Find a race by its owner's key; None if it does not exist (any more)."""
        return self.find(key, Job)

    def opened(self, key: object) -> Shown | None:
        """Find what a key opens, and with which rights: a race of this server, or a recorded one.

        A dictionary compares hashes that are salted anew in every process, so the time of an answer
        tells nothing about the keys.
        """
        job = self.get(key)
        if job is not None:
            return Shown(job, job, reading_key(job.id), owned=True)
        job = self.get(self._for_readers.get(key)) if isinstance(key, str) else None
        if job is not None:
            return Shown(job.for_readers(), job, reading_key(job.id), owned=False)
        race = recorded(key)
        return Shown(race) if race else None

    def shown(self, key: object) -> RaceRecord | None:
        """Find what a page shows under a key, its owner's or its readers'."""
        found = self.opened(key)
        return found.record if found else None

    def find(self, key: object, kind: type[Taken]) -> Taken | None:
        """Find work of a kind by its owner's key; None if it does not exist (any more)."""
        job = self._jobs.get(key) if isinstance(key, str) else None
        if not isinstance(job, kind):
            return None
        job.was_seen()
        return job

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
                if isinstance(job, Job):
                    job.pause(RESTARTED)
                else:
                    job.stop()
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout=10)
        self._place.give_back()

    def _forget(self) -> None:
        """Drop races, with their folders, where too many are kept; see `fairness.too_many`.

        Measurements do not count as races. A paused race is ended before it is dropped. The disk is
        read and cleared without the lock, for which every open page asks.
        """
        with self._wake:
            ours = [job for job in self._jobs.values() if job.forgettable]
        at_rest = [job for job in ours if job.complete or job.state == PAUSED]
        for kind in {type(job) for job in at_rest}:
            alike = [job for job in at_rest if type(job) is kind]
            gone = too_many(alike, self._keep, is_open=self._is_shown)
            left = [job for job in alike if job not in gone]
            sizes = {job: folder_size(job.folder) for job in left}
            gone += too_many(left, self._keep_bytes, sizes, self._is_shown)
            for job in gone:
                if self._dropped(job):
                    job.remove()

    def _is_shown(self, job: Work) -> bool:
        return self.pages.show(job.id)

    def _clear_disk(self, needed: int = 0, kept: Work | None = None) -> None:
        """Drop ended work, all but `kept`, until the disk has so many bytes; see `too_many`."""
        with self._wake:
            ended = [job for job in self._jobs.values() if job.forgettable and job.complete]
        for job in too_many(ended, 0, is_open=self._is_shown):
            if has_room(self.folder, needed):
                return
            if job is not kept and self._dropped(job):
                job.remove()

    def _dropped(self, job: Work) -> bool:
        """Remove idle work from the list, unless it has resumed meanwhile or still has to end."""
        with self._wake:
            if job.state == PAUSED and not job.complete:
                if job is self._parked:
                    self.stop(job)
                else:
                    job.end(STOPPED)
            if job.complete:
                self._for_readers.pop(reading_key(job.id), None)
            return job.complete and self._jobs.pop(job.id, None) is not None

    def _work(self) -> None:
        leave_a_core()
        while True:
            with self._wake:
                while not self._line.waiting and not self._closed:
                    self._wake.wait()
                closed = self._closed and not self._line.waiting
                job = None if closed else self._line.call()
                parked, self._parked = self._parked, job
            if parked is not None and parked is not job:
                _reported(parked.release)
            if job is None:
                return
            self._clear_disk()
            _reported(job.compute)
            self._clear_disk(kept=job)
            give_back()
            with self._wake:
                self._line.done()
                if isinstance(job, Job) and job.state == PAUSED and not self._closed:
                    # A request that arrived while it paused, or it gave way to others.
                    waits = job in self._line.waiting
                    if not waits and not (job.rests() and job.wants_pause()):
                        job.become(WAITING)
                        self._line.waiting.insert(0, job)


def _reported(call: Callable[[], None]) -> None:
    """Call, and log the traceback of an unexpected error for the operator of the server."""
    try:
        call()
    except Exception as error:
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, None))
        )
