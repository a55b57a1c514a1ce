"""The type of a task: training, held-out and test examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from olora_viz.tasks.split import Split


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
    """The choices, including the correct one; empty for an open answer."""
    line: int = 0
    """The line of the example in its file, from 1; 0 without a file."""
    messages: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The role and the text of each message before the answer, for a model's chat template; empty
    if the prompt is one message of the user."""

    def __post_init__(self) -> None:
        """Check that the answer is not empty and is one of the choices."""
        if not self.answer:
            raise ValueError(f"the answer to {self.prompt!r} is empty")
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not among its choices {self.choices}")


@dataclass(frozen=True)
class Duplicates:
    """Number of training examples that repeat a held-out or test example, and were removed."""

    exact: int = 0
    """The same prompt, up to case and white space."""
    near: int = 0
    """The same words in another order or punctuation, or nearly the same words."""

    def __add__(self, other: Duplicates) -> Duplicates:
        """Add counts."""
        return Duplicates(self.exact + other.exact, self.near + other.near)

    @property
    def sentence(self) -> str:
        """The counts in words; empty if nothing was removed.

        >>> Duplicates(exact=2, near=1).sentence
        'Removed from training: 3 examples with a held-out or test prompt (2 the same, 1 nearly).'
        """
        count = self.exact + self.near
        if not count:
            return ""
        return (
            f"Removed from training: {count:,} example{'s' * (count > 1)} with a held-out or "
            f"test prompt ({self.exact:,} the same, {self.near:,} nearly)."
        )


@dataclass(frozen=True, repr=False)
class Task:
    """Training, held-out and test examples, without common prompts."""

    name: str
    """The name of the task or the file."""
    summary: str
    """One sentence on the task."""
    train: tuple[Example, ...]
    """The training examples."""
    held_out: tuple[Example, ...]
    """The examples that are evaluated during a race."""
    plain_text: bool = False
    """Whether every token is supervised instead of an answer."""
    ends: bool = False
    """Whether the end-of-text token is supervised too, so that the model learns to stop."""
    test: tuple[Example, ...] = ()
    """The examples that are evaluated once, at the end of a race."""
    duplicates: Duplicates = Duplicates()
    """Training examples that were removed."""

    def __repr__(self) -> str:
        """Return its name and the sizes of its parts."""
        parts = f"{len(self.train)} training, {len(self.held_out)} held-out, {len(self.test)} test"
        return f"<Task {self.name}: {parts} examples>"

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples of all parts."""
        return self.train + self.held_out + self.test


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
    load: Callable[[int, Split], Task]
    """Loads the task for a seed, divided by a `Split`."""
    offline: bool = True
    """Whether it needs no network."""
    choices: bool = False
    """Whether it is multiple choice."""
