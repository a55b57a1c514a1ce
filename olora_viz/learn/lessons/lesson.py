"""What a lesson is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olora_viz.learn.gallery import PREFIX, load
from olora_viz.races.config import RaceConfig

Page = Literal["race", "spectrum", "conditioning", "learn"]
Picture = Literal["loss", "rates", "curvature", "spectrum", "qr"]


@dataclass(frozen=True)
class Lesson:
    """A page to read, one thing to do and one thing to see.

    In its sentences a formula stands between dollar signs, in LaTeX. Whatever number a sentence
    says was read from the recorded race, or computed, when the lesson was made.
    """

    name: str
    """A word for addresses."""
    title: str
    minutes: int
    """To read and to do."""
    paragraphs: tuple[str, ...]
    formulas: tuple[str, ...]
    """In LaTeX, each for a line of its own behind the first paragraph."""
    do: str
    """One thing to do on the page that the lesson opens."""
    see: str
    """What to look at then."""
    recording: str | None = None
    """The recorded race that it works from."""
    page: Page = "race"
    """Where that is done."""
    where: str = ""
    """Id of what is to be used or looked at there."""
    picture: Picture = "loss"
    """What is drawn beside the words, see `lesson_figures`."""

    @property
    def race(self) -> str | None:
        """The recorded race's id, as the page knows it."""
        return f"{PREFIX}{self.recording}" if self.recording else None

    @property
    def config(self) -> RaceConfig | None:
        """The set-up by which the race is run again."""
        return load(self.recording).config if self.recording else None
