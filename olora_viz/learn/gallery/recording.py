"""A recorded race: everything a page shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.measures.catalogue import BUILT_IN
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import DIVERGED, FINISHED
from olora_viz.races.step import Step
from olora_viz.races.summary import Tested
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut

PREFIX = "recorded:"
"""Prefix of the ids of recorded races."""

KEPT = tuple(key for key in BUILT_IN if key != "lr")
"""The measurements that are recorded; the rates follow from the set-up."""

BASELINE = ("loss", "accuracy")
"""What is recorded of the base model."""

TESTED = (*BASELINE, "example_loss", "example_right")
"""What is recorded of the lanes on the test examples."""


@dataclass(frozen=True)
class Made:
    """When and on what a race was recorded; there, the same set-up gives the same numbers."""

    date: str
    """Year, month and day."""
    device: str
    """The device in words."""
    versions: dict[str, str]
    """Versions of Python and the numerical packages, by name."""

    def __post_init__(self) -> None:
        """Check that every value is a non-empty string."""
        words = [self.date, self.device, *self.versions, *self.versions.values()]
        if not all(isinstance(word, str) and word for word in words):
            raise ValueError(f"date, device and versions must be non-empty strings, not {words!r}")


@dataclass(frozen=True)
class Recording:
    """A finished race as its pages read it, see `olora_viz.views.race_record.RaceRecord`."""

    name: str
    """The name in the gallery and in figures."""
    title: str
    """A short title."""
    sentence: str
    """What is raced and what to look for."""
    made: Made
    config: RaceConfig
    steps: tuple[Step, ...]
    """All steps; per-layer measurements may cover a subset of the layers."""
    baseline: Evaluation
    """Held-out loss and accuracy of the base model."""
    plain_text: bool
    """Whether every token is supervised instead of an answer."""
    held_out: HeldOut | None
    """Summary of the held-out examples; None if it was not recorded."""
    left_out: int
    """Number of training examples that were too long."""
    answers: tuple[Answer, ...]
    """Answers of the base model and the lanes after the race."""
    adapted: str = ""
    """The share of the model that has adapters, in words; empty if it was not recorded."""
    in_parts: str = ""
    """See `Race.in_parts`."""
    memory: None = None
    """It takes none any more."""
    tested: Tested | None = None
    """The results on the test examples; None if it was recorded without."""

    @property
    def id(self) -> str:
        """The key that opens it on a page."""
        return f"{PREFIX}{self.name}"

    @property
    def styles(self) -> tuple[LaneStyle, ...]:
        """The styles and labels of its lanes."""
        return _styles(self.config.lanes)

    @property
    def state(self) -> str:
        """``finished``, or ``diverged`` if no lane reached the end."""
        return FINISHED if len(self.steps) == self.config.steps else DIVERGED

    @property
    def complete(self) -> bool:
        """Always True: nothing changes any more."""
        return True

    @property
    def recorded(self) -> bool:
        """Always."""
        return True

    @property
    def note(self) -> str:
        """When it was recorded."""
        return f"recorded on {self.made.date}"

    @property
    def device(self) -> str:
        """The kind of device, as a page writes it: the first word of `Made.device`."""
        return self.made.device.split(",")[0].split()[0]


_styles = cache(lane_styles)
