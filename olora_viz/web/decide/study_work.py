"""Work for the queue that runs a study within some minutes, in turns with others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from olora_viz.races.step import Step
from olora_viz.studies.deciding import Decision
from olora_viz.web.conditioning.measurement import WorkHere

TURN = 10.0
"""Seconds after which it lets others who wait take their turn."""

OF_EXAMPLES = ("chat", "truncate")
"""The settings of a race that decisions and claims have as well."""

LEFT = "nobody follows it any more"


@dataclass(eq=False)
class StudyWork(WorkHere):
    """A decision, or claims about training: a study on the model and task of a set-up."""

    minutes: float = 0.0
    """The time limit of the study."""
    known: Decision | None = None
    """What is known of the study; None before its plan."""
    steps: int = 0
    """Number of steps that its races have run."""
    began: float = 0.0
    """When its turn began, by the monotonic clock."""
    waits: bool = False
    """Whether it lets others take their turn."""

    @property
    def minutes_left(self) -> float:
        """The minutes that earlier turns have left of the limit, a few seconds at least."""
        return max(0.1, self.minutes - (self.known.seconds / 60 if self.known else 0.0))

    def begin_turn(self) -> None:
        """Begin a turn, the first one or another."""
        self.began, self.waits = time.monotonic(), False

    def learn(self, road: Iterable[Decision]) -> None:
        """Go a study's road to its end, or until others take their turn."""
        for known in road:
            self.known = known
            self.become(known.stage)

    def goes_on(self, step: Step) -> bool:
        """Return after a step of its races whether to go on."""
        self.steps, self.note = self.steps + 1, ""
        if time.monotonic() - self.seen > self.grace:
            self.stop(LEFT)
        self.wake()
        return not self.gives_way() and not self.is_over()

    def gives_way(self) -> bool:
        """Return whether its turn is over and others wait."""
        self.waits = time.monotonic() - self.began > TURN and self.others_wait()
        return self.waits


def check_minutes(minutes: object, offered: Sequence[int]) -> None:
    """Check a time limit that a page sent.

    Raises
    ------
    ValueError : it is not among those offered.
    """
    if isinstance(minutes, bool) or minutes not in offered:
        raise ValueError(
            f"minutes must be one of {', '.join(map(str, offered))}, not {minutes!r:.40}"
        )


def of_examples(settings: Any = None) -> dict[str, Any]:
    """Return those settings, as a page sent them, that say how examples are read."""
    said = settings if isinstance(settings, dict) else {}
    return {name: said[name] for name in OF_EXAMPLES if name in said}
