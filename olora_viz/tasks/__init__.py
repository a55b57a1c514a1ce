"""What is learned in a race: named tasks and the user's own file, as batches of tokens."""

from __future__ import annotations

from olora_viz.naming import unknown
from olora_viz.tasks.batches import Batch, Encoded, Encoding, batch_indices, collate, encode
from olora_viz.tasks.built_in import CARDS as BUILT_IN
from olora_viz.tasks.task import Example, Task, TaskCard

__all__ = [
    "TASKS",
    "Batch",
    "Encoded",
    "Encoding",
    "Example",
    "Task",
    "TaskCard",
    "batch_indices",
    "collate",
    "encode",
    "load_task",
]

TASKS: dict[str, TaskCard] = {card.name: card for card in BUILT_IN}
"""The catalogue: every task that has a name."""


def load_task(name: str, seed: int = 0) -> Task:
    """Make the task of a name.

    Parameters
    ----------
    name : a key of `TASKS`
    seed : of what is generated and of the split into train and held out

    Raises
    ------
    ValueError
        Where no task has the name.

    >>> task = load_task("addition")
    >>> len(task.train), len(task.held_out)
    (486, 64)
    """
    if name not in TASKS:
        raise ValueError(unknown("task", name, TASKS))
    return TASKS[name].load(seed)
