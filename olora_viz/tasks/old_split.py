"""The split of older versions, for their run folders: by the name and the order of the rows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from olora_viz.tasks.task import Example, Parts

MAX_HELD_OUT = 500
"""Maximum number of held-out prompts of a file; otherwise one in ten, at least one."""


def by_position(examples: Sequence[Example], name: str, held_out: int | None, seed: int) -> Parts:
    """Shuffle the prompts and hold out the first of them; there is no test part.

    Args:
        examples: the examples; those of one prompt stay together
        name: of the task or the file, part of the seed of the shuffle
        held_out: number of prompts to hold out; None for one in ten
        seed: the other part of the seed

    >>> pairs = [Example(f"{n} doubled:", f" {2 * n}") for n in range(10)]
    >>> [len(part) for part in by_position(pairs, "doubled", 3, 0)]
    [7, 3, 0]
    """
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        by_prompt.setdefault(example.prompt or example.answer, []).append(example)
    if held_out is None:
        held_out = max(1, min(MAX_HELD_OUT, len(by_prompt) // 10))
    if not 1 <= held_out < len(by_prompt):
        raise ValueError(
            f"{len(by_prompt)} different prompts cannot be split into {held_out} held out and at least one to train on"
        )
    prompts = list(by_prompt)
    random.Random(f"{name} {seed}").shuffle(prompts)
    parts = prompts[held_out:], prompts[:held_out]
    train, held = (tuple(e for prompt in part for e in by_prompt[prompt]) for part in parts)
    return Parts(train, held, ())
