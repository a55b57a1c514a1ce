"""Runs that are kept: their folder, and how they are read again."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from olora_viz.background.record import ENDED, PAUSED, RaceRecord
from olora_viz.machine.files import (
    cache_folder,
    check_tensors,
    is_free,
    lock_folder,
    read_json_object,
    reason,
    temporary_folder,
)
from olora_viz.races.run import CHECKPOINT, load_run
from olora_viz.tasks import TASKS
from olora_viz.web.guard.visitor import Visitor
from olora_viz.web.jobs.job import Job, new_key, own_folder, record_of, study_folder

log = logging.getLogger(__name__)


class RunsFolder:
    """A folder that this server has until `give_back`, or until the server ends.

    Args:
        folder: the one to take; by default the server's own.
    """

    path: Path

    def __init__(self, folder: Path | None = None) -> None:
        for wanted in [folder] if folder else usual():
            try:
                wanted.mkdir(parents=True, exist_ok=True)
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


ID = re.compile(r"[A-Za-z0-9_-]{22}")
"""The ids of races; anything else in the folder is ignored."""

ASIDE = "set-aside"
"""The folder for runs that cannot be read; it is never deleted."""

RESTARTED = "the server was restarted"
"""The reason for pausing a race that was computing or waiting when its server ended."""

DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError, OSError)
"""The exceptions that a damaged file raises."""


def shelved(home: Path, kind: type[Job]) -> Iterator[Job]:
    """Find the races of a runs folder: ended, or paused.

    Unreadable runs are set aside, and the log says why.
    """
    names = {path.name.partition(".")[0] for path in home.iterdir()}
    for name in sorted(filter(ID.fullmatch, names)):
        folder = home / name
        try:
            if folder.is_dir() or record_of(folder).is_file():
                job = _read(folder, kind, folder.name)
                last_change = (record_of(folder) if record_of(folder).exists() else folder).stat().st_mtime
                job.seen = time.monotonic() - (time.time() - last_change)  # its page touches the record
                job.on_disk = (job.state, job.complete)
                yield job
            else:  # of a study, a measurement or a run that the owner opened, which are not kept
                for path in _folders_beside(folder):
                    shutil.rmtree(path)
        except DAMAGED as error:
            _set_aside(folder, error)


def opened(folder: Path, home: Path) -> Job:
    """Show a run folder of the server's owner under a new key.

    Nothing is written to it, unless the race is unfinished and resumed.

    Args:
        home: the runs folder of the server, where adapters are zipped.

    Raises:
        ValueError: the folder holds no run, or a damaged one; the message is one sentence.
    """
    folder = folder.absolute()
    try:
        job = _read(folder, Job, new_key())
    except DAMAGED as error:
        if isinstance(error, ValueError | OSError):
            raise
        raise ValueError(f"the run in {str(folder)!r} is damaged: {reason(error)}") from None
    job.zips, job.forgettable = zips_of(home / job.id), False
    return job


def zips_of(folder: Path) -> Path:
    """Return the folder of zipped adapters of a run whose own folder nothing is written to."""
    return folder.with_name(f"{folder.name}.zips")


def _read(folder: Path, kind: type[Job], name: str) -> Job:
    """Return the race of a folder and of the files next to it.

    Raises:
        ValueError: they cannot be read.
        and the others of `DAMAGED`: likewise.
    """
    file, more = record_of(folder), dict[str, Any]()
    if file.exists():
        run = None if is_free(folder) else load_run(folder)
        values = read_json_object(file)
        record, steps_made = RaceRecord.from_json(values, run.steps if run else ()), int(values["steps"])
        if record.complete and record.state not in ENDED:
            raise ValueError(f"{str(file)!r} has a race that ended as {record.state!r}")
        if not record.complete and record.state != PAUSED:  # it was in progress
            record = replace(record, state=PAUSED, note=RESTARTED)
        left = values["left"]
        more["left"] = math.inf if left is None else float(left)
        more["owner"] = Visitor(*map(str, values["owner"]))
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
    if file.exists() and record.config.task not in TASKS:
        own = str(own_folder(folder) / record.config.task)
        record = replace(record, config=replace(record.config, task=own))
    ended_well = record.complete or run is None or run.summary is not None
    return kind(
        name, record.config, folder, record.styles, record.state, record.note,
        complete=record.complete, steps=list(record.steps), results=replace(record, steps=()),
        cut_off=bool(record.steps) and not ended_well,
        why_paused=record.note if record.state == PAUSED else "", **more,
    )  # fmt: skip


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
