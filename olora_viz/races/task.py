"""The task of a race, split as its set-up says, with the test part from a file of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from olora_viz.races.config import RaceConfig
from olora_viz.tasks import Task, load_task
from olora_viz.tasks.duplicates import deduplicated
from olora_viz.tasks.files import read_examples
from olora_viz.tasks.old_split import by_position


def task_of(config: RaceConfig) -> Task:
    """Load the task of a race.

    Raises
    ------
    ValueError : an unknown name or an invalid file, or the test file leaves nothing to train on.
    """
    if config.split_seed is None:
        task = load_task(config.task, config.seed, by_position)
    else:
        task = load_task(config.task, config.split_seed)
    if config.test is None:
        return task
    test = tuple(read_examples(Path(config.test).expanduser()))
    return deduplicated(replace(task, train=task.train + task.test, test=test))
