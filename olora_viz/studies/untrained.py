"""What the base model and a guess reach on the test examples of a study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts


@dataclass(frozen=True)
class Untrained:
    """Results on a cell's test examples that any method should exceed."""

    loss: float
    """Of the base model, nats."""
    accuracy: float
    """Of the base model; NaN if unknown."""
    guess: float | None
    """Accuracy of guessing without the prompt, see `HeldOut`; None where there is none."""
    guess_words: str
    """The guess: ``always “sad”`` or ``at random``."""


def untrained(found: Verdicts, cell: Cell) -> Untrained | None:
    """Return what a cell's methods are to exceed; None before its first test.

    Folders of earlier versions lack the base model's accuracy and the guess.
    """
    its = (row for trial, row in found.rows.items() if trial.cell == cell)
    row = next((row for row in its if math.isfinite(_number(row["base_test_loss"]))), None)
    if row is None:
        return None
    guess = _number(row.get("guess_test_accuracy"))
    return Untrained(
        loss=_number(row["base_test_loss"]),
        accuracy=_number(row.get("base_test_accuracy")),
        guess=guess if guess > 0 else None,
        guess_words=str(row.get("guess", "")),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
