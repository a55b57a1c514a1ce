"""Recordings of races: made, written, and given back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from olora_viz.background.record import RaceRecord
from olora_viz.machine.files import write_text
from olora_viz.measures.catalogue import BUILT_IN, MEASURES
from olora_viz.races.step import DIVERGED, FINISHED, Step
from olora_viz.tasks.evaluation import Evaluation

PREFIX = "recorded:"
"""Prefix of the ids of recorded races."""

RECORDED = tuple(key for key in BUILT_IN if key != "lr")
"""The measurements that are recorded; the rates follow from the set-up."""

BASELINE = ("loss", "accuracy")
"""What is recorded of the base model."""

TESTED = (*BASELINE, "example_loss", "example_right")
"""What is recorded of the lanes on the test examples."""


@dataclass(frozen=True)
class Origin:
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


@dataclass(frozen=True, kw_only=True)
class Recording(RaceRecord):
    """A finished race; per-layer measurements may cover a subset of the layers. Its name is that in the gallery."""

    title: str
    """A short title."""
    sentence: str
    """What is raced and what to look for."""
    origin: Origin
    baseline: Evaluation
    """Held-out loss and accuracy of the base model."""

    @classmethod
    def of_race(cls, record: RaceRecord, *, name: str, title: str, sentence: str, origin: Origin) -> Recording:
        """Return the recording of a race that has ended."""
        values = {each.name: getattr(record, each.name) for each in fields(record)}
        values |= {
            "name": name, "complete": True, "recorded": True, "note": f"recorded on {origin.date}",
            "state": FINISHED if len(record.steps) == record.config.steps else DIVERGED,
            "device": origin.device.split(",")[0].split()[0],
        }  # fmt: skip
        return cls(**values, title=title, sentence=sentence, origin=origin)

    @property
    def id(self) -> str:
        """The key that opens it on a page."""
        return f"{PREFIX}{self.name}"


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
        "made": asdict(recording.origin),
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
        if key in RECORDED:
            plain = MEASURES[key].to_json(value, labels)
            if hasattr(value, "layers"):  # whose names are at the head of the file
                line[key] = rounded_all(plain["lanes"], LAYER_DIGITS)
            else:
                line[key] = rounded_all([plain[label] for label in labels], DIGITS)
    return line | {"seconds": round(step.seconds, 3), "tokens": step.tokens}


def _figures(evaluation: Evaluation, names: Sequence[str]) -> dict[str, Any]:
    return rounded_all({name: getattr(evaluation, name).tolist() for name in names}, DIGITS)


def _layers(steps: Sequence[Step]) -> list[str]:
    """Return the measured layers, which are the same at every measurement."""
    measured = [measure for step in steps for measure in (step.update_spectra, step.gradients) if measure]
    return list(measured[0].layers) if measured else []


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
