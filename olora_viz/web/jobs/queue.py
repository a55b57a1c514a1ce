"""The queue: one race or measurement runs at a time, and the others wait in order.

All of them run on one thread: a second thread that uses OpenMP would double the time of a step on
two cores. A page knows its job by a random id, which is the only key to it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from olora_viz.figures.theme import lane_styles
from olora_viz.learn.gallery import recorded
from olora_viz.machine.threads import cores
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import STOPPED
from olora_viz.views.race_record import PAUSED, WAITING, RaceRecord
from olora_viz.web.jobs.job import Job, Work, new_id
from olora_viz.web.jobs.runs_folder import RunsFolder
from olora_viz.web.jobs.shelving import RESTARTED, opened, shelved

Taken = TypeVar("Taken", bound=Work)


class Jobs:
    """All work of this server: one computes, some wait, the last few are kept for their pages.

    Parameters
    ----------
    keep, keep_mib : maximum number of ended and paused races kept, and of their MiB on disk.
    max_waiting : races that may wait.
    folder : for the run folders, where those of an earlier server are found; by default the one
        of `RunsFolder`.
    max_seconds : a race that computes longer, including the loading of its model, is stopped.
    grace : seconds without an open page after which a race pauses.
    races : how they are computed.
    """

    def __init__(
        self,
        keep: int = 6,
        max_waiting: int = 16,
        folder: Path | None = None,
        max_seconds: float = 1800,
        grace: float = math.inf,
        keep_mib: int = 4000,
        races: type[Job] = Job,
    ) -> None:
        self._place = RunsFolder(folder)
        self.folder = self._place.path
        self._keep, self._keep_bytes, self._max_waiting = keep, keep_mib * 2**20, max_waiting
        self._races = races
        self._max_seconds, self._grace = max_seconds, grace
        self._jobs: dict[str, Work] = {}
        self._waiting: deque[Work] = deque()
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        self._parked: Work | None = None
        for job in shelved(self.folder, races):
            job.grace, job.max_seconds = grace, max_seconds
            job.left = min(job.left, max_seconds)
            self._jobs[job.id] = job
        self._forget()

    def start(self, config: RaceConfig, goal: float = math.inf) -> Job:
        """Put a race into the queue.

        Parameters
        ----------
        goal : the step after which it pauses.

        Raises
        ------
        ValueError : too many races wait already.
        """
        name = new_id()
        job = self._races(
            name, config, self.folder / name, lane_styles(config.lanes), grace=self._grace
        )
        job.goal = goal
        return self.put(job)

    def put(self, job: Taken) -> Taken:
        """Put a race or a measurement into the queue, as `start` does."""
        with self._wake:
            if len(self._waiting) >= self._max_waiting:
                raise ValueError(self._full())
            job.keep_own_file()
            job.max_seconds = job.left = self._max_seconds
            job.keep()
            self._jobs[job.id] = job
            self._enqueue(job)
        self._forget()
        return job

    def open(self, folder: Path) -> Job:
        """Show a run folder of the server's owner, under a new id.

        Raises
        ------
        ValueError : the folder holds no run, or a damaged one.
        """
        job = opened(folder, self.folder)
        self._jobs[job.id] = job
        return job

    def _enqueue(self, job: Work) -> None:
        """Let work wait for its turn; call it with the lock held."""
        with self._wake:
            self._waiting.append(job)
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
            if job in self._waiting:
                self._waiting.remove(job)
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
            if job.state == PAUSED and len(self._waiting) >= self._max_waiting:
                raise ValueError(self._full())
            job.unpause(goal)
            if job.state == PAUSED:
                self._return(job)

    def _return(self, job: Job) -> None:
        """Let a paused race wait again; call it with the lock held."""
        job.seen = time.monotonic()
        job.become(WAITING)
        self._enqueue(job)

    def _full(self) -> str:
        return (
            f"{len(self._waiting)} races are already waiting, the maximum on this server: "
            "try again in a minute"
        )

    def stop(self, job: Work) -> None:
        """End waiting work immediately, and running work soon, see `Job.stop`."""
        with self._wake:
            if isinstance(job, Job) and job.cut_off and job.state == PAUSED:
                job.last = len(job.steps) + 1  # it catches up, and writes its adapters
                job.unpause()
                self._return(job)
                return
            job.stop()
            if job in self._waiting:
                self._waiting.remove(job)
                job.end(STOPPED)
            elif job.state == PAUSED:
                if job is self._parked:
                    self._waiting.appendleft(job)  # it asks its lanes, and ends
                    self._wake.notify()
                else:
                    job.end(STOPPED)

    def get(self, name: object) -> Job | None:
        """Find a race; None if it does not exist (any more)."""
        return self.find(name, Job)

    def shown(self, name: object) -> RaceRecord | None:
        """Find what a page shows under a name: a race of this server, or a recorded one."""
        return self.get(name) or recorded(name)

    def find(self, name: object, kind: type[Taken]) -> Taken | None:
        """Find work of a kind; None if it does not exist (any more)."""
        job = self._jobs.get(name) if isinstance(name, str) else None
        if not isinstance(job, kind):
            return None
        job.was_seen()
        return job

    def before(self, job: Work) -> int:
        """Count the work ahead of this one."""
        with self._wake:
            waiting = list(self._waiting)
            idle = [j for j in self._jobs.values() if j.complete or j.state == PAUSED]
            running = len(self._jobs) - len(idle) - len(waiting)
        return running + (waiting.index(job) if job in waiting else 0)

    def close(self) -> None:
        """Pause all races as they are, for the next server on the folder, and give it back."""
        with self._wake:
            self._closed = True
            self._waiting.clear()
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
        """Drop the least recently viewed races, with their folders.

        Measurements do not count as races. A paused race is ended before it is dropped. The disk is
        read and cleared without the lock, for which every open page asks.
        """
        with self._wake:
            ours = [job for job in self._jobs.values() if job.forgettable]
        at_rest = [job for job in ours if job.complete or job.state == PAUSED]
        at_rest.sort(key=lambda job: job.seen)
        for kind in {type(job) for job in at_rest}:
            alike = [job for job in at_rest if type(job) is kind]
            sizes = [folder_size(job.folder) for job in alike]
            while alike and (len(alike) > self._keep or sum(sizes) > self._keep_bytes):
                job, _ = alike.pop(0), sizes.pop(0)
                if self._dropped(job):
                    job.remove()

    def _dropped(self, job: Work) -> bool:
        """Remove idle work from the list, unless it has resumed meanwhile or still has to end."""
        with self._wake:
            if job.state == PAUSED and not job.complete:
                if job is self._parked:
                    self.stop(job)
                else:
                    job.end(STOPPED)
            return job.complete and self._jobs.pop(job.id, None) is not None

    def _work(self) -> None:
        _leave_a_core()
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                closed = self._closed and not self._waiting
                job = None if closed else self._waiting.popleft()
                parked, self._parked = self._parked, job
            if parked is not None and parked is not job:
                _reported(parked.release)
            if job is None:
                return
            _reported(job.compute)
            with self._wake:
                # A request that arrived while it paused.
                if job.state == PAUSED and not job.rests() and not self._closed:
                    job.become(WAITING)
                    self._waiting.appendleft(job)


def folder_size(folder: Path) -> int:
    """Return the total size of the files below a folder, in bytes; 0 if it does not exist."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it is being deleted
                size += (Path(parent) / name).stat().st_size
    return size


def _reported(call: Callable[[], None]) -> None:
    """Call, and log the traceback of an unexpected error for the operator of the server."""
    try:
        call()
    except Exception as error:
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, None))
        )


def _leave_a_core() -> None:
    """Train on all cores but one, unless ``OMP_NUM_THREADS`` says otherwise.

    The server, and often the browser, need one.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() - 1))
