"""A recorded race: everything a page shows of it, in one small JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.files import read_json_object, write_text
from olora_viz.measures.catalogue import BUILT_IN, MEASURES
from olora_viz.measures.curvature import Curvature
from olora_viz.measures.examples import Examples
from olora_viz.measures.gradients import Gradients
from olora_viz.measures.update_spectra import QUANTITIES, UpdateSpectra
from olora_viz.races.config import RaceConfig
from olora_viz.races.state import DIVERGED, FINISHED, statuses
from olora_viz.races.step import Step
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut

PREFIX = "recorded:"
"""Prefix of the ids of recorded races."""

MAX_BYTES = 300_000
"""The largest allowed file: recordings ship with the package."""

DIGITS = 5
"""Significant digits of per-step measurements."""

LAYER_DIGITS = 3
"""Significant digits of per-layer measurements, of which there are many."""

_KEPT = tuple(key for key in BUILT_IN if key != "lr")
"""What is recorded; the rates follow from the set-up."""

_BASELINE = ("loss", "accuracy")
"""What is recorded of the base model."""

_NEEDED = ("loss", "grad_norm", "eval_loss", "eval_accuracy")
"""What no recording lacks."""


@dataclass(frozen=True)
class Made:
    """When and on what a race was recorded; the same set-up there gives the same numbers."""

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
    """The name in the gallery."""
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
    """Whether every token is supervised, not only an answer."""
    held_out: HeldOut | None
    """What its held-out results rest on; None if it was recorded without."""
    left_out: int
    """Number of training examples that were too long."""
    answers: tuple[Answer, ...]
    """Answers of the base model and the lanes after the race."""
    adapted: str = ""
    """What the adapters reach of the model's weights, in words; empty if that was not recorded."""

    @property
    def id(self) -> str:
        """Its name in a page's address and in events."""
        return f"{PREFIX}{self.name}"

    @property
    def styles(self) -> tuple[LaneStyle, ...]:
        """How its lanes are drawn and called."""
        return _styles(self.config.lanes)

    @property
    def state(self) -> str:
        """``finished``, or ``diverged`` where no lane came to the end."""
        return FINISHED if len(self.steps) == self.config.steps else DIVERGED

    @property
    def complete(self) -> bool:
        """Always: nothing will change any more."""
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


def write(recording: Recording, path: Path) -> None:
    """Write a recording, one step a line.

    Raises
    ------
    ValueError : the file would be larger than `MAX_BYTES`.
    """
    labels = recording.config.labels
    head = {
        "title": recording.title,
        "sentence": recording.sentence,
        "made": asdict(recording.made),
        "config": recording.config.to_json(),
        "baseline": _rounded(
            {name: getattr(recording.baseline, name).tolist() for name in _BASELINE}, DIGITS
        ),
        "held_out": recording.held_out and asdict(recording.held_out),
        "plain_text": recording.plain_text,
        "left_out": recording.left_out,
        "adapted": recording.adapted,
        "answers": [asdict(answer) for answer in recording.answers],
        "layers": _layers(recording.steps),
    }
    lines = [f"{json.dumps(key)}: {_dumps(value)}" for key, value in head.items()]
    steps = ",\n".join(_dumps(_of_step(step, labels)) for step in recording.steps)
    text = "{" + ",\n".join([*lines, f'"steps": [\n{steps}\n]']) + "}\n"
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(
            f"recording {recording.name!r} takes {len(text.encode()):,} bytes, more than "
            f"{MAX_BYTES:,}: measure less often, or keep fewer layers"
        )
    write_text(path, text)


def read(path: Path) -> Recording:
    """Read a recording; its name is the file's.

    Raises
    ------
    ValueError : the file is not a recording.
    OSError : the file does not exist or cannot be read.
    """
    values = read_json_object(path)
    try:
        return _recording(path.stem, values)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path.name!r} is not a recorded race: {what}") from None


def _recording(name: str, values: dict[str, Any]) -> Recording:
    config = RaceConfig.from_json(values["config"])
    K = len(config.lanes)
    layers = tuple(_typed(layer, str, "a layer") for layer in values["layers"])
    lines = values["steps"]
    # A recording lacks what nobody measured when it was made.
    kept = [key for key in _KEPT if key in _NEEDED or any(key in line for line in lines)]
    steps = tuple(_step(line, n, config, layers, kept) for n, line in enumerate(lines, start=1))
    over = bool(steps) and bool(steps[-1].out.all())
    if len(steps) != config.steps and not over:
        raise ValueError(f"it holds {len(steps)} of {config.steps} steps")
    base = {name: _numbers(values["baseline"][name], 1) for name in _BASELINE}
    held_out = values.get("held_out")
    answers = tuple(
        Answer(**{**answer, "lanes": tuple(answer["lanes"])}) for answer in values["answers"]
    )
    for answer in answers:
        said = [answer.prompt, answer.expected, answer.base, *answer.lanes]
        if len(answer.lanes) != K or not all(isinstance(words, str) for words in said):
            raise ValueError(f"an answer must hold strings of {K} lanes, not {said!r}")
    return Recording(
        name=name,
        title=_typed(values["title"], str, "title"),
        sentence=_typed(values["sentence"], str, "sentence"),
        made=Made(**values["made"]),
        config=config,
        steps=steps,
        baseline=Evaluation.of_totals(**base),
        plain_text=_typed(values["plain_text"], bool, "plain_text"),
        held_out=None if held_out is None else HeldOut(**held_out),
        left_out=_typed(values["left_out"], int, "left_out"),
        answers=answers,
        adapted=_typed(values.get("adapted", ""), str, "adapted"),
    )


def _of_step(step: Step, labels: Sequence[str]) -> dict[str, Any]:
    """Return a step as plain values: lists over the lanes, NaN as null; rates are the set-up's."""
    line: dict[str, Any] = {"step": step.step}
    for key, value in step.measures.items():
        if key in _KEPT:
            plain = MEASURES[key].to_json(value, labels)
            if hasattr(value, "layers"):  # whose names are at the head of the file
                line[key] = _rounded(plain["lanes"], LAYER_DIGITS)
            else:
                line[key] = _rounded([plain[label] for label in labels], DIGITS)
    return line | {"seconds": round(step.seconds, 3), "tokens": step.tokens}


def _step(
    line: dict[str, Any],
    n: int,
    config: RaceConfig,
    layers: tuple[str, ...],
    kept: Sequence[str],
) -> Step:
    """Read a step and check that it holds exactly the measurements of the set-up."""
    due = [key for key in kept if config.is_due(key, n)]
    wanted = {"step", "seconds", "tokens", *due}
    if set(line) != wanted:
        raise ValueError(f"step {n} must hold {sorted(wanted)}, not {sorted(line)}")
    if line["step"] != n:
        raise ValueError(f"step {n} is numbered {line['step']!r}")
    read = {
        "update_spectra": _spectra, "gradients": _gradients, "curvature": _curvature,
        "eval_examples": _examples,
    }  # fmt: skip
    found = {
        key: read[key](line[key], config, layers)
        if key in read
        else _numbers(line[key], len(config.lanes))
        for key in due
    }
    return Step(
        step=n,
        measures={**found, "lr": config.rates(n)},
        seconds=float(_typed(line["seconds"], float, "seconds")),
        tokens=_typed(line["tokens"], int, "tokens"),
        status=statuses(np.isnan(found["loss"])),
    )


def _spectra(lanes: dict[str, Any], config: RaceConfig, layers: tuple[str, ...]) -> UpdateSpectra:
    found = UpdateSpectra.from_json({"layers": layers, "lanes": lanes}, config.labels)
    shape = (len(config.lanes), len(layers))
    whole = (*shape, 2 * max(lane.r for lane in config.lanes))
    _check_shapes("update_spectra", found, {"sigma": whole, **dict.fromkeys(QUANTITIES, shape)})
    return found


def _gradients(lanes: dict[str, Any], config: RaceConfig, layers: tuple[str, ...]) -> Gradients:
    found = Gradients.from_json({"layers": layers, "lanes": lanes}, config.labels)
    shape = (len(config.lanes), len(layers))
    by_factor = dict.fromkeys(("gradient", "parameter", "update"), (*shape, 2))
    _check_shapes("gradients", found, {**by_factor, "input": shape})
    return found


def _curvature(
    lines: list[dict[str, Any]], config: RaceConfig, layers: tuple[str, ...]
) -> Curvature:
    labels = config.labels
    found = Curvature.from_json(dict(zip(labels, lines, strict=True)), labels)
    names = [field.name for field in fields(Curvature) if field.name != "top"]
    _check_shapes("curvature", found, dict.fromkeys(names, (len(labels),)))
    return found


def _examples(lines: list[dict[str, Any]], config: RaceConfig, layers: tuple[str, ...]) -> Examples:
    labels = config.labels
    found = Examples.from_json(dict(zip(labels, lines, strict=True)), labels)
    count = found.loss.shape[-1]
    shapes: dict[str, tuple[int, ...]] = {
        "accuracy_normalized": (len(labels),), "deciding_loss": (len(labels),),
        "loss": (len(labels), count), "right": (len(labels), count),
    }  # fmt: skip
    _check_shapes("eval_examples", found, shapes)
    return found


def _check_shapes(what: str, found: object, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        values = getattr(found, name)
        if values.shape != shape or values.dtype.kind not in "fib" or np.isinf(values).any():
            raise ValueError(f"{name} of {what} must be numbers {shape}, not {values.shape}")


def _numbers(values: Any, count: int) -> np.ndarray:
    """Read one number per lane; null is NaN."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"expected {count} numbers, not {json.dumps(values)[:60]}")
    numbers = [math.nan if x is None else float(_typed(x, float, "a number")) for x in values]
    return np.array(numbers)


def _typed(value: Any, kind: type[Any], what: str) -> Any:
    """Check the type of a value; integers count as floats, and floats must be finite."""
    kinds: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} must be of type {kind.__name__}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {value!r}")
    return value


def _layers(steps: Sequence[Step]) -> list[str]:
    """Return the measured layers, which are the same at every measurement."""
    found = [one for step in steps for one in (step.update_spectra, step.gradients) if one]
    return list(found[0].layers) if found else []


def _rounded(value: Any, digits: int) -> Any:
    """Round every number in nested values; non-finite numbers become None."""
    if isinstance(value, dict):
        return {key: _rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item, digits) for item in value]
    if isinstance(value, float):
        near = float(f"{value:.{digits}g}") if math.isfinite(value) else None
        return int(near) if near is not None and near.is_integer() else near
    return value


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
