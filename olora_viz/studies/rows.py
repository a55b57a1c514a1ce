"""The results of the runs of a study, by trial: their losses, by example too, and how far training lowers them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.machine.tables import number_or_nan
from olora_viz.races.fields import DPO, REINFORCE
from olora_viz.races.step import DIVERGED
from olora_viz.studies.study import Study, Trial
from olora_viz.tasks.evaluation import likely
from olora_viz.tasks.task import links_of

Losses = Mapping[Trial, float]
"""The validation loss of each finished trial; NaN if it has diverged, infinite if it forgets too much."""

Row = Mapping[str, Any]
"""The results of a finished trial by name: the columns `folder.COLUMNS` and `folder.BY_EXAMPLE`."""

Rows = Mapping[Trial, Row]
"""Those of every finished trial."""


FORGOTTEN, FORGOTTEN_ACCURACY = "forgotten_loss", "forgotten_accuracy"
"""The columns with the rise of the held-out loss on the earlier tasks since they were trained on, and the fall of the
accuracy, means over these tasks; nats a token, and a share."""


def column_of_link(number: int) -> str:
    """Return the column with the held-out loss on a link's own task, right after it.

    >>> column_of_link(1)
    'link_1_loss'
    """
    return f"link_{number}_loss"


NATS, OF_REWARD, OF_PAIRS = "nats", "of the reward", "of the pairs"
"""What the losses of a study are: cross-entropy of the right answers; by how much the probability of the right answer
is below 1, where some lanes learn from rewards; or the share of pairs whose rejected answer is the likelier, where all
learn from preferences."""


def unit_of(study: Study) -> str:
    """Return what the losses of a study are.

    >>> from olora_viz.races.config import RaceConfig
    >>> unit_of(Study()), unit_of(Study(across={"objective": ("imitation", "reinforce")}))
    ('nats', 'of the reward')
    >>> unit_of(Study(race=RaceConfig(objective="dpo")))
    'of the pairs'
    """
    objectives = study.values("objective")
    if any(len(links_of(task)) > 1 for task in study.values("task")):
        return NATS
    return OF_REWARD if REINFORCE in objectives else OF_PAIRS if objectives == (DPO,) else NATS


def judged_losses(unit: str, losses: np.ndarray, right: np.ndarray, deciding: int) -> np.ndarray:
    """Return losses by example (K, n) in the unit of a study.

    Args:
        losses, right: of an evaluation, see `Evaluation`.
        deciding: the tokens of the n answers that count, see `deciding_tokens`.
    """
    if unit == NATS:
        return losses
    return 1.0 - (likely(losses, deciding) if unit == OF_REWARD else right)


def values_of(rows: Rows, name: str) -> dict[Trial, float]:
    """Return one column of the trials' rows; NaN where a run diverged or there is no value."""
    return {trial: _value(row, name) for trial, row in rows.items()}


def column(rows: Rows, trials: Iterable[Trial], name: str) -> list[float]:
    """Return one column of some trials; NaN where a run diverged, has not ended, or has no value."""
    return [_value(rows.get(trial, {"status": DIVERGED}), name) for trial in trials]


def _value(row: Row, name: str) -> float:
    known = row if name in row else row.get("measures") or {}
    return math.nan if row["status"] == DIVERGED else number_or_nan(known.get(name))


def losses_of(study: Study, rows: Rows) -> Losses:
    """Return the losses by which rates are chosen, see `Losses`."""
    losses = values_of(rows, "valid_loss")
    limit = study.race.forget
    if limit is None:
        return losses
    return {trial: loss + (math.inf if lost(rows[trial]) > limit else 0.0) for trial, loss in losses.items()}


def lost(row: Row) -> float:
    """Return by how many nats per token a run's loss on the text to keep has risen; NaN if it is unknown."""
    return number_or_nan(row.get("text_loss")) - number_or_nan(row.get("base_text_loss"))


def by_example(rows: Sequence[Row], name: str) -> np.ndarray | None:
    """Return one of `folder.BY_EXAMPLE` of some runs (k, n), NaN where one has diverged; None if it was not kept."""
    columns = [np.asarray(row.get(name, ()), dtype=float) for row in rows]
    if len(sizes := {len(column) for column in columns}) > 1 or sizes == {0}:
        return None
    diverged = np.array([row["status"] == DIVERGED for row in rows])
    return np.where(diverged[:, None], math.nan, np.array(columns))


def losses_by_example(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return the losses of runs by example (k, n); their means (k, 1) where only these were written."""
    losses = by_example(rows, f"{name}_by_example")
    return np.array([[_value(row, name)] for row in rows]) if losses is None else losses


def beats_untrained(rows: Rows, trials: Iterable[Trial]) -> bool:
    """Whether the held-out loss of a method is below the untrained model's by more than one standard error.

    Args:
        trials: the seeds of a method at one rate; if there are none, or one has diverged, it is not better.
    """
    gain, error = gain_of([rows[trial] for trial in trials])
    return gain > error


def gain_of(runs: Sequence[Row], before: str = "base_valid_loss") -> tuple[float, float]:
    """Return by how much training lowers the held-out loss, and the standard error of that over the examples.

    The differences are paired by example; they are to the mean, where the losses by example are not known, and NaN
    where that is not either. Without a run, or with a diverged one, training raises the loss without limit.

    Args:
        before: the loss from which it is lowered, the untrained model's or ``earlier_valid_loss``.
    """
    if not runs or any(row["status"] == DIVERGED for row in runs):
        return -math.inf, 0.0
    gain = (losses_by_example(runs, before) - losses_by_example(runs, "valid_loss")).mean(0)
    error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return float(gain.mean()), float(error)
