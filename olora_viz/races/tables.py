"""A race's numbers as CSV and JSON; pure functions."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step

COLUMNS = (
    "step", "lane", "loss", "grad_norm", "lr", "eval_loss", "eval_accuracy", "seconds", "tokens",
)  # fmt: skip
"""The columns of `steps_csv`, with the units and meanings of `Step`."""

_OF_A_LANE = COLUMNS[2:7]


def steps_csv(labels: Sequence[str], steps: Sequence[Step]) -> str:
    """Return CSV with one row per step and lane; a cell without a finite value is empty.

    Parameters
    ----------
    labels : K, one per lane.
    steps : of the race, in order.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for step in steps:
        measured = [getattr(step, name) for name in _OF_A_LANE]
        for k, label in enumerate(labels):
            numbers = [_number(values, k) for values in measured]
            rows.writerow([step.step, safe(label), *numbers, round(step.seconds, 4), step.tokens])
    return text.getvalue()


def race_json(
    config: RaceConfig, steps: Sequence[Step], summary: Mapping[str, Any] | None = None
) -> str:
    """Return a race as one JSON object.

    Parameters
    ----------
    config, steps : as in a run's ``config.json`` and ``steps.jsonl``.
    summary : more to say of it, plain values; each lane's last figures come with it by themselves.
    """
    labels = config.labels
    told = {
        "summary": {**(summary or {}), "lanes": last_figures(labels, steps)},
        "config": config.to_json(),
        "steps": [step.to_json(labels) for step in steps],
    }
    return json.dumps(told, allow_nan=False)


def last_figures(labels: Sequence[str], steps: Sequence[Step]) -> dict[str, dict[str, Any]]:
    """Return the final results of each lane: last held-out results, and where it diverged."""
    evaluated = [step for step in steps if step.eval_loss is not None]
    found: dict[str, dict[str, Any]] = {}
    for k, label in enumerate(labels):
        out = next((step.step for step in steps if step.status[k] == "diverged"), None)
        last = evaluated[-1] if evaluated else None
        found[label] = {
            "status": "racing" if out is None else "diverged",
            "diverged_at": out,
            "eval_step": last.step if last else None,
            "eval_loss": _number(last.eval_loss, k) if last else None,
            "eval_accuracy": _number(last.eval_accuracy, k) if last else None,
            "train_loss": _number(steps[-1].loss, k) if steps else None,
            "first_grad_norm": _number(steps[0].grad_norm, k) if steps else None,
        }
    return found


def safe(text: str) -> str:
    """Escape a text that a spreadsheet would evaluate as a formula, by an apostrophe in front.

    >>> safe("=1+1"), safe("olora@lr=3e-3")
    ("'=1+1", 'olora@lr=3e-3')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(values: Any, k: int) -> float | None:
    """Return lane k's number; None if it is missing or not finite."""
    if values is None or not math.isfinite(values[k]):
        return None
    return float(values[k])
