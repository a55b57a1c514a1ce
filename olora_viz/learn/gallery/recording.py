"""Recordings of races: made, written, read, and every value that is read is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from olora_viz.background.record import RaceRecord
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.files import read_json_object, write_text
from olora_viz.machine.tables import one_line
from olora_viz.measures.catalogue import BUILT_IN_MEASURES, MEASURES
from olora_viz.measures.factors import Factors, Inside
from olora_viz.measures.forgetting import AboutText
from olora_viz.measures.update_spectra import PARTS
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import DIVERGED, FINISHED, Step, statuses
from olora_viz.tasks.evaluation import Evaluation, HeldOut, Tested

RECORDED_ID = "recorded:"
"""Prefix of the ids of recorded races."""

RECORDED = tuple(key for key in BUILT_IN_MEASURES if key != "lr")
"""The measurements that are recorded; the rates follow from the set-up."""

BASELINE = ("loss", "accuracy")
"""What is recorded of the base model."""

ANSWERED = ("answers", "early_answers")
"""The answers of the lanes that are recorded, if there are any."""

RECORDED_BY_EXAMPLE = ("example_loss", "example_right")
TESTED = (*BASELINE, *RECORDED_BY_EXAMPLE)
"""What is recorded of the lanes on the test examples."""


@dataclass(frozen=True)
class Origin:
    """When and on what a race was recorded; there, the same set-up gives the same numbers."""

    date: str
    device: str
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
        return f"{RECORDED_ID}{self.name}"


MOST_RECORDED = 300_000
"""The largest allowed file: recordings ship with the package."""

RECORDED_DIGITS = 5
"""Significant digits of per-step measurements."""

EXAMPLE_DIGITS = 4
"""Significant digits of the losses by example, of which there are more."""

LAYER_DIGITS = 3
"""Significant digits of per-layer measurements, of which there are many."""


def write(recording: Recording, path: Path) -> None:
    """Write a recording, one step per line; ValueError if the file would be larger than `MOST_RECORDED`."""
    labels = recording.config.labels
    tested, held_out = recording.tested, recording.held_out
    measured = [measure for step in recording.steps for measure in (step.update_spectra, step.gradients) if measure]
    head = {
        "title": recording.title, "sentence": recording.sentence, "made": asdict(recording.origin),
        "config": recording.config.to_json(), "baseline": _figures(recording.baseline, BASELINE),
        "tested": tested and {"base": _figures(tested.base, BASELINE), "lanes": _figures(tested.lanes, TESTED)},
        "held_out": held_out and asdict(held_out), "plain_text": recording.plain_text,
        "left_out": recording.left_out, "adapted": recording.adapted,
        **({"text": rounded_all(text.to_json(), RECORDED_DIGITS)} if (text := recording.text) else {}),
        **({"inside": recording.inside.to_json()} if recording.inside else {}),
        **{name: [asdict(each) for each in answers] for name in ANSWERED if (answers := getattr(recording, name))},
        "layers": list(measured[0].layers) if measured else [],  # the same at every measurement
    }  # fmt: skip
    lines = [f"{json.dumps(key)}: {one_line(value)}" for key, value in head.items()]
    steps = ",\n".join(one_line(_of_step(step, labels)) for step in recording.steps)
    text = "{" + ",\n".join([*lines, f'"steps": [\n{steps}\n]']) + "}\n"
    if len(text.encode()) > MOST_RECORDED:
        raise ValueError(
            f"recording {recording.name!r} takes {len(text.encode()):,} bytes, more than "
            f"{MOST_RECORDED:,}: measure less often, or keep fewer layers"
        )
    write_text(path, text)


def _of_step(step: Step, labels: Sequence[str]) -> dict[str, Any]:
    """Return a step as plain values: lists over the lanes, NaN as null, without the rates."""
    line: dict[str, Any] = {"step": step.step}
    for key, value in step.measures.items():
        if key in RECORDED:
            plain = MEASURES[key].to_json(value, labels)
            if isinstance(value, Factors):  # of some lanes, and of few layers
                line[key] = plain
            elif hasattr(value, "layers"):  # whose names are at the head of the file
                line[key] = rounded_all(plain["lanes"], LAYER_DIGITS)
            else:
                digits = EXAMPLE_DIGITS if key == "eval_examples" else RECORDED_DIGITS
                line[key] = rounded_all([plain[label] for label in labels], digits)
    return line | {"seconds": round(step.seconds, 3), "tokens": step.tokens}


def _figures(evaluation: Evaluation, names: Sequence[str]) -> dict[str, Any]:
    return rounded_all({name: getattr(evaluation, name).tolist() for name in names}, RECORDED_DIGITS)


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


_NEEDED = ("loss", "grad_norm", "eval_loss", "eval_accuracy")
"""The keys that every recording has."""


def read(path: Path) -> Recording:
    """Read a recording, whose name is the file's; ValueError if it is none."""
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
    # An older recording lacks measurements that were added later.
    recorded = [key for key in RECORDED if key in _NEEDED or any(key in line for line in lines)]
    labels = config.labels
    steps = tuple(_step(line, n, config, labels, layers, recorded) for n, line in enumerate(lines, start=1))
    over = bool(steps) and bool(steps[-1].out.all())
    if len(steps) != config.steps and not over:
        raise ValueError(f"it holds {len(steps)} of {config.steps} steps")
    held_out = values.get("held_out")
    answers, early = (tuple(map(Answer.from_json, values.get(name, ()))) for name in ANSWERED)
    for answer in answers + early:
        texts = [answer.prompt, answer.expected, answer.base, *answer.lanes]
        if len(answer.lanes) != K or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"an answer must hold strings of {K} lanes, not {texts!r}")
    record = RaceRecord(
        config, lane_styles(config.lanes), steps=steps, answers=answers, early_answers=early,
        baseline=_totals(values["baseline"], 1),
        held_out=None if held_out is None else HeldOut(**held_out), tested=_tested(values.get("tested"), K),
        text=AboutText.from_json(values["text"]) if "text" in values else None,
        inside=Inside.from_json(values["inside"]) if "inside" in values else None,
        adapted=_typed(values.get("adapted", ""), str, "adapted"),
        plain_text=_typed(values["plain_text"], bool, "plain_text"),
        left_out=_typed(values["left_out"], int, "left_out"),
    )  # fmt: skip
    title, sentence = (_typed(values[key], str, key) for key in ("title", "sentence"))
    return Recording.of_race(record, name=name, title=title, sentence=sentence, origin=Origin(**values["made"]))


def _totals(values: dict[str, Any], K: int) -> Evaluation:
    return Evaluation.of_totals(**{name: _numbers(values[name], K) for name in BASELINE})


def _tested(values: dict[str, Any] | None, K: int) -> Tested | None:
    """Read the results on the test examples; a recording may lack them."""
    if values is None:
        return None
    of_lanes = values["lanes"]
    totals, count = _totals(of_lanes, K), len(of_lanes["example_loss"][0])
    by_example = {name: np.array([_numbers(row, count) for row in of_lanes[name]]) for name in RECORDED_BY_EXAMPLE}
    lanes = replace(totals, **by_example)
    return Tested(_totals(values["base"], 1), _shaped("tested", lanes, dict.fromkeys(RECORDED_BY_EXAMPLE, (K, count))))


def _step(
    line: dict[str, Any],
    n: int,
    config: RaceConfig,
    labels: tuple[str, ...],
    layers: tuple[str, ...],
    recorded: Sequence[str],
) -> Step:
    """Read a step and check that it holds exactly the measurements of the set-up."""
    due = [key for key in recorded if config.is_due(key, n)]
    wanted = {"step", "seconds", "tokens", *due}
    if set(line) != wanted:
        raise ValueError(f"step {n} must hold {sorted(wanted)}, not {sorted(line)}")
    if line["step"] != n:
        raise ValueError(f"step {n} is numbered {line['step']!r}")
    measures = {key: _measured(key, line[key], config, labels, layers) for key in due}
    return Step(
        step=n, measures={**measures, "lr": config.rates(n)}, status=statuses(np.isnan(measures["loss"])),
        seconds=float(_typed(line["seconds"], float, "seconds")), tokens=_typed(line["tokens"], int, "tokens"),
    )  # fmt: skip


def _measured(key: str, plain: Any, config: RaceConfig, labels: tuple[str, ...], layers: tuple[str, ...]) -> Any:
    """Read a measurement of all lanes, and check its shapes."""
    K, L = len(labels), len(layers)
    if MEASURES[key].record is None:
        return _numbers(plain, K)
    if key == "factors":
        return Factors.from_json(plain, labels)
    by_layer = key in ("update_spectra", "gradients")
    values = {"layers": layers, "lanes": plain} if by_layer else dict(zip(labels, plain, strict=True))
    measured = MEASURES[key].from_json(values, labels)
    shapes: dict[str, tuple[int, ...]]
    if key == "update_spectra":
        shapes = {"sigma": (K, L, 2 * max(lane.r for lane in config.lanes)), **dict.fromkeys(PARTS, (K, L))}
    elif key == "gradients":
        shapes = {"input": (K, L), **dict.fromkeys(("gradient", "parameter", "update"), (K, L, 2))}
    elif key == "curvature":
        shapes = {field.name: (K,) for field in fields(measured) if field.name != "top"}
    else:
        examples = (K, measured.loss.shape[-1])
        shapes = {"accuracy_normalized": (K,), "boilerplate_loss": (K,), "loss": examples, "right": examples}
    return _shaped(key, measured, shapes)


Shaped = TypeVar("Shaped")


def _shaped(what: str, measured: Shaped, shapes: dict[str, tuple[int, ...]]) -> Shaped:
    """Return measured values after a check of their shapes."""
    for name, shape in shapes.items():
        values = getattr(measured, name)
        if values.shape != shape or values.dtype.kind not in "fib" or np.isinf(values).any():
            raise ValueError(f"{name} of {what} must be numbers {shape}, not {values.shape}")
    return measured


def _numbers(values: Any, count: int) -> np.ndarray:
    """Read one number per lane; null is NaN."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"expected {count} numbers, not {json.dumps(values)[:60]}")
    return np.array([math.nan if x is None else float(_typed(x, float, "a number")) for x in values])


def _typed(value: Any, kind: type[Any], what: str) -> Any:
    """Check the type of a value; integers count as floats, and floats must be finite."""
    kinds: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} must be of type {kind.__name__}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {value!r}")
    return value
