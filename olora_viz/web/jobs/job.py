"""A job of the queue: work in the background, with its owner, its turn and its files, also after a restart.

A job's id is its owner's key: random, and never outside its owner's browser and the name of its folder. Links carry
the readers' key, and what is saved or drawn the name. Both are derived from the id, also after a restart, and neither
leads back to it.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import re
import secrets
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from olora_viz.background.host import Host
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ENDED, FAILED, PAUSED, RaceRecord
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.files import A_PATH, check_tensors, is_disk_full, is_free, read_json_object, reason, write_json
from olora_viz.machine.tables import finite_or_none
from olora_viz.races.config import RaceConfig
from olora_viz.races.run import CHECKPOINT, copy_run, has_begun, load_run
from olora_viz.web.guard.fairness import FRONT
from olora_viz.web.guard.limits import NOBODY, Visitor
from olora_viz.web.guard.visitor_files import FILE_KINDS, copy_own
from olora_viz.web.jobs.shared import RaceSeat, own_fields

if TYPE_CHECKING:
    from olora_viz.races.data import ModelCache
    from olora_viz.web.jobs.queue import Jobs

log = logging.getLogger(__name__)

SEEN_SECONDS = 1.0
"""Minimum time between two updates on disk of when a page last asked for a race."""

DISK_FULL = (
    "the server's disk is full, although its oldest races have been deleted: try again later, or "
    "with fewer lanes or a smaller rank"
)


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


def readers_key(key: str) -> str:
    """Return what opens the job of an id for reading."""
    return derived(key, b"read", 16)


def on_zero_gpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space on ZeroGPU."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def here(config: RaceConfig) -> RaceConfig:
    """Return a set-up for this process, which on ZeroGPU has no GPU although it seems to."""
    return replace(config, device="cpu") if on_zero_gpu() else config


W = TypeVar("W", bound=BackgroundWork)


class Executor(Generic[W]):
    """Where work is computed, if not in the process that serves."""

    places = 1
    """How many compute there at once."""

    def takes(self, work: BackgroundWork) -> bool:
        """Whether it computes work of this kind."""
        raise NotImplementedError

    def prepare(self, config: RaceConfig) -> None:
        """Let the first race on a set-up start at once."""

    def compute(self, work: W) -> bool | None:
        """Compute work until its end or a pause, in place of `BackgroundWork.run`."""
        raise NotImplementedError

    def heed(self, work: W) -> None:
        """Hear that what is wished of work may have changed; by default `compute` looks for itself."""


@dataclass(eq=False)
class Job(Host, Generic[W]):
    """Work that the queue computes, and its host.

    A race pauses between two turns: on disk as a checkpoint, and on a CPU also in memory until another job's turn, so
    that single steps are quick.
    """

    work: W
    owner: Visitor = NOBODY
    turn: tuple[float, float, int] = FRONT
    """See `fairness.Waits`."""
    seconds: float | None = None
    """How long all of it may take, see `Speeds.forecast`; None if unknown."""
    forgettable: bool = True
    """Whether the server may drop it, with its folder, for newer ones."""
    on_disk: tuple[str, bool] | None = None
    """State and completeness of a race in its record on disk; None while it has none."""
    queue: Jobs | None = field(default=None, repr=False)
    """The one that computes it; None before it is listed there."""
    visit: contextvars.Context = field(default_factory=contextvars.copy_context)
    """Of the page that asked last: time that is lent counts as that visitor's."""
    _touched: float = -math.inf

    def __post_init__(self) -> None:
        """Keep the path of a visitor's own file, and the server's others, out of everything that is shown."""
        work = self.work
        work.name, work.host, work.disk_full = derived(work.id, b"name", 9), self, DISK_FULL
        work.own_files = {name: Path(getattr(work.config, name)) for name in own_fields(work.config)}
        names: dict[str, Any] = {name: path.name for name, path in work.own_files.items()}
        work.config = replace(work.config, **names)

    @property
    def folder(self) -> Path:
        """The folder of its results."""
        return self.work.run_folder

    @property
    def seen(self) -> float:
        """Time of a page's last request for it."""
        return self.work.seen

    @property
    def complete(self) -> bool:
        """Whether it has ended."""
        return self.work.complete

    def was_seen(self) -> None:
        """Record that a page asks for it; of a race also in the file time of the record."""
        self.work.see()
        seen = self.work.seen
        if self.on_disk is not None and seen - self._touched > SEEN_SECONDS:
            self._touched = seen
            with suppress(OSError):
                os.utime(record_of(self.folder))

    def keep_own_files(self) -> None:
        """Copy the visitor's own files, which may be gone before its turn comes.

        Raises:
            ValueError: a file is gone, or the disk is full.
        """
        copies = {}
        for name, own in self.work.own_files.items():
            copy = copies[name] = own_folder(self.folder) / own.name
            try:
                copy_own(own, copy)
            except OSError as error:
                if is_disk_full(error):
                    raise ValueError(DISK_FULL) from None
                words = FILE_KINDS[name].words
                raise ValueError(f"{words} is no longer available: its page was closed; choose it again") from None
        self.work.own_files = copies

    def keep(self) -> None:
        """Write the record of a race, to show it after a restart; on a full disk the older one is kept."""
        work = self.work
        with work.changed, suppress(OSError):
            kept = work.seat.kept()
            if kept is not None:
                self.on_disk, self._touched = (work.state, work.complete), -math.inf
                left = min(work.left, work.deadline - time.monotonic())
                write_json(record_of(self.folder), {**kept, "left": finite_or_none(left), "owner": list(self.owner)})

    # As the host of its work -----------------------------------------------------------------------

    @property
    def executor(self) -> Executor[Any] | None:
        """Where it is computed, if not in this process."""
        executor = self.queue.executor if self.queue is not None else None
        return executor if executor is not None and executor.takes(self.work) else None

    @property
    def models(self) -> ModelCache | None:
        """The models that this server's races have loaded."""
        return self.queue.models if self.queue is not None else None

    def compute(self, work: BackgroundWork) -> bool | None:
        """Compute it there, or here."""
        executor = self.executor
        return work.run() if executor is None else self.visit.run(executor.compute, work)

    def yields(self) -> bool:
        """Whether others wait whose turn it is."""
        return self.queue is not None and self.queue.makes_way(self)

    def before_news(self) -> None:
        """Keep the state of a race on disk, if it has another one; where it is computed may wait for a wish."""
        if self.on_disk is not None and self.on_disk != (self.work.state, self.work.complete):
            self.keep()
        if executor := self.executor:
            executor.heed(self.work)

    def without_paths(self, sentence: str) -> str:
        """Remove the paths of the server from a sentence."""
        for own in self.work.own_files.values():
            sentence = sentence.replace(str(own), own.name)
        return A_PATH.sub("a file of this server", sentence.replace(str(self.folder), "the run"))

    def clear_disk(self, needed: int) -> None:
        """Drop work that has ended, until there is room."""
        if self.queue is not None:
            self.queue.clear_disk(needed)

    def take_over(self, work: BackgroundWork) -> None:
        """Let it compute what its source does not go on to compute."""
        if self.queue is not None:
            self.queue.take_over(work)

    def remove(self) -> None:
        """Remove all its files."""
        with self.work.changed:
            self.on_disk = None
            record_of(self.folder).unlink(missing_ok=True)
        for folder in (self.folder, own_folder(self.folder)):
            shutil.rmtree(folder, ignore_errors=True)
        requests_of(self.folder).unlink(missing_ok=True)


# Its files -----------------------------------------------------------------------------------


STUDY_SUFFIX = ".study"
"""The ending of a study's folder, which tells it from a run's: no study outlives its server."""


class Access(NamedTuple):
    """What a key opens, and with which rights."""

    race: BackgroundRace | None
    """A race of this server; None for a recorded one."""
    owned: bool = True
    """Whether the key is the owner's, who may also pause, step, resume and stop the run, take its adapters and race on
    its own file again."""
    forgettable: bool = True
    recorded: RaceRecord | None = None

    @property
    def record(self) -> RaceRecord:
        """What may be seen of the run now: others see nothing that quotes a visitor's own file, nor its adapters."""
        if self.race is None:
            assert self.recorded is not None
            return self.recorded
        now = self.race.record()
        if self.owned or not self.race.own_files:
            return now
        note = "" if now.state == FAILED else now.note
        if "task" not in self.race.own_files:
            return replace(now, note=note)
        held_out = now.held_out and now.held_out.without_quotes()
        steps = tuple(step.without_measure("factors") for step in now.steps)  # which make the adapters
        return replace(
            now, answers=(), early_answers=(), held_out=held_out, note=note, inside=None, steps=steps
        )  # fmt: skip

    @property
    def readers_key(self) -> str:
        """What opens it for reading; empty for a recorded race."""
        return readers_key(self.race.id) if self.race else ""


def record_of(folder: Path) -> Path:
    """Return the file with the data that a page shows of a run, next to the run's folder."""
    return folder.with_name(f"{folder.name}.record")


def requests_of(folder: Path) -> Path:
    """Return the file by which a race in another process is paused or stopped, next to the run's folder."""
    return folder.with_name(f"{folder.name}.wish")


def own_folder(folder: Path) -> Path:
    """Return the folder of the copies of a visitor's own files, next to the run's folder."""
    return folder.with_name(f"{folder.name.removesuffix(STUDY_SUFFIX)}.task")


def study_folder(folder: Path) -> Path:
    """Return the folder of a decision or of claims, where a race would have its run folder."""
    return folder.with_name(folder.name + STUDY_SUFFIX)


def zips_of(folder: Path) -> Path:
    """Return the folder of zipped adapters of a run whose own folder nothing is written to."""
    return folder.with_name(f"{folder.name}.zips")


ID = re.compile(r"[A-Za-z0-9_-]{22}")
"""The ids of races; anything else in the folder is ignored."""

ASIDE = "set-aside"
"""The folder for runs that cannot be read; it is never deleted."""

RESTARTED = "the server was restarted"
"""The reason for pausing a race that was computing or waiting when its server ended."""

DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError, OSError)
"""The exceptions that a damaged file raises."""


def shelved(home: Path) -> Iterator[Job[BackgroundRace]]:
    """Find the races of a runs folder: ended, or paused.

    Unreadable runs are set aside, and the log says why.
    """
    names = {path.name.partition(".")[0] for path in home.iterdir()}
    for name in sorted(filter(ID.fullmatch, names)):
        folder = home / name
        try:
            if folder.is_dir() or record_of(folder).is_file():
                job = _read(folder, folder.name)
                last_change = (record_of(folder) if record_of(folder).exists() else folder).stat().st_mtime
                job.work.seen = time.monotonic() - (time.time() - last_change)  # its page touches the record
                job.on_disk = (job.work.state, job.complete)
                yield job
            else:  # of a study, a measurement or a run that the owner opened, which are not kept
                for path in _folders_beside(folder):
                    shutil.rmtree(path)
        except DAMAGED as error:
            _set_aside(folder, error)


def opened(folder: Path, home: Path) -> Job[BackgroundRace]:
    """Show a run folder of the server's owner under a new key.

    Nothing is written to it, unless the race is unfinished and resumed.

    Args:
        home: the runs folder of the server, where adapters are zipped.

    Raises:
        ValueError: the folder holds no run, or a damaged one; the message is one sentence.
    """
    folder, key = folder.absolute(), new_key()
    try:
        job = _read(folder, key, zips=zips_of(home / key))
    except DAMAGED as error:
        if isinstance(error, ValueError | OSError):
            raise
        raise ValueError(f"the run in {str(folder)!r} is damaged: {reason(error)}") from None
    job.forgettable = False
    return job


def _read(folder: Path, key: str, zips: Path | None = None) -> Job[BackgroundRace]:
    """Return the race of a folder and of the files next to it.

    Raises:
        ValueError: they cannot be read.
        and the others of `DAMAGED`: likewise.
    """
    file, left, owner, values = record_of(folder), math.inf, NOBODY, {}
    if file.exists():
        values = read_json_object(file)
        followed = folder.with_name(str(values.get("follows") or folder.name))
        if is_free(folder) and has_begun(followed):
            copy_run(followed, folder, RaceConfig.from_json(values["config"]).steps)
        run = None if is_free(folder) else load_run(folder)
        record, steps_made = RaceRecord.from_json(values, run.steps if run else ()), int(values["steps"])
        if record.complete and record.state not in ENDED:
            raise ValueError(f"{str(file)!r} has a race that ended as {record.state!r}")
        if not record.complete and record.state != PAUSED:  # it was in progress
            record = replace(record, state=PAUSED, note=RESTARTED)
        left = math.inf if values["left"] is None else float(values["left"])
        owner = Visitor(*map(str, values["owner"]))
    else:
        run = load_run(folder)
        record, steps_made = RaceRecord.of_run(run), run.summary["steps"] if run.summary else 0
    for number, step in enumerate(record.steps, 1):
        if step.step != number:
            raise ValueError(f"step {number} is missing in {str(folder)!r}")
    if record.complete:
        if len(record.steps) < steps_made:
            raise ValueError(f"{str(folder)!r} has {len(record.steps)} of its {steps_made} steps")
    elif (folder / CHECKPOINT).exists():
        check_tensors(folder / CHECKPOINT)
    if file.exists():
        own: dict[str, Any] = {
            name: str(own_folder(folder) / getattr(record.config, name)) for name in own_fields(record.config)
        }
        record = replace(record, config=replace(record.config, **own))
    ended_well = record.complete or run is None or run.summary is not None
    race = BackgroundRace(
        key, record.config, folder, record.styles, record.state, record.note,
        complete=record.complete, steps=list(record.steps), results=replace(record, steps=()),
        cut_off=bool(record.steps) and not ended_well,
        why_paused=record.note if record.state == PAUSED else "", left=left, zips=zips,
    )  # fmt: skip
    race.seat = RaceSeat.of_kept(race, values)
    return Job(race, owner)


def _set_aside(folder: Path, error: Exception) -> None:
    """Move the files of a race into the folder `ASIDE`, and log this."""
    aside = folder.parent / ASIDE
    why = reason(error) if isinstance(error, KeyError) else " ".join(str(error).split())
    why = why.replace(f"{folder.parent}{os.sep}", "")
    log.warning("the run %r cannot be read and is set aside in %r: %s", folder.name, str(aside), why)
    try:
        aside.mkdir(exist_ok=True)
        for path in (folder, record_of(folder), *_folders_beside(folder)):
            if path.exists():
                path.rename(aside / path.name)
    except OSError as error:
        log.warning("the run %r stays where it is: %s", folder.name, reason(error))


def _folders_beside(folder: Path) -> list[Path]:
    """Return the folders that a server made next to a run's folder; all else is the user's."""
    folders = (own_folder(folder), zips_of(folder), study_folder(folder))
    return [path for path in folders if path.is_dir() and not path.is_symlink()]
