"""A recorded race is read from its file, and every value in it is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from olora_viz.background.record import RaceRecord
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.learn.gallery.recording import BASELINE, RECORDED, TESTED, Origin, Recording
from olora_viz.machine.files import read_json_object
from olora_viz.measures.catalogue import MEASURES
from olora_viz.measures.update_spectra import PARTS
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Tested
from olora_viz.races.step import Step, statuses
from olora_viz.tasks.evaluation import Evaluation, HeldOut

_NEEDED = ("loss", "grad_norm", "eval_loss", "eval_accuracy")
"""The keys that every recording has."""


def read(path: Path) -> Recording:
    """Read a recording; its name is the file's.

    Raises:
        ValueError: the file is not a recording.
        OSError: the file does not exist or cannot be read.
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
    # An older recording lacks measurements that were added later.
    recorded = [key for key in RECORDED if key in _NEEDED or any(key in line for line in lines)]
    steps = tuple(_step(line, n, config, layers, recorded) for n, line in enumerate(lines, start=1))
    over = bool(steps) and bool(steps[-1].out.all())
    if len(steps) != config.steps and not over:
        raise ValueError(f"it holds {len(steps)} of {config.steps} steps")
    held_out = values.get("held_out")
    answers = tuple(map(Answer.from_json, values["answers"]))
    for answer in answers:
        texts = [answer.prompt, answer.expected, answer.base, *answer.lanes]
        if len(answer.lanes) != K or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"an answer must hold strings of {K} lanes, not {texts!r}")
    record = RaceRecord(
        config,
        lane_styles(config.lanes),
        steps=steps,
        baseline=_of_base(values["baseline"]),
        plain_text=_typed(values["plain_text"], bool, "plain_text"),
        held_out=None if held_out is None else HeldOut(**held_out),
        left_out=_typed(values["left_out"], int, "left_out"),
        answers=answers,
        adapted=_typed(values.get("adapted", ""), str, "adapted"),
        tested=_tested(values.get("tested"), K),
    )
    title, sentence = (_typed(values[key], str, key) for key in ("title", "sentence"))
    return Recording.of_race(record, name=name, title=title, sentence=sentence, origin=Origin(**values["made"]))


def _of_base(values: dict[str, Any]) -> Evaluation:
    return Evaluation.of_totals(**{name: _numbers(values[name], 1) for name in BASELINE})


def _tested(values: dict[str, Any] | None, K: int) -> Tested | None:
    """Read the results on the test examples; a recording may lack them."""
    if values is None:
        return None
    lanes_values = values["lanes"]
    lanes = Evaluation.of_totals(**{name: _numbers(lanes_values[name], K) for name in BASELINE})
    count = len(lanes_values["example_loss"][0])
    by_example = {
        name: np.array([_numbers(row, count) for row in lanes_values[name]]) for name in TESTED if name not in BASELINE
    }
    lanes = _shaped("tested", replace(lanes, **by_example), dict.fromkeys(by_example, (K, count)))
    return Tested(_of_base(values["base"]), lanes)


def _step(line: dict[str, Any], n: int, config: RaceConfig, layers: tuple[str, ...], recorded: Sequence[str]) -> Step:
    """Read a step and check that it holds exactly the measurements of the set-up."""
    due = [key for key in recorded if config.is_due(key, n)]
    wanted = {"step", "seconds", "tokens", *due}
    if set(line) != wanted:
        raise ValueError(f"step {n} must hold {sorted(wanted)}, not {sorted(line)}")
    if line["step"] != n:
        raise ValueError(f"step {n} is numbered {line['step']!r}")
    measures = {key: _measured(key, line[key], config, layers) for key in due}
    return Step(
        step=n,
        measures={**measures, "lr": config.rates(n)},
        seconds=float(_typed(line["seconds"], float, "seconds")),
        tokens=_typed(line["tokens"], int, "tokens"),
        status=statuses(np.isnan(measures["loss"])),
    )


def _measured(key: str, plain: Any, config: RaceConfig, layers: tuple[str, ...]) -> Any:
    """Read a measurement of all lanes, and check its shapes."""
    labels, K, L = config.labels, len(config.lanes), len(layers)
    if MEASURES[key].record is None:
        return _numbers(plain, K)
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
        shapes = {"accuracy_normalized": (K,), "deciding_loss": (K,), "loss": examples, "right": examples}
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
