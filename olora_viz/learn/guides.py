"""Guides that drive the page: in each step one sentence, one thing to do, and how it is seen that it was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["pressed", "value", "hidden", "step", "ended", "bet"]
"""What can be waited for: a press; the value of a control; a lane hidden or shown; a step of the race in view; its
end; a bet."""


@dataclass(frozen=True)
class Awaited:
    """What a step waits for, however it is done: by mouse, touch, keyboard or shortcut."""

    kind: Kind
    words: str
    """What it is, after "waiting:"."""
    of: str = ""
    """CSS selector of what is pressed, or has the value."""
    low: float = 0.0
    """The least value; of a step its share of the race, from 0 to 1."""
    high: float = 1.0

    def __post_init__(self) -> None:
        """Check that it can come true."""
        if self.low > self.high:
            raise ValueError(f"low must be at most high: {self.low:g} > {self.high:g}")
        if (self.kind in ("pressed", "value")) != bool(self.of):
            raise ValueError(f"a selector belongs to pressed and value, not to {self.kind} with {self.of!r}")


@dataclass(frozen=True)
class GuideStep:
    """A step; names of initializations in braces, as ``{olora}``, are shown as those of lanes."""

    says: str
    do: str
    waits: Awaited | None = None
    """None where there is only something to read."""
    then: str = ""
    """What is said when it was done; empty goes on at once."""
    where: str = ""
    """Id of the element that is framed; its tab is opened."""
    page: str = "race"
    hides: bool = False
    """Whether verdict, ranking and story are hidden until it is done."""
    opens: Literal["", "clear", "rewind"] = ""
    """What it begins with: an ended race is cleared away, or shown from step 0."""


@dataclass(frozen=True)
class Guide:
    """Steps with a title."""

    name: str
    """The name in links: ``?guide=NAME&at=N``."""
    title: str
    steps: tuple[GuideStep, ...]


def bet_on(says: str, opens: Literal["clear", "rewind"]) -> GuideStep:
    """Return the step that asks for a bet, of which the next steps hide the result as well."""
    do, waits = "Place your bet on who is ahead in the end.", Awaited("bet", "a bet")
    return GuideStep(says, do, waits, where="bet-card", hides=True, opens=opens)


FIRST = Guide(
    "first",
    "Two minutes: what is this?",
    (
        GuideStep(
            "Each curve is a small adapter that learns to tell happy from sad; {olora}, {lora} and {pissa} are ways "
            "to start it.",
            "Drag the slider below the chart to the far left.",
            Awaited("step", "step 0", high=0.0),
            "At step 0 all curves stand at one point: no start changes what the model says before it is trained.",
            where="scrubber-card",
            opens="",
        ),
        bet_on(
            "All of them get the same sentences in the same order: only the start differs, and the learning rate.",
            opens="clear",
        ),
        GuideStep(
            "Now they train, side by side, on one small model that all of them share.",
            "Press Race.",
            Awaited("pressed", "Race", of="#race-button"),
            where="race-button",
            hides=True,
        ),
        GuideStep(
            "The thin flat line is what guessing gets: a curve above it has learned something.",
            "Watch the curves until the race has ended.",
            Awaited("ended", "the end of the race"),
            "The race is over. Above the chart stand the verdict and, if you have bet, how your bet ended.",
            where="accuracy-card",
            hides=True,
        ),
        GuideStep(
            "The end alone does not tell who learned faster.",
            "Drag the slider back to the first half of the race.",
            Awaited("step", "a step of the first half", low=0.05, high=0.5),
            "The verdict and the ranking now speak of the race up to here: who is ahead may change on the way.",
            where="scrubber-card",
        ),
        GuideStep(
            "The verdict compares each start at its best rate, and says how sure it is: what is “open” may be luck.",
            "Open Learn for the lessons, or Decide to find a start for your own data.",
            Awaited("pressed", "Learn or Decide", of="a[href='#learn'], a[href='#decide']"),
            where="verdict-card",
        ),
    ),
)
"""The guide of a first visit."""
