"""Results of a race besides its steps, as plain values, to show a race that is not in memory.

A run folder has the steps, and a summary once it has ended. The base model's results by example,
the test and the answers are known only to the race itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import numpy as np

from olora_viz.lanes.generation import Answer
from olora_viz.races.summary import Tested
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut


@runtime_checkable
class Findings(Protocol):
    """Anything with these attributes, such as `olora_viz.views.race_record.RaceRecord`."""

    device: str
    baseline: Evaluation | None
    plain_text: bool
    held_out: HeldOut | None
    left_out: int
    adapted: str
    in_parts: str
    tested: Tested | None
    answers: list[Answer]


def findings_json(race: Findings) -> dict[str, Any]:
    """Return the findings as plain values; NaN is null."""
    base, held_out, tested = race.baseline, race.held_out, race.tested
    return {
        "device": race.device,
        "plain_text": race.plain_text,
        "left_out": race.left_out,
        "adapted": race.adapted,
        "in_parts": race.in_parts,
        "baseline": base and base.to_json(),
        "held_out": held_out and asdict(held_out),
        "tested": tested and [each.to_json() for each in tested],
        "answers": [asdict(answer) for answer in race.answers],
    }


def findings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings by name from what `findings_json` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError : the values have another form.
    """
    base, held_out, tested = values["baseline"], values["held_out"], values["tested"]
    return {
        **{name: values[name] for name in ("device", "plain_text", "left_out", "adapted")},
        "in_parts": values.get("in_parts", ""),  # older versions had none
        "baseline": base and Evaluation.from_json(base),
        "held_out": held_out and HeldOut(**held_out),
        "tested": tested and Tested(*map(Evaluation.from_json, tested)),
        "answers": [Answer.from_json(answer) for answer in values["answers"]],
    }


def findings_of_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings in a run's ``summary.json``, without answers and results by example.

    Raises
    ------
    KeyError, TypeError, ValueError : the file is not the summary of a race.
    """
    base, held_out = summary["base"], summary.get("held_out")
    start = [np.array([base[name]], dtype=float) for name in ("loss", "accuracy")]
    return {
        "device": str(summary["device"]).split(":")[0].upper(),
        "left_out": int(summary.get("left_out", 0)),
        "adapted": str(summary.get("adapted", "")),
        "in_parts": str(summary.get("in_parts", "")),
        "baseline": Evaluation.of_totals(*start),
        "held_out": held_out and HeldOut(**held_out),
    }
