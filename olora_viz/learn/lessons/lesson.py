"""The type of a lesson."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olora_viz.learn.gallery import PREFIX, load
from olora_viz.races.config import RaceConfig

Page = Literal["race", "spectrum", "conditioning", "learn"]
Picture = Literal["loss", "rates", "curvature", "spectrum", "qr"]


@dataclass(frozen=True)
class Lesson:
    """A text, one thing to do, one thing to see, and a question that checks the idea.

    Formulas in sentences are LaTeX between dollar signs. Every number in a sentence is read from
    the recorded race, or computed, when the lesson is built.
    """

    name: str
    """The name in URLs."""
    title: str
    minutes: int
    """Time to read and do it."""
    idea: str
    """What it teaches, in one sentence."""
    paragraphs: tuple[str, ...]
    formulas: tuple[str, ...]
    """In LaTeX, displayed after the first paragraph."""
    do: str
    """One thing to do on the page that the lesson opens."""
    see: str
    """What to observe then."""
    ask: str
    """A question that checks whether the idea has been understood."""
    answer: str
    recording: str | None = None
    """The recorded race it is based on."""
    page: Page = "race"
    """The page to do it on."""
    where: str = ""
    """Id of the element to use or observe there."""
    picture: Picture = "loss"
    """The picture next to the text, see `olora_viz.learn.pictures`."""

    @property
    def race(self) -> str | None:
        """The id of the recorded race on the page."""
        return f"{PREFIX}{self.recording}" if self.recording else None

    @property
    def config(self) -> RaceConfig | None:
        """The set-up to run the race again."""
        return load(self.recording).config if self.recording else None
