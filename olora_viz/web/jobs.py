"""Races in the background: they go on when a page closes, and pages read from where they are.

One of them computes at a time, a race or a measurement; the others wait in the order in which they
came. All of them run on one thread: a second thread that uses OpenMP would double the time of a
step on two cores. A page knows its job by a random id. What a page reads (`Job.steps` and the
fields beside it) only grows.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import weakref
import zipfile
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from olora_viz import runs
from olora_viz.answers import Answer
from olora_viz.losses import Evaluation
from olora_viz.race import Race
from olora_viz.race_config import RaceConfig
from olora_viz.step import Step
from olora_viz.theme import Look, looks
from olora_viz.web.shown import Shown

ANSWERS = 4
"""Held-out prompts that every lane is asked after a race."""

ENDED = ("stopped", "finished", "diverged", "failed")


class StoppedEarlyError(Exception):
    """Raised out of a long computation when it is no longer wanted."""


@dataclass
class Work:
    """What takes its turn in the queue: a race, or a look at where one starts."""

    id: str
    config: RaceConfig
    folder: Path
    looks: tuple[Look, ...]
    state: str = "waiting"
    """waiting, loading, what it does (racing, …), or one of `ENDED`."""
    note: str = ""
    """What is being done just now; of what has ended, the sentence that says why."""
    part: float = 0.0
    """How much is done, from 0 to 1, where that is known."""
    why: str = ""
    """What ended it, where it was not its visitor."""
    device: str = ""
    complete: bool = False
    """Nothing will change any more."""
    stopping: threading.Event = field(default_factory=threading.Event)
    seen: float = field(default_factory=time.monotonic)
    deadline: float = math.inf
    """The end of its time, by the monotonic clock."""
    max_seconds: float = math.inf

    @property
    def recorded(self) -> bool:
        """Never: it is computed here and now, see `Shown`."""
        return False

    @property
    def ended(self) -> bool:
        """Whether nothing more will be computed."""
        return self.state in ENDED

    def stop(self, why: str = "") -> None:
        """Ask for the end."""
        if not self.stopping.is_set():
            self.why = why
            self.stopping.set()

    def is_over(self) -> bool:
        """Whether somebody has asked for the end, or the time is up."""
        if time.monotonic() >= self.deadline:
            self.stop(f"stopped after {duration(self.max_seconds)}, this server's limit")
        return self.stopping.is_set()

    def tell(self, part: float, what: str) -> None:
        """Say what is being done, and how much is; raises where it is no longer wanted."""
        self.part, self.note = part, what
        if self.is_over():
            raise StoppedEarlyError

    def run(self) -> None:
        """Do the work; may raise `StoppedEarlyError`."""
        raise NotImplementedError


@dataclass
class Job(Work):
    """One race and all that its page shows of it."""

    steps: list[Step] = field(default_factory=list)
    baseline: Evaluation | None = None
    plain_text: bool = False
    left_out: int = 0
    """Training examples that were longer than ``config.max_length``."""
    answers: list[Answer] = field(default_factory=list)
    racing: Race | None = None

    def stop(self, why: str = "") -> None:
        """Ask for the end: after the step that it is in, without a look that the step has left."""
        super().stop(why)
        racing = self.racing
        if racing is not None:
            racing.close()

    def run(self) -> None:
        """Train from beginning to end, or to the end of its time."""
        self.state = "loading"
        self.tell(0.0, f"loading {self.config.model}")
        run = runs.start(self.config, self.folder, progress=self.tell)
        racing = self.racing = run.race
        if self.stopping.is_set():
            racing.close()
        try:
            self.device = device_words(racing)
            self.baseline, self.plain_text = racing.baseline, racing.task.plain_text
            self.left_out = racing.left_out
            self.state, self.note = "racing", ""
            for step in run:
                self.steps.append(step)
                if self.is_over() and racing.status in ("racing", "stopped"):
                    racing.close()
                    self.state, self.note = "stopped", "writing the adapters"
            self.state, self.note = racing.status, "asking the lanes"
            if self.steps:
                self.answers = racing.answers(ANSWERS if not self.plain_text else ANSWERS // 2)
            self.note = self.why if self.state == "stopped" else ""
        finally:
            self.racing = None
            racing.lanes.detach()

    def adapter_zip(self, k: int) -> Path:
        """Zip lane k's adapter, once, beside the run.

        Raises
        ------
        ValueError : there is no such lane, or its adapter is not written yet.
        """
        labels = self.config.labels
        if not 0 <= k < len(labels):
            raise ValueError(f"lane {k} must be from 0 to {len(labels) - 1}")
        source = self.folder / "adapters" / labels[k]
        if not self.complete or not source.is_dir():
            raise ValueError(f"lane {labels[k]!r} has no adapter yet: the race has not ended")
        name = f"{self.config.model}-{self.config.task}-{labels[k]}".replace("=", "")
        target = self.folder / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}.zip"
        if not target.exists():
            partial = target.with_suffix(f".{secrets.token_hex(4)}")
            try:
                with zipfile.ZipFile(partial, "w") as archive:
                    for path in sorted(source.iterdir()):
                        archive.write(path, f"{target.stem}/{path.name}")
                partial.replace(target)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return target


Taken = TypeVar("Taken", bound=Work)


class Jobs:
    """All work of this server: one computes, some wait, the last few are kept for their pages.

    Parameters
    ----------
    keep : ended races that are kept.
    max_waiting : races that may wait.
    folder : where the run folders go; a new temporary one by default.
    max_seconds : a race that takes longer, its model's loading included, is stopped.
    """

    def __init__(
        self,
        keep: int = 6,
        max_waiting: int = 16,
        folder: Path | None = None,
        max_seconds: float = 1800,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="olora-viz-"))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, self.folder, True)
        self._keep, self._max_waiting, self._max_seconds = keep, max_waiting, max_seconds
        self._jobs: OrderedDict[str, Work] = OrderedDict()
        self._waiting: deque[Work] = deque()
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False

    def start(self, config: RaceConfig) -> Job:
        """Put a race into the queue.

        Raises
        ------
        ValueError : too many races wait already.
        """
        name = secrets.token_urlsafe(16)
        return self.put(Job(name, config, self.folder / name, looks(config.lanes)))

    def put(self, job: Taken) -> Taken:
        """Put a race or a measurement into the queue, as `start` does."""
        with self._wake:
            if len(self._waiting) >= self._max_waiting:
                raise ValueError(
                    f"{len(self._waiting)} races wait already, the most that this server takes: "
                    "try again in a minute"
                )
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget()
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="races", daemon=True)
                self._worker.start()
            self._wake.notify()
        return job

    def stop(self, job: Work) -> None:
        """End what waits at once, and what computes soon, see `Job.stop`."""
        with self._wake:
            job.stop()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state, job.complete = "stopped", True

    def get(self, name: object) -> Job | None:
        """Find a race; None where there is none (any more)."""
        return self.find(name, Job)

    def shown(self, name: object) -> Shown | None:
        """Find what a page shows under a name: a race of this server, or a recorded one."""
        return self.get(name)

    def find(self, name: object, kind: type[Taken]) -> Taken | None:
        """Find work of a kind; None where there is none (any more)."""
        job = self._jobs.get(name) if isinstance(name, str) else None
        if not isinstance(job, kind):
            return None
        job.seen = time.monotonic()
        return job

    def before(self, job: Work) -> int:
        """Count what has to end before this one begins."""
        with self._wake:
            waiting = list(self._waiting)
            running = sum(not j.complete and j not in waiting for j in self._jobs.values())
        return running + (waiting.index(job) if job in waiting else 0)

    def close(self) -> None:
        """Stop all races and remove their folders."""
        with self._wake:
            self._closed = True
            for job in self._jobs.values():
                job.stop()
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout=10)
        self._remove_folder()

    def _forget(self) -> None:
        """Drop the ended jobs that nobody has looked at for longest, and their folders."""
        ended = sorted((j for j in self._jobs.values() if j.complete), key=lambda job: job.seen)
        # Measurements, of which there may be many, take no race's place.
        for kind in {type(job) for job in ended}:
            alike = [job for job in ended if type(job) is kind]
            for job in alike[: max(0, len(alike) - self._keep)]:
                del self._jobs[job.id]
                shutil.rmtree(job.folder, ignore_errors=True)

    def _work(self) -> None:
        _leave_a_core()
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closed:
                        return
                    self._wake.wait()
                job = self._waiting.popleft()
            job.max_seconds = self._max_seconds
            job.deadline = time.monotonic() + self._max_seconds
            try:
                job.run()
            except StoppedEarlyError:
                job.state, job.note = "stopped", job.why
            except ValueError as error:
                job.state, job.note = "failed", str(error)
            except Exception as error:
                # The page gets a sentence; whoever runs the server gets the traceback.
                why = error.strerror if isinstance(error, OSError) else f"{error}".split("\n")[0]
                job.state, job.note = "failed", f"{type(error).__name__}: {str(why)[:200]}"
                threading.excepthook(
                    threading.ExceptHookArgs((type(error), error, error.__traceback__, None))
                )
            finally:
                job.complete = True


def _leave_a_core() -> None:
    """Train on all cores but one, unless ``OMP_NUM_THREADS`` says otherwise.

    The server, and often the browser, need one. OpenMP's threads wait for each other many times a
    step: with as many of them as cores, anything else that runs makes a step many times longer.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores - 1))


def duration(seconds: float) -> str:
    """Write a time in words.

    >>> duration(1800), duration(60), duration(45)
    ('30 minutes', '1 minute', '45 seconds')
    """
    whole = seconds >= 60 and seconds % 60 == 0
    count, unit = (seconds / 60, "minute") if whole else (seconds, "second")
    return f"{count:g} {unit}{'s' * (count != 1)}"


def device_words(racing: Race) -> str:
    """Return the kind of device that a race is on, as a page writes it."""
    return str(racing.device).split(":")[0].upper()
