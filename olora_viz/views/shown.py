"""What the page needs of a race to show it: one that runs here, or one that was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.tasks.losses import Evaluation


@runtime_checkable
class Shown(Protocol):
    """A race as its pages read it; nothing here is ever written by a page."""

    @property
    def id(self) -> str:
        """Its name in the page's address and in events."""
        ...

    @property
    def config(self) -> RaceConfig:
        """Its set-up."""
        ...

    @property
    def styles(self) -> tuple[LaneStyle, ...]:
        """How its lanes are drawn and called."""
        ...

    @property
    def steps(self) -> Sequence[Step]:
        """What was measured so far, from the first step on; it only grows."""
        ...

    @property
    def baseline(self) -> Evaluation | None:
        """Held-out figures of the base model; None while unknown."""
        ...

    @property
    def plain_text(self) -> bool:
        """Whether every token is judged, not an answer alone."""
        ...

    @property
    def left_out(self) -> int:
        """Training examples that were too long."""
        ...

    @property
    def answers(self) -> Sequence[Answer]:
        """What the base model and the lanes say after the race."""
        ...

    @property
    def state(self) -> str:
        """In a word: waiting, loading, racing, paused, stopped, finished, diverged, failed."""
        ...

    @property
    def note(self) -> str:
        """What is being done just now; of what has ended, the sentence that says why."""
        ...

    @property
    def device(self) -> str:
        """What it ran on, ``CPU`` or ``CUDA``; empty while unknown."""
        ...

    @property
    def complete(self) -> bool:
        """Nothing will change any more."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether it was computed earlier and comes with the package."""
        ...
