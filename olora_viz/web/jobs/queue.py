"""The jobs of all visitors, and how many run: one, or one a GPU; some wait, the last few are kept for their pages."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from olora_viz.background.pace import Speeds
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import FAILED, PAUSED, WAITING, RaceRecord, Wait
from olora_viz.background.study import BackgroundStudy
from olora_viz.background.work import LAST_STEP, BackgroundWork
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.learn.gallery import recorded
from olora_viz.machine.devices import side_by_side, take_accelerator
from olora_viz.machine.files import cache_folder, folder_size, has_room, lock_folder, reason, temporary_folder
from olora_viz.machine.memory import give_back, keep_all
from olora_viz.machine.threads import make_way
from olora_viz.machine.wording import duration
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.step import STOPPED
from olora_viz.web.guard.fairness import Line, Pages, Places, too_many
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.jobs.job import RESTARTED, Access, Executor, Job, here, new_key, opened, readers_key, shelved
from olora_viz.web.jobs.shared import RaceSeat, race_key
from olora_viz.web.jobs.shared_study import StudySeat

log = logging.getLogger(__name__)

W = TypeVar("W", bound=BackgroundWork)

COPY = 0.05
"""What one of many equal races counts at least among those that are kept, whose files they have in common."""


class RunsFolder:
    """A folder that this server has until `give_back`, or until it ends; runs are named by keys: nobody else reads it.

    Args:
        folder: the one to take; by default the server's own.
    """

    path: Path

    def __init__(self, folder: Path | None = None) -> None:
        for wanted in [folder] if folder else usual():
            try:
                wanted.mkdir(parents=True, exist_ok=True)
                with suppress(PermissionError):  # it is another user's
                    wanted.chmod(0o700)
                lock = lock_folder(wanted)
            except BlockingIOError:
                log.warning(
                    "another server uses the runs folder %r: the races of this one go to a "
                    "temporary folder, which is deleted with the server",
                    str(wanted),
                )
                break
            except OSError as error:
                log.warning("the runs folder %r cannot be used: %s", str(wanted), reason(error))
            else:
                self.path, self.give_back = wanted, weakref.finalize(self, os.close, lock)
                return
        self.path, self.give_back = temporary_folder(self)


def usual() -> list[Path]:
    """Return the server's own folder, and another one where that cannot be written."""
    folders = []
    if chosen := os.environ.get("OLORA_VIZ_RUNS", "").strip():
        folders.append(Path(os.path.expanduser(chosen)).absolute())
    with suppress(ValueError):
        folders.append(cache_folder() / "runs")
    return folders


class _OfThread(threading.local):
    """What each thread of the races has for itself: the models that it has loaded."""

    def __init__(self) -> None:
        self.models = ModelCache()


class Jobs:
    """All work of this server, with its folders.

    Args:
        limits: on how much is kept, how many wait, and how long one computes.
        folder: for the run folders, where those of an earlier server are found; by default the one of `RunsFolder`.
        executor: what computes in place of this process, perhaps several jobs at once.
    """

    def __init__(
        self, limits: Limits | None = None, folder: Path | None = None, executor: Executor[Any] | None = None
    ) -> None:
        self._limits, self._runs_folder, self.executor = limits or Limits(), RunsFolder(folder), executor
        self.folder = self._runs_folder.path
        self.pages = Pages()
        places = Places(self._limits.max_waiting, self._limits.page_waiting, self._limits.address_waiting)
        self._line: Line[Job] = Line(places, self.pages)
        self._jobs: dict[str, Job] = {}
        self._for_readers: dict[str, Job] = {}
        self._of_thread, self._cards = _OfThread(), len(side_by_side())
        self.speeds = Speeds()
        self._wake = threading.Condition()
        self._workers: list[threading.Thread] = []
        self._closed = False
        self._in_memory: Job | None = None
        """The job that computed last: if it is paused, its race may still be in memory."""
        for job in shelved(self.folder):
            self._limit(job)
            self._list(job)
        self._forget(by_size=True)

    @property
    def models(self) -> ModelCache:
        """The models that this thread has loaded."""
        return self._of_thread.models

    # What keys open ------------------------------------------------------------------------------

    def open(self, folder: Path) -> BackgroundRace:
        """Show a run folder of the server's owner, under a new key.

        Raises:
            ValueError: the folder holds no run, or a damaged one.
        """
        job = opened(folder, self.folder)
        self._list(job)
        return job.work

    def get(self, key: object) -> BackgroundRace | None:
        """Find a race by its owner's key; None if it does not exist (any more)."""
        return self.find(key, BackgroundRace)

    def find(self, key: object, kind: type[W]) -> W | None:
        """Find work of a kind by its owner's key; None if it does not exist (any more).

        A dictionary compares hashes that are salted anew in every process, so the time of an answer tells nothing
        about the keys.
        """
        job = _asked(self._jobs, key, kind)
        return job.work if job else None

    def opened(self, key: object) -> Access | None:
        """Find what a key opens: a race of this server, with its rights, or a recorded race."""
        for owned, jobs in ((True, self._jobs), (False, self._for_readers)):
            if job := _asked(jobs, key, BackgroundRace):
                return Access(job.work, owned, job.forgettable)
        recording = recorded(key)
        return Access(None, recorded=recording) if recording else None

    def shown(self, key: object) -> RaceRecord | None:
        """Find what a page shows under a key, its owner's or its readers'."""
        access = self.opened(key)
        return access.record if access else None

    # Commands ------------------------------------------------------------------------------------

    def start(self, config: RaceConfig, goal: float = math.inf, owner: Visitor = NOBODY) -> BackgroundRace:
        """Put a race into the queue that has nothing in common with others, see `race`.

        Args:
            goal: the step after which it pauses.
            owner: who asks for it.

        Raises:
            ValueError: too many races wait already.
        """
        return self.put(self._new_race(config, goal), owner)

    def race(self, config: RaceConfig, goal: float = math.inf, owner: Visitor = NOBODY) -> BackgroundRace:
        """Put a race into the queue that equal ones may follow, or follow one that is there, see `RaceSeat`.

        Raises:
            ValueError: too many races wait already.
        """
        return self.put(self._new_race(config, goal, race_key(config)), owner)

    def study(self, study: BackgroundStudy, key: str, owner: Visitor = NOBODY) -> BackgroundStudy:
        """Put a study into the queue, or follow an equal one that is there, see `StudySeat`.

        A page that already shows the end of an equal one asks for another. One that was stopped is gone on with.

        Args:
            key: what equal ones have in common, see `olora_viz.web.jobs.shared.study_key`.

        Raises:
            ValueError: too many jobs wait already.
        """
        study.seat = StudySeat(study, key, owner.page)
        return self.put(study, owner)

    def _new_race(self, config: RaceConfig, goal: float, shared: str = "") -> BackgroundRace:
        key, styles = new_key(), lane_styles(config.lanes)
        race = BackgroundRace(key, config, self.folder / key, styles, goal=goal)
        race.seat = RaceSeat(race, shared)
        return race

    def add(
        self, kind: type[W], config: RaceConfig, styles: tuple[LaneStyle, ...], owner: Visitor = NOBODY, **more: Any
    ) -> W:
        """Put new work of a kind into the queue, as `start` does.

        Args:
            styles: of its lanes.
            more: its other attributes.
        """
        key = new_key()
        return self.put(kind(key, here(config), self.folder / key, styles, **more), owner)

    def put(self, work: W, owner: Visitor = NOBODY) -> W:
        """Put work into the queue, as `start` does, or let it follow equal work."""
        job = Job(work, owner)
        self._foresee(job)
        with self._wake:
            self._line.ask(job)
            source = work.seat.find_source(self._works())
            if source is None:
                self._enqueue(job)
            else:
                self._limit(job)
                self._list(job)
        if source is not None:
            try:
                work.seat.follow(source)
            except OSError:  # its folder was dropped meanwhile
                with self._wake:
                    self._enqueue(job)
            else:
                work.see()
                job.keep()
        self._forget()
        return work

    def makes_way(self, job: Job) -> bool:
        """Whether work that is computed makes way for others: a race by its turn, other work for all that waits."""
        return self._line.yields(job) if job.work.to_its_end else bool(self._line.waiting)

    def prepare(self, config: RaceConfig) -> None:
        """Set up a race, time its first steps and forget it: the first one on its model and task starts at once.

        A race that is asked for meanwhile would have to load the same.
        """
        if self.executor:
            self.executor.prepare(config)
            return

        def first() -> None:
            self.speeds.time(config, self.models, lambda: self._closed or bool(self._line.waiting))
            keep_all()

        self.speeds.timing = True  # until that has ended
        with self._wake:
            self._call_worker(first)

    def pause(self, race: BackgroundRace) -> None:
        """Pause a race after its current step; a waiting race pauses immediately."""
        with self._wake:
            if race.ended or race.state == PAUSED:
                return
            race.pause()
            if self._line.leave(self._jobs[race.id]):
                race.leave()

    def resume(self, race: BackgroundRace, goal: float = math.inf) -> None:
        """Queue a paused race to resume, until it has completed `goal` steps.

        Raises:
            ValueError: too many races wait already.
        """
        with self._wake:
            if race.ended:
                return
            job = self._jobs[race.id]
            job.visit = copy_context()
            if race.state == PAUSED:
                self._line.ask(job)
            if self._follow_again(race, goal):
                return
            if race.state == PAUSED and race.source is None:
                self._make_room(job.owner)
            race.resume(goal)
            if race.state == PAUSED:
                self._return(job)

    def stop(self, work: BackgroundWork, *, catch_up: bool = True) -> None:
        """End waiting work immediately, and running work soon, see `BackgroundRace.stop`.

        Args:
            catch_up: whether a race whose steps were computed elsewhere repeats them, to have its adapters.

        Raises:
            ValueError: for that, too many races wait already; it is paused.
        """
        with self._wake:
            job = self._jobs.get(work.id)
            if job is not None:
                try:
                    work.seat.stop_here()
                except OSError as error:
                    work.end(FAILED, work.sentence_on(error))
            if job is None or work.complete:
                return
            if work.cut_off and work.state == PAUSED and catch_up:
                self._make_room(job.owner)
                job.visit = copy_context()
                work.end_here()
                self._return(job)
                return
            work.stop()
            if self._line.leave(job):
                work.end(STOPPED)
            elif work.state == PAUSED:
                self._end(job)

    def before(self, work: BackgroundWork) -> Wait:
        """Return the jobs ahead of this work, and how long they may take."""
        with self._wake:
            job = self._jobs.get((work.source or work).id)
            ahead = self._line.ahead(job) if job else []
            left = [each.work.remaining(each.seconds) for each in ahead]
            places = self._line.before(job) if job else 0
        seconds = None if None in left else sum(filter(None, left)) / self._line.workers
        called = {each.work.called for each in ahead}
        return Wait(places, seconds, called.pop() if len(called) == 1 else BackgroundWork.called)

    def close(self) -> None:
        """Pause all races as they are, for the next server on the folder, and give it back."""
        with self._wake:
            self._closed = True
            self._line.waiting.clear()
            for job in self._jobs.values():
                job.work.make_way(RESTARTED)
            self._wake.notify_all()
        for worker in self._workers:
            worker.join(timeout=LAST_STEP)
        self._runs_folder.give_back()

    # The line; its methods are called with the lock held -----------------------------------------

    def _enqueue(self, job: Job) -> None:
        """Let new work wait for its turn."""
        self._make_room(job.owner)
        job.keep_own_files()
        self._limit(job)
        self._list(job)
        job.work.seat.begin(self._works())
        job.keep()
        self._line.join(job)
        self._call_worker()

    def _list(self, job: Job) -> None:
        """Give work what it needs of the queue, and let its keys open it."""
        work, job.queue = job.work, self
        self._jobs[work.id] = self._for_readers[readers_key(work.id)] = job

    def _limit(self, job: Job) -> None:
        """Apply the limits of this server, which what its owner has opened does not have."""
        work, most = job.work, self._limits.max_seconds
        work.grace, work.left = self._limits.grace_seconds, min(work.left, most)
        work.overtime = f"stopped after {duration(most)}, this server's limit"

    def _make_room(self, owner: Visitor) -> None:
        """Let waiting work that nobody watches leave its place to a visitor, if no other place is free.

        Raises:
            ValueError: there is none.
        """
        for other in self._line.let_in(owner):
            other.work.make_way("its page was closed, and others needed its place in the queue")
            other.work.leave()

    def _call_worker(self, first: Callable[[], object] = lambda: None) -> None:
        """Start a thread of the races if more may run at once, and wake those that wait."""
        self._line.workers = max(1, self.executor.places) if self.executor else self._cards
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        if len(self._workers) < self._line.workers:
            given = (len(self._workers), first)
            self._workers.append(threading.Thread(target=self._work, args=given, name="races", daemon=True))
            self._workers[-1].start()
        self._wake.notify_all()

    def _works(self) -> list[BackgroundWork]:
        return [job.work for job in self._jobs.values()]

    def _follow_again(self, race: BackgroundRace, goal: float) -> bool:
        """Let a paused race follow the one that went on without it, if there is one; return whether it does."""
        if race.state != PAUSED or race.source:
            return False
        if self._jobs[race.id] in (self._in_memory, *self._line.running):
            return False
        source = race.seat.find_source(self._works())
        if source is None or source.state == PAUSED:
            return False
        race.goal = goal
        try:
            race.seat.follow(source)
        except OSError:
            return False
        return True

    def take_over(self, work: BackgroundWork) -> None:
        """Let work compute itself what its source does not go on to compute.

        From a source that was computing it takes the turn; else it has its own, from when it was asked for.
        """
        with self._wake:
            source, job = work.source, self._jobs.get(work.id)
            if source is None or job is None or self._closed or not (source.complete or source.state == PAUSED):
                return
            runs = any(other.work is source for other in self._line.running)
            if runs and not (source.complete or source.wants_pause()):
                return  # it lets others take their turn
            try:
                if work.seat.follow_another(self._works()):
                    return
                if not runs:
                    self._make_room(job.owner)
                work.seat.compute_instead()
            except OSError as error:
                work.end(FAILED, work.sentence_on(error))
                return
            except ValueError as full:
                work.make_way(str(full))
                work.leave()
                return
            work.become(WAITING)
            self._line.join(job, first=runs)
            self._call_worker()

    def _return(self, job: Job) -> None:
        """Let a paused race wait again."""
        job.work.seen = time.monotonic()
        job.work.become(WAITING)
        self._line.ask(job)
        self._line.join(job)
        self._call_worker()

    def _end(self, job: Job) -> None:
        """End paused work; a race that is still in memory may take a moment."""
        job.work.stop()
        if job is self._in_memory or job in self._line.running:
            self._line.join(job, first=True)  # it asks its lanes, and ends
            self._wake.notify()
        else:
            job.work.end(STOPPED)

    # How long it takes; a task may have to be read, for which nobody waits with the lock ----------

    def _learn(self, work: BackgroundWork) -> None:
        """Learn from work how fast this machine is, for what waits as well."""
        self.speeds.learn(work)
        with self._wake:
            waiting = list(self._line.waiting)
        for job in waiting:
            self._foresee(job)

    def _foresee(self, job: Job) -> None:
        """Note how long work may take, as far as that is known by now."""
        forecast = self.speeds.forecast(job.work.raced, type(job.work))
        job.seconds = job.work.races * forecast.seconds if forecast else None

    # What is dropped; the disk is read and cleared without the lock, for which every page asks ----

    def _forget(self, *, by_size: bool = False, but: Job | None = None) -> None:
        """Drop races, with their folders, where too many are kept; see `fairness.too_many`.

        Equal ones, such as those of a class that presses Race at once, count as one together. Measurements
        do not count as races. A paused race is ended before it is dropped.

        Args:
            by_size: whether also where they are too large, for which all files are looked at.
            but: one that stays.
        """
        with self._wake:
            ours = [job for job in self._jobs.values() if job.forgettable and job is not but]
        at_rest = [job for job in ours if job.complete or job.work.state == PAUSED or job.work.source]
        kinds = defaultdict(list)
        for job in at_rest:
            kinds[type(job.work)].append(job)
        for alike in kinds.values():
            equals = Counter(job.work.name for job in alike)
            counts = {job: max(1 / equals[job.work.name], COPY) for job in alike}
            gone = too_many(alike, self._limits.keep_races, counts, self._is_shown)
            if by_size:
                left = [job for job in alike if job not in gone]
                sizes = {job: folder_size(job.folder, shared=True) for job in left}
                gone += too_many(left, self._limits.keep_mib * 2**20, sizes, self._is_shown)
            for job in gone:
                self._drop(job)

    def clear_disk(self, needed: int = 0, but: Job | None = None) -> None:
        """Drop ended work, all `but` one, until the disk has so many bytes; see `too_many`."""
        with self._wake:
            ended = [job for job in self._jobs.values() if job.forgettable and job.complete]
        for job in too_many(ended, 0, is_open=self._is_shown):
            if has_room(self.folder, needed):
                return
            if job is not but:
                self._drop(job)

    def _is_shown(self, job: Job) -> bool:
        return self.pages.show(job.work.id)

    def _hand_on(self, job: Job) -> None:
        """Let a page that is open and follows what has computed take its turn, if it does not go on."""
        with self._wake:
            there = [other.work for other in self._jobs.values() if self._line.is_watched(other)]
        for work in there:
            if work.source is job.work:
                work.seat.catch_up()

    def _drop(self, job: Job) -> None:
        """Remove work at rest with its files, unless it has resumed or still has to end."""
        with self._wake:
            if (job.work.state == PAUSED or job.work.source) and not job.complete:
                self._end(job)
            if not job.complete or self._jobs.pop(job.work.id, None) is None:
                return
            del self._for_readers[readers_key(job.work.id)]
        job.work.seat.leave_files()
        job.remove()

    # The thread of the races ---------------------------------------------------------------------

    def _work(self, number: int, first: Callable[[], object]) -> None:
        make_way()
        take_accelerator(number)
        _reported(first)
        give_back()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._line.is_due() or self._closed)
                job, last = self._line.call() if self._line.is_due() else None, self._in_memory
            if last is not None and last is not job:
                _reported(last.work.release)  # until then it is in memory, and is not dropped
            alone = self._line.workers == 1
            self._in_memory = job if alone else None
            if job is None:
                return
            self.clear_disk()
            _reported(job.work.compute)
            _reported(partial(self._learn, job.work))
            self.clear_disk(but=job)
            _reported(partial(self._forget, by_size=True, but=job))
            if not alone:  # another thread may take it next
                _reported(job.work.release)
            give_back()
            _reported(partial(self._hand_on, job))
            with self._wake:
                self._line.done(job)
                if not self._closed:
                    self._call_worker()  # a cluster may have grown
                work, waits = job.work, job in self._line.waiting  # for a request that arrived while it paused
                if waits or work.complete or self._closed:
                    continue
                halted = work.pauses() and work.wants_pause()
                if work.state == WAITING:  # it lets others take their turn
                    self._line.ask(job)
                    self._line.join(job)
                elif work.state == PAUSED and not halted:
                    work.become(WAITING)  # it yielded to others, and keeps its place
                    self._line.waiting.append(job)


def _asked(jobs: Mapping[str, Job[Any]], key: object, kind: type[W]) -> Job[W] | None:
    """Find the job of a key whose work is of a kind, for a page that asks for it."""
    job = jobs.get(key) if isinstance(key, str) else None
    if job is None or not isinstance(job.work, kind):
        return None
    job.was_seen()
    return job


def _reported(call: Callable[[], object]) -> None:
    """Call, and log the traceback of an unexpected error for the operator of the server."""
    try:
        call()
    except Exception as error:
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
