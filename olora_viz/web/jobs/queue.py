"""The queue of jobs, and the changes that pages follow."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from olora_viz.background.record import PAUSED, WAITING
from olora_viz.background.work import LAST_STEP
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.memory import give_back, leave_a_core
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.races.state import STOPPED
from olora_viz.web.guard.fairness import Line, Places
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import Job, Work, new_key
from olora_viz.web.jobs.pool import Found, Register
from olora_viz.web.jobs.shelving import RESTARTED

W = TypeVar("W", bound=Work)


async def changes(
    jobs: Jobs, find: Callable[[], W | None], shown: Callable[[W], tuple[object, ...]], pace: float = 0.5
) -> AsyncIterator[tuple[W, int, bool]]:
    """Yield a job, the number of jobs ahead of it and whether it is complete, at every change.

    It ends when the job is complete or gone.

    Args:
        find: returns the job, None if it is gone.
        shown: what a page shows of it, beside its state, its note and the jobs ahead.
        pace: minimum seconds between two updates.
    """
    before: object = None
    while (work := find()) is not None:
        complete, ahead = work.complete, jobs.before(work)
        now = (work.state, work.note, complete, ahead, shown(work))
        if now != before:
            before = now
            yield work, ahead, complete
        if complete:
            return
        await asyncio.sleep(pace)


class Jobs(Register):
    """All work of this server: one computes, some wait, the last few are kept for their pages.

    Args:
        limits: see `Register`; the limits also say how many may wait.
        folder: see `limits`.
        races: see `limits`.
    """

    def __init__(self, limits: Limits | None = None, folder: Path | None = None, races: type[Job] = Job) -> None:
        its = limits or Limits()
        super().__init__(its, folder, races)
        places = Places(its.max_waiting, its.page_waiting, its.address_waiting)
        self._line: Line[Work] = Line(places, self.pages)
        self._races, self._kept = races, ModelCache()
        self._worker: threading.Thread | None = None
        self._closed = False
        self._parked: Work | None = None
        self._forget()

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

    def put(self, job: Found) -> Found:
        """Put a race or a measurement into the queue, as `start` does."""
        with self._wake:
            self._make_room(job)
            job.keep_own_file()
            self._admit(job)
            job.keep()
            self._enqueue(job)
        self._forget()
        return job

    def _make_room(self, job: Work) -> None:
        """Let waiting work that nobody watches leave its place to a job, if no other place is free.

        Raises:
            ValueError: there is none.
        """
        for other in self._line.let_in(job.owner):
            other.interrupt("its page was closed, and others needed its place in the queue")
            other.rest()

    def _enqueue(self, job: Work) -> None:
        """Let work wait for its turn; call it with the lock held."""
        with self._wake:
            job.others_wait = lambda: bool(self._line.waiting)
            if isinstance(job, Job):
                job.gives_way, job.before = lambda: self._line.gives_way(job), self._kept
            self._line.join(job)
            self._call_worker()
            self._wake.notify()

    def prepare(self, config: RaceConfig) -> None:
        """Set up a race and forget it, so that the first one on its model and task starts at once.

        A race that is asked for meanwhile would have to load the same.
        """
        with self._wake:
            self._call_worker(lambda: Race(config, cache=self._kept).lanes.detach())

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
                job.rest()

    def go_on(self, job: Job, goal: float = math.inf) -> None:
        """Queue a paused race to resume, until it has completed `goal` steps.

        Raises:
            ValueError: too many races wait already.
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
                self._end(job)

    def _end(self, job: Work) -> None:
        """End a paused race; call it with the lock held."""
        job.stop()
        if job is self._parked:
            self._line.join(job, first=True)  # it asks its lanes, and ends
            self._wake.notify()
        else:
            job.end(STOPPED)

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
                job.interrupt(RESTARTED)
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout=LAST_STEP)
        self._place.give_back()

    def _work(self, first: Callable[[], object]) -> None:
        leave_a_core()
        _reported(first)
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
                waits = job in self._line.waiting  # a request that arrived while it paused
                if waits or job.complete or self._closed:
                    continue
                if job.state == WAITING:  # it lets others take their turn
                    self._line.join(job)
                elif isinstance(job, Job) and job.state == PAUSED and not (job.rests() and job.wants_pause()):
                    job.become(WAITING)  # it gave way to others
                    self._line.waiting.insert(0, job)


def _reported(call: Callable[[], object]) -> None:
    """Call, and log the traceback of an unexpected error for the operator of the server."""
    try:
        call()
    except Exception as error:
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
