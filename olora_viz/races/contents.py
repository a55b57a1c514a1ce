"""Inputs of a race besides its set-up, by SHA-256: they must not change before a run is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from olora_viz.races.config import RaceConfig
from olora_viz.races.task import task_of
from olora_viz.tasks import TASKS, Task
from olora_viz.tasks.own import Own, sha256_of

CONTENTS = {
    "task_sha256": "task file {0.task!r}",
    "test_sha256": "test file {0.test!r}",
    "own_task_sha256": "task of your own, {0.task!r},",
}
"""The inputs, by the keys of ``config.json`` that hold their SHA-256."""


def contents_of(config: RaceConfig, own: Task | None) -> dict[str, str | None]:
    """Return the SHA-256 of a race's inputs, by the keys of `CONTENTS`; None for those it lacks.

    Parameters
    ----------
    config : the set-up.
    own : the user's own task.
    """
    return {
        "task_sha256": _content(config.task) if own is None else None,
        "test_sha256": _content(config.test),
        "own_task_sha256": sha256_of(own) if own else None,
    }


def check_contents(
    folder: Path, config: RaceConfig, before: Mapping[str, str | None], own: Own | None
) -> None:
    """Check that the inputs of a run have not changed since it started.

    Parameters
    ----------
    folder, config : of the run.
    before : the result of `contents_of` at the start.
    own : the user's own task that is passed now.

    Raises
    ------
    ValueError : a file or a task has changed, or the user's own task is missing or not expected.
    """
    if own is None and before["own_task_sha256"]:
        raise ValueError(
            f"the run in {str(folder)!r} trains on a task of your own, {config.task!r}, which is "
            "not in the folder: continue it in Python, with ov.resume_run(folder, task=…)"
        )
    if own is not None and not before["own_task_sha256"]:
        raise ValueError(
            f"the run in {str(folder)!r} trains on {config.task!r}, not on a task of your own"
        )
    now = contents_of(config, None if own is None else task_of(config, own))
    for key, what in CONTENTS.items():
        if before[key] != now[key]:
            raise ValueError(
                f"the {what.format(config)} has changed since the run in {str(folder)!r} started, "
                "so it cannot be resumed"
            )


def _content(task: str | None) -> str | None:
    """Return the SHA-256 of a file; None for a named task."""
    if task is None or task in TASKS:
        return None
    path = Path(task).expanduser()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
