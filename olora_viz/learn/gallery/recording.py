"""Recordings of races: made, written, and given back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.files import write_text
from olora_viz.measures.catalogue import BUILT_IN, MEASURES
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Tested
from olora_viz.races.state import DIVERGED, FINISHED
from olora_viz.races.step import Step
from olora_viz.tasks.evaluation import Evaluation, HeldOut

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
    """A finished race as its pages read it, see `olora_viz.background.record.RaceRecord`."""

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


MAX_BYTES = 300_000
"""The largest allowed file: recordings ship with the package."""

DIGITS = 5
"""Significant digits of per-step measurements."""

LAYER_DIGITS = 3
"""Significant digits of per-layer measurements, of which there are many."""


def write(recording: Recording, path: Path) -> None:
    """Write a recording, one step per line.

    Raises:
        ValueError: the file would be larger than `MAX_BYTES`.
    """
    labels = recording.config.labels
    head = {
        "title": recording.title,
        "sentence": recording.sentence,
        "made": asdict(recording.made),
        "config": recording.config.to_json(),
        "baseline": _figures(recording.baseline, BASELINE),
        "tested": recording.tested
        and {"base": _figures(recording.tested.base, BASELINE), "lanes": _figures(recording.tested.lanes, TESTED)},
        "held_out": recording.held_out and asdict(recording.held_out),
        "plain_text": recording.plain_text,
        "left_out": recording.left_out,
        "adapted": recording.adapted,
        "answers": [asdict(answer) for answer in recording.answers],
        "layers": _layers(recording.steps),
    }
    lines = [f"{json.dumps(key)}: {one_line(value)}" for key, value in head.items()]
    steps = ",\n".join(one_line(_of_step(step, labels)) for step in recording.steps)
    text = "{" + ",\n".join([*lines, f'"steps": [\n{steps}\n]']) + "}\n"
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(
            f"recording {recording.name!r} takes {len(text.encode()):,} bytes, more than "
            f"{MAX_BYTES:,}: measure less often, or keep fewer layers"
        )
    write_text(path, text)


def _of_step(step: Step, labels: Sequence[str]) -> dict[str, Any]:
    """Return a step as plain values: lists over the lanes, NaN as null, without the rates."""
    line: dict[str, Any] = {"step": step.step}
    for key, value in step.measures.items():
        if key in KEPT:
            plain = MEASURES[key].to_json(value, labels)
            if hasattr(value, "layers"):  # whose names are at the head of the file
                line[key] = rounded_all(plain["lanes"], LAYER_DIGITS)
            else:
                line[key] = rounded_all([plain[label] for label in labels], DIGITS)
    return line | {"seconds": round(step.seconds, 3), "tokens": step.tokens}


def _figures(found: Evaluation, names: Sequence[str]) -> dict[str, Any]:
    return rounded_all({name: getattr(found, name).tolist() for name in names}, DIGITS)


def _layers(steps: Sequence[Step]) -> list[str]:
    """Return the measured layers, which are the same at every measurement."""
    found = [one for step in steps for one in (step.update_spectra, step.gradients) if one]
    return list(found[0].layers) if found else []


def rounded_all(value: Any, digits: int) -> Any:
    """Round every number in nested values; non-finite numbers become None."""
    if isinstance(value, dict):
        return {key: rounded_all(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded_all(item, digits) for item in value]
    if isinstance(value, float):
        near = float(f"{value:.{digits}g}") if math.isfinite(value) else None
        return int(near) if near is not None and near.is_integer() else near
    return value


def one_line(value: Any) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
