"""The task of a race: as its set-up names and splits it, or the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from olora_viz.races.config import RaceConfig
from olora_viz.tasks import Task, load_task
from olora_viz.tasks.duplicates import deduplicated
from olora_viz.tasks.files import read_examples
from olora_viz.tasks.old_split import by_position
from olora_viz.tasks.own import Own, own_task


def task_of(config: RaceConfig, own: Own | None = None) -> Task:
    """Load the task of a race, and the test examples of a separate file.

    Parameters
    ----------
    config : the set-up.
    own : used instead of ``config.task``.

    Raises
    ------
    ValueError : an unknown name or an invalid file, or the test file leaves nothing to train on.
    """
    if own is not None:
        task = own_task(own, config.split_seed or 0)
    elif config.split_seed is None:
        task = load_task(config.task, config.seed, by_position)
    else:
        task = load_task(config.task, config.split_seed)
    if config.test is None:
        return task
    test = tuple(read_examples(Path(config.test).expanduser()))
    return deduplicated(replace(task, train=task.train + task.test, test=test))
