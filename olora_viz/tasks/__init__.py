"""Tasks: named data sets and the user's own files, as batches of tokens."""

from __future__ import annotations

import os
from functools import lru_cache

from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.tables import Catalogue
from olora_viz.tasks.batches import Batch, batch_indices, collate
from olora_viz.tasks.built_in import BUILT_IN_TASKS
from olora_viz.tasks.encoding import Encoded, Encoding, encode
from olora_viz.tasks.files import load_file
from olora_viz.tasks.hub import HUB, load_by_name
from olora_viz.tasks.hub import TASK_CARDS as FROM_HUB
from olora_viz.tasks.task import Example, Task, TaskCard, deduplicated, links_of

__all__ = [
    "TASKS", "Batch", "Encoded", "Encoding", "Example", "Task", "TaskCard", "batch_indices", "collate", "encode",
    "load_task",
]  # fmt: skip

TASKS: Catalogue[TaskCard] = Catalogue(
    "task", (*BUILT_IN_TASKS, *FROM_HUB), ("name", "prompt", "answer", "offline", "summary")
)
"""The tasks by name: those that are built in, then data sets of the hub.

Examples:
    >>> import olora_viz as ov
    >>> card = ov.TASKS["addition"]
    >>> card.prompt, card.answer
    ('3 + 4 =', ' 7')
    >>> [name for name, card in ov.TASKS.items() if card.offline]
    ['addition', 'number-words', 'sentiment', 'uppercase', 'roman', 'bigger', 'text', 'tagging', 'rewriting', \
'number-words-pt', 'plural-pt']
"""


def load_task(name: str | os.PathLike[str], split_seed: int = 0) -> Task:
    """Load a named task, a data set of the hub, or the user's own file.

    Args:
        name: a key of `TASKS`, or ``hf:owner/name`` or ``hf:owner/name:configuration`` for a data set of the hub whose
            rows have the columns of a task file, or the path of a `.json`, `.jsonl` or `.csv` file. A name is a path
            if it has a folder or an extension, or if the file exists
        split_seed: for the generated examples and the split; training examples that nearly repeat a held-out or test
            example are removed

    Raises:
        ValueError: if the name is unknown, the file is invalid, or the hub is unreachable.

    Examples:
        >>> import olora_viz as ov
        >>> task = ov.load_task("addition")
        >>> len(task.train), len(task.held_out), len(task.test)
        (422, 64, 64)
        >>> task.train[0]
        Example(prompt='54 + 5 =', answer=' 59', choices=(), line=0)
    """
    expect(name, str | os.PathLike, "the name of a task or the path of its file")
    name = os.fspath(name)
    card = TASKS.get(name)
    if card is not None and card.offline:
        return generated(card, split_seed)
    if name.startswith(HUB):
        return load_by_name(name, split_seed)
    if card is None:
        if len(links := links_of(name)) > 1:
            raise ValueError(
                f"{name!r} is a chain of {len(links)} tasks, and here is room for one: race --chain trains on "
                "one after the other, and a study compares the starts of a chain"
            )
        folder, file = os.path.split(name)
        if not (folder or os.path.splitext(file)[1] or os.path.exists(name)):
            raise ValueError(f"{unknown('task', name, TASKS)} (or pass a .json, .jsonl or .csv file)")
    return deduplicated(card.load(split_seed) if card else load_file(name, split_seed))


@lru_cache(maxsize=16)
def generated(card: TaskCard, seed: int) -> Task:
    """Generate a built-in task, or return it as it was generated before; see `load_task`."""
    return deduplicated(card.load(seed))
