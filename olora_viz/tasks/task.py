"""What a task is: examples to learn from, and others, never trained on, to be judged by."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One prompt and the answer that is to follow it, character for character.

    The model reads `prompt + answer`, so the answer carries the space between the two.

    >>> Example(" 3 + 4 =", " 7", choices=(" 7", " 8")).choices.index(" 7")
    0
    """

    prompt: str
    """What the model is given; empty in a plain text."""
    answer: str
    """What it should say; the only part that is supervised."""
    choices: tuple[str, ...] = ()
    """The answers to choose from, the right one among them; empty: the answer is open."""
    line: int = 0
    """Where the example stands in its file, from 1; 0 where it comes from no file."""

    def __post_init__(self) -> None:
        """Refuse an empty answer, and an answer that is not among its choices."""
        if not self.answer:
            raise ValueError(f"the answer to {self.prompt!r} is empty: nothing could be learned")
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not among its choices {self.choices}")


@dataclass(frozen=True)
class Task:
    """Examples in two parts that share no prompt."""

    name: str
    """The name it was asked for by, or the file's name."""
    summary: str
    """What is learned, in one sentence."""
    train: tuple[Example, ...]
    """What the lanes train on."""
    held_out: tuple[Example, ...]
    """What they are judged by."""
    plain_text: bool = False
    """Every token is supervised, not an answer alone."""
    ends: bool = False
    """The end of the text after the answer is supervised too, so that the model learns to stop."""


@dataclass(frozen=True)
class TaskCard:
    """One line of the catalogue of tasks."""

    name: str
    """What the task is asked for by."""
    summary: str
    """What is learned, in one sentence."""
    prompt: str
    """A sample prompt, shortened where it is long."""
    answer: str
    """The answer to it."""
    load: Callable[[int], Task]
    """From a seed to the task."""
    offline: bool = True
    """It needs no network."""
    choices: bool = False
    """It is multiple choice."""


def split_by_prompt(
    examples: Iterable[Example], held_out: int, key: str
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Shuffle and part examples in two, so that no prompt is on both sides.

    Parameters
    ----------
    examples : the examples; those of one prompt stay together
    held_out : the number of prompts to hold out, at least 1
    key : the seed of the shuffle, as a text; the same key gives the same split everywhere

    Returns
    -------
    train, held_out

    Raises
    ------
    ValueError
        With fewer than two prompts, or fewer than `held_out + 1`.

    >>> pairs = [Example(f"{n} doubled:", f" {2 * n}") for n in range(10)]
    >>> train, held_out = split_by_prompt(pairs, 3, "doubled 0")
    >>> len(train), len(held_out)
    (7, 3)
    """
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        # A plain text has no prompt; what must not be on both sides is the text itself.
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
