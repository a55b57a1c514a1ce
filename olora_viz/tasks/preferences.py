"""Preferences: examples with a chosen and a rejected answer."""

from __future__ import annotations

import random
from dataclasses import replace

from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.task import Example, Task


def paired(task: Task, seed: int) -> Task:
    """Return a task whose examples have two choices: the right answer and a wrong one.

    The wrong one is drawn by the seed: of the example's own choices, or else of the answers to others.

    Raises:
        ValueError: all its answers are right for some prompt.
    """
    answers = sorted({example.answer for example in task.examples})

    def with_wrong(example: Example, number: int) -> Example:
        right = {example.answer.strip(), *example.others}
        wrong = [each for each in example.choices or answers if each.strip() not in right]
        if not wrong:
            raise ValueError(f"the objective dpo needs a wrong answer to {example.prompt!r}, and there is none")
        rejected = random.Random(f"{seed} rejected {example.prompt} {number}").choice(wrong)
        return replace(example, choices=(example.answer, rejected))

    train, held_out, test = (
        tuple(with_wrong(example, i) for i, example in enumerate(part))
        for part in (task.train, task.held_out, task.test)
    )
    return replace(task, train=train, held_out=held_out, test=test)


def pair_of(example: Encoded) -> tuple[Encoded, Encoded]:
    """Return the chosen and the rejected answer of an example of `paired`."""
    chosen, rejected = example.choices[example.correct], example.choices[1 - example.correct]
    return chosen, rejected
