"""Races in the background: they go on when a page closes, and pages read from where they are.

One race trains at a time; the others wait in the order in which they came. All of them train on
one thread: a second thread that uses OpenMP would double the time of a step on two cores. A page
knows its job by a random id. What a page reads (`Job.steps` and the fields beside it) only grows.
"""

from __future__ import annotations

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

import torch

from olora_viz import runs
from olora_viz.answers import Answer
from olora_viz.losses import Evaluation
from olora_viz.race import Race
from olora_viz.race_config import RaceConfig
from olora_viz.step import Step
from olora_viz.theme import Look, looks

ANSWERS = 4
"""Held-out prompts that every lane is asked after a race."""

ENDED = ("stopped", "finished", "diverged", "failed")


@dataclass
class Job:
    """One race and all that its page shows of it."""

    id: str
    config: RaceConfig
    folder: Path
    looks: tuple[Look, ...]
    steps: list[Step] = field(default_factory=list)
    state: str = "waiting"
    """waiting, loading, racing, or one of `ENDED`."""
    note: str = ""
    """What is being done just now; of a race that has ended, the sentence that says why."""
    why: str = ""
    """What ended the race, where it was not its visitor."""
    device: str = ""
    baseline: Evaluation | None = None
    plain_text: bool = False
    left_out: int = 0
    """Training examples that were longer than ``config.max_length``."""
    answers: list[Answer] = field(default_factory=list)
    complete: bool = False
    """Nothing will change any more: answers and adapters are there."""
    stopping: threading.Event = field(default_factory=threading.Event)
    seen: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> bool:
        """Whether no further step will come."""
        return self.state in ENDED

    def stop(self, why: str = "") -> None:
        """Ask for the end; a race that is training ends after the step it is in."""
        if not self.stopping.is_set():
            self.why = why
            self.stopping.set()

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


class Jobs:
    """All races of this server: one trains, some wait, the last few are kept for their pages.

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
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
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
        job = Job(name, config, self.folder / name, looks(config.lanes))
        with self._wake:
            if len(self._waiting) >= self._max_waiting:
                raise ValueError(
                    f"{len(self._waiting)} races wait already, the most that this server takes: "
                    "try again in a minute"
                )
            self._jobs[name] = job
            self._waiting.append(job)
            self._forget()
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="races", daemon=True)
                self._worker.start()
            self._wake.notify()
        return job

    def stop(self, job: Job) -> None:
        """End a race that waits at once, one that trains after the step it is in."""
        with self._wake:
            job.stop()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state, job.complete = "stopped", True

    def get(self, name: object) -> Job | None:
        """Find a job; None where there is none (any more)."""
        job = self._jobs.get(name) if isinstance(name, str) else None
        if job is not None:
            job.seen = time.monotonic()
        return job

    def before(self, job: Job) -> int:
        """Count the races that have to end before this one begins."""
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
        for job in ended[: max(0, len(ended) - self._keep)]:
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
            try:
                _run(job, self._max_seconds)
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


class _StoppedEarlyError(Exception):
    """Raised out of the loading of a model when its race is no longer wanted."""


def _run(job: Job, max_seconds: float) -> None:
    """Train one race from beginning to end, or to the end of its time."""
    deadline = time.monotonic() + max_seconds

    def is_over() -> bool:
        if time.monotonic() >= deadline:
            job.stop(f"stopped after {duration(max_seconds)}, this server's limit")
        return job.stopping.is_set()

    def loading(_: float, what: str) -> None:
        job.note = what
        if is_over():
            raise _StoppedEarlyError

    job.state = "loading"
    try:
        loading(0.0, f"loading {job.config.model}")
        run = runs.start(job.config, job.folder, progress=loading)
    except _StoppedEarlyError:
        job.state, job.note = "stopped", job.why
        return
    racing: Race = run.race
    try:
        job.device = str(racing.device).split(":")[0].upper()
        job.baseline, job.plain_text = racing.baseline, racing.task.plain_text
        job.left_out = racing.left_out
        job.state, job.note = "racing", ""
        for step in run:
            job.steps.append(step)
            if is_over() and racing.status == "racing":
                racing.close()
                job.state, job.note = "stopped", "writing the adapters"
        job.state, job.note = racing.status, "asking the lanes"
        if job.steps:
            job.answers = racing.answers(ANSWERS if not job.plain_text else ANSWERS // 2)
        job.note = job.why if job.state == "stopped" else ""
    finally:
        racing.lanes.detach()
