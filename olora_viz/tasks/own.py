"""The user's own tasks in Python: a `Task`, or rows such as those of a `datasets.Dataset`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

from olora_viz.tasks.duplicates import deduplicated
from olora_viz.tasks.rows import example_of
from olora_viz.tasks.split import by_content
from olora_viz.tasks.task import Task

Own = Task | Iterable[Any]
"""A task with its parts, or rows with the columns of a task file, which are split here."""


def own_task(own: Own, seed: int = 0) -> Task:
    """Return the user's rows as a task; a `Task` is returned unchanged.

    Parameters
    ----------
    own : a `Task`, or rows: pairs, Alpaca, questions or chat messages, as in `example_of`
    seed : for the split of rows

    Returns
    -------
    Task; answers of rows end with the end-of-text token, like those of a file

    Raises
    ------
    ValueError
        If a row is invalid (the message has its number, from 1, and the rule), or if `own` is
        neither a task nor rows.

    >>> rows = [{"prompt": f"{a} and one make", "answer": str(a + 1)} for a in range(2, 40)]
    >>> len(own_task(rows).examples)
    38
    """
    if isinstance(own, Task):
        if not own.train or not own.held_out:
            raise ValueError(f"the task {own.name!r} needs training and held-out examples")
        return own
    if isinstance(own, str | Mapping):
        raise ValueError(
            f"task must be a Task or rows, such as a datasets.Dataset, not {type(own).__name__} "
            "(pass one split of several; the name or file of a task belongs in RaceConfig)"
        )
    examples = []
    for number, row in enumerate(own, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number} is not a mapping but {type(row).__name__}")
        examples.append(example_of(row, f"row {number}"))
    if len(examples) < 2:
        raise ValueError(f"the task has too few rows, {len(examples)}: at least two are needed")
    name = getattr(getattr(own, "info", None), "dataset_name", None) or "rows"
    parts = by_content(examples, name, None, seed)
    summary = f"{len(examples):,} rows from Python."
    made = Task(name, summary, parts.train, parts.held_out, ends=True, test=parts.test)
    return deduplicated(made)


def sha256_of(task: Task) -> str:
    """Return a hash of what a race sees of a task."""
    # Messages say what the prompt does, and hashes of older versions are without them.
    parts = [
        [astuple(example)[:-1] for example in part]
        for part in (task.train, task.held_out, task.test)
    ]
    return hashlib.sha256(repr((task.plain_text, task.ends, parts)).encode()).hexdigest()
