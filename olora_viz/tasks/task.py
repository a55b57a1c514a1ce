"""The type of a task: training examples and held-out examples."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A prompt and its answer, character for character.

    The model reads `prompt + answer`, so the answer includes the space between the two.

    >>> Example(" 3 + 4 =", " 7", choices=(" 7", " 8")).choices.index(" 7")
    0
    """

    prompt: str
    """The prompt; empty in a plain text."""
    answer: str
    """The correct answer, the only supervised part."""
    choices: tuple[str, ...] = ()
    """The choices, including the correct one; empty: the answer is open."""
    line: int = 0
    """The line of the example in its file, from 1; 0 without a file."""

    def __post_init__(self) -> None:
        """Check that the answer is not empty and is one of the choices."""
        if not self.answer:
            raise ValueError(f"the answer to {self.prompt!r} is empty")
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not among its choices {self.choices}")


@dataclass(frozen=True)
class Task:
    """Training and held-out examples, without common prompts."""

    name: str
    """The name of the task or the file."""
    summary: str
    """One sentence on the task."""
    train: tuple[Example, ...]
    """The training examples."""
    held_out: tuple[Example, ...]
    """The held-out examples."""
    plain_text: bool = False
    """Whether every token is supervised, not only an answer."""
    ends: bool = False
    """Whether the end-of-text token is supervised too, so that the model learns to stop."""


@dataclass(frozen=True)
class TaskCard:
    """An entry of the task catalogue."""

    name: str
    """The name of the task."""
    summary: str
    """One sentence on the task."""
    prompt: str
    """A sample prompt, possibly shortened."""
    answer: str
    """The answer to it."""
    load: Callable[[int], Task]
    """Loads the task for a seed."""
    offline: bool = True
    """Whether it needs no network."""
    choices: bool = False
    """Whether it is multiple choice."""


def split_by_prompt(
    examples: Iterable[Example], held_out: int, key: str
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Shuffle and split examples in two parts without common prompts.

    Parameters
    ----------
    examples : the examples; those of one prompt stay together
    held_out : the number of prompts to hold out, at least 1
    key : the seed of the shuffle, a string; the same key gives the same split on every machine

    Returns
    -------
    train, held_out

    Raises
    ------
    ValueError
        If there are fewer than `held_out + 1` prompts, or fewer than two.

    >>> pairs = [Example(f"{n} doubled:", f" {2 * n}") for n in range(10)]
    >>> train, held_out = split_by_prompt(pairs, 3, "doubled 0")
    >>> len(train), len(held_out)
    (7, 3)
    """
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        # A plain text has no prompt: the text itself must not be on both sides.
        by_prompt.setdefault(example.prompt or example.answer, []).append(example)
    if not 1 <= held_out < len(by_prompt):
        raise ValueError(
            f"{len(by_prompt)} different prompts cannot be split into {held_out} held out "
            "and at least one to train on"
        )
    prompts = list(by_prompt)
    random.Random(key).shuffle(prompts)
    parts = prompts[held_out:], prompts[:held_out]
    train, held = (tuple(e for prompt in part for e in by_prompt[prompt]) for part in parts)
    return train, held
