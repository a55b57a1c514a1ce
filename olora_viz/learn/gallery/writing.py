"""A recorded race is written as one small JSON file, rounded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from olora_viz.learn.gallery.recording import BASELINE, KEPT, TESTED, Recording
from olora_viz.machine.files import write_text
from olora_viz.measures.catalogue import MEASURES
from olora_viz.races.step import Step
from olora_viz.tasks.evaluation import Evaluation

MAX_BYTES = 300_000
"""The largest allowed file: recordings ship with the package."""

DIGITS = 5
"""Significant digits of per-step measurements."""

LAYER_DIGITS = 3
"""Significant digits of per-layer measurements, of which there are many."""


def write(recording: Recording, path: Path) -> None:
    """Write a recording, one step per line.

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
        "baseline": _figures(recording.baseline, BASELINE),
        "tested": recording.tested
        and {
            "base": _figures(recording.tested.base, BASELINE),
            "lanes": _figures(recording.tested.lanes, TESTED),
        },
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
