"""What a study decides: every method of a cell against the reference, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olora_viz.machine.numbers import finite_or_none
from olora_viz.races.state import DIVERGED
from olora_viz.studies.planning import best, grid_of, values_at
from olora_viz.studies.rate_sweep import first_at
from olora_viz.studies.statistics import (
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    Interval,
    choose,
    holm,
    seeds_to_settle,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Cell, Study, Trial

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
"""The columns of `race_rows.COLUMNS` by name."""


@dataclass(frozen=True)
class Verdict:
    """One method of a cell against the reference; losses are means over the seeds, in nats."""

    cell: Cell
    init: str
    best_lr: float | None
    """Chosen by the mean validation loss; None if each rate has a diverged or missing run."""
    valid_loss: float
    test_loss: float
    test_accuracy: float
    differences: tuple[float, ...]
    """Test loss minus the reference's by seed, each method at its best rate; negative is better."""
    interval: Interval
    """Student's t interval of the differences, not adjusted for several methods."""
    p_value: float
    """Adjusted over the methods of the cell (Holm)."""
    margin: float
    """Differences within it do not matter; nats."""
    verdict: str
    """better, worse, level or undecided."""
    why: str
    """Why it is undecided, in words."""
    shared_lr: float | None
    """The one rate of the grid with the lowest validation loss over all methods."""
    verdict_shared_rate: str
    """The verdict with all methods at that rate."""
    reached_at: tuple[float, ...]
    """The step at which each seed, at the best rate, reached the reference's final validation loss;
    infinite if it never did."""
    seeds: int
    """Number of paired differences."""

    @property
    def steps_to_reference(self) -> float | None:
        """The median over the seeds of the step at which it was reached; None if infinite."""
        return finite_or_none(float(np.median(self.reached_at))) if self.reached_at else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        low, high = finite_or_none(self.interval.low), finite_or_none(self.interval.high)
        return {
            "model": self.cell.model, "task": self.cell.task, "r": self.cell.r, "init": self.init,
            "best_lr": self.best_lr, "valid_loss": finite_or_none(self.valid_loss),
            "test_loss": finite_or_none(self.test_loss),
            "test_accuracy": finite_or_none(self.test_accuracy),
            "difference": finite_or_none(self.interval.mean), "interval": [low, high],
            "p_value": finite_or_none(self.p_value), "margin": finite_or_none(self.margin),
            "verdict": self.verdict, "why": self.why, "shared_lr": self.shared_lr,
            "verdict_shared_rate": self.verdict_shared_rate,
            "steps_to_reference": self.steps_to_reference, "seeds": self.seeds,
        }  # fmt: skip


@dataclass(frozen=True)
class Verdicts:
    """What a study decides, one entry per cell and method; made by ``ov.verdicts(folder)``."""

    study: Study
    each: tuple[Verdict, ...]
    rows: Mapping[Trial, Row] = field(repr=False)
    """Of all finished trials, on which the verdicts rest."""
    folder: Path | None = field(default=None, compare=False)
    """Of the study; None if the rows did not come from one."""

    def of(self, cell: Cell) -> list[Verdict]:
        """Return the entries of one cell."""
        return [one for one in self.each if one.cell == cell]

    def test_examples(self, cell: Cell | None = None) -> int:
        """Return the number of test examples of a cell, or the largest of all; 0 before the end."""
        its = (row for trial, row in self.rows.items() if cell in (None, trial.cell))
        return max((int(row["test_examples"]) for row in its), default=0)

    def table(self) -> pd.DataFrame:
        """Return the entries as a table, with the columns of `Verdict.to_json`."""
        import pandas as pd

        return pd.DataFrame([one.to_json() for one in self.each])


def verdicts_of(study: Study, rows: Mapping[Trial, Row]) -> Verdicts:
    """Return the verdict on every method in every cell, the reference included.

    Rates are chosen on validation losses, and compared on test losses. The differences are paired
    by seed, whose runs share their batches.

    Parameters
    ----------
    rows : of all finished trials.
    """
    each = (found for cell in study.cells() for found in _of_cell(study, cell, rows))
    return Verdicts(study, tuple(each), rows)


def values_of(rows: Mapping[Trial, Row], name: str) -> dict[Trial, float]:
    """Return one column of the trials' rows; NaN where a run diverged or there is no value."""
    return {
        trial: math.nan if row["status"] == DIVERGED or row[name] is None else float(row[name])
        for trial, row in rows.items()
    }


def _of_cell(study: Study, cell: Cell, rows: Mapping[Trial, Row]) -> list[Verdict]:
    valid, test = values_of(rows, "valid_loss"), values_of(rows, "test_loss")
    its_best = {init: best(study, cell, init, valid) for init in study.inits}
    rates = {init: one.lr if one else None for init, one in its_best.items()}
    shared = _shared(study, cell, valid)
    base = [row["base_test_loss"] for trial, row in rows.items() if trial.cell == cell]
    reference = _at(study, cell, study.reference, rates[study.reference], test)
    margin = study.margin * (base[0] - _mean(reference)) if base else math.nan
    target = _mean(_at(study, cell, study.reference, rates[study.reference], valid))

    compared = _compare(study, cell, rates, test, margin)
    at_shared = _compare(study, cell, dict.fromkeys(study.inits, shared), test, margin)
    made = []
    for init in study.inits:
        lr, (gap, interval, p_value, said) = rates[init], compared[init]
        outside = [
            name
            for name in dict.fromkeys((init, study.reference))
            if (one := its_best[name]) is not None and not one.is_inside
        ]
        said, why = _explained(study, said, gap, margin, outside, init)
        made.append(
            Verdict(
                cell=cell, init=init, best_lr=lr,
                valid_loss=_mean(_at(study, cell, init, lr, valid)),
                test_loss=_mean(_at(study, cell, init, lr, test)),
                test_accuracy=_mean(_at(study, cell, init, lr, values_of(rows, "test_accuracy"))),
                differences=tuple(gap.tolist()), interval=interval, p_value=p_value, margin=margin,
                verdict=said, why=why, shared_lr=shared, verdict_shared_rate=at_shared[init][3],
                reached_at=_reached(study, cell, init, lr, rows, target), seeds=len(gap),
            )
        )  # fmt: skip
    return made


def _compare(
    study: Study, cell: Cell, rates: Mapping[str, float | None], test: Mapping[Trial, float],
    margin: float,
) -> dict[str, tuple[np.ndarray, Interval, float, str]]:  # fmt: skip
    """Return differences, interval, Holm's p-value and verdict of every method at a rate."""
    reference = _at(study, cell, study.reference, rates[study.reference], test)
    gaps = {init: _at(study, cell, init, rates[init], test) - reference for init in study.inits}
    gaps = {init: gap[np.isfinite(gap)] for init, gap in gaps.items()}
    nothing = Interval(math.nan, -math.inf, math.inf, 1.0)
    found = {init: t_interval(gap) if len(gap) else nothing for init, gap in gaps.items()}
    others = [init for init in study.inits if init != study.reference]
    adjusted = dict(zip(others, holm([found[i].p_value for i in others]), strict=True))
    made = {}
    for init, gap in gaps.items():
        if init == study.reference:
            itself = Interval(0.0, 0.0, 0.0, 1.0) if len(gap) else nothing
            made[init] = gap, itself, 1.0, LEVEL if len(gap) else UNDECIDED
        else:
            said = verdict(found[init], adjusted[init], margin, len(gap))
            made[init] = gap, found[init], adjusted[init], said
    return made


def _explained(
    study: Study, said: str, gap: np.ndarray, margin: float, outside: Sequence[str], init: str
) -> tuple[str, str]:
    """Return the verdict, undecided where a best rate is not known, and the reason."""
    if init == study.reference:
        return said, ""
    if not len(gap):
        return UNDECIDED, "at every rate a run of it or of the reference has diverged"
    if outside:
        whose = " and ".join(outside)
        return UNDECIDED, f"the best rate of {whose} lies at the edge of the rates tried"
    if len(gap) < LEAST_SEEDS:
        return UNDECIDED, f"{len(gap)} of at least {LEAST_SEEDS} seeds"
    if said != UNDECIDED:
        return said, ""
    needed = seeds_to_settle(gap, margin, len(study.inits) - 1)
    return said, f"about {needed} seeds would settle it" if needed else "more seeds would not help"


def _shared(study: Study, cell: Cell, valid: Mapping[Trial, float]) -> float | None:
    """Return the rate of the grid with the lowest mean validation loss over all methods.

    A method that diverges at every rate is ignored.
    """
    grid = grid_of(study, cell, valid)
    each = [values_at(study, cell, init, grid, valid) for init in study.inits]
    whole = [values for values in each if choose(values) is not None]
    at = choose(np.hstack(whole)) if whole else None
    return None if at is None else grid[at]


def _at(
    study: Study, cell: Cell, init: str, lr: float | None, values: Mapping[Trial, float]
) -> np.ndarray:
    """Return a method's values at a rate (seeds,); NaN where there is none."""
    if lr is None:
        return np.full(study.seeds, math.nan)
    return values_at(study, cell, init, [lr], values)[0]


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _reached(
    study: Study, cell: Cell, init: str, lr: float | None, rows: Mapping[Trial, Row], target: float
) -> tuple[float, ...]:
    """Return when each seed reached a validation loss; empty where there is no rate or target."""
    if lr is None or not math.isfinite(target):
        return ()
    return tuple(reached_at(rows[trial], target) for trial in study.trials(cell, init, [lr]))


def reached_at(row: Row, target: float) -> float:
    """Return the step at which a run reached a validation loss; infinite if it never did."""
    at = [0, *(int(step) for step in row["evaluated"])]
    losses = [float(row["base_valid_loss"]), *(float(x) for x in row["valid_losses"])]
    step = first_at(target, at, losses)
    return math.inf if step is None else step
