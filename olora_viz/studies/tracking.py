"""Reports a study to an experiment tracker: its lanes as runs, and its tables."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

from olora_viz.machine.files import read_json_object, write_json
from olora_viz.machine.numbers import compact
from olora_viz.machine.trackers import Tracker
from olora_viz.studies.ledger import Ledger
from olora_viz.studies.race_rows import BY_EXAMPLE
from olora_viz.studies.study import Trial

RECORD = "tracked.json"
"""The file of the study's folder with the names of the runs that each tracker has."""

TABLES = "study"
"""The run, and its group, that holds the tables."""

OF_LANE = ("model", "task", "init", "r", "alpha", "lr", "seed", "steps", "status", "run")
"""The columns of a lane's row that describe its run."""

RESULTS = (
    "valid_loss",
    "valid_accuracy",
    "test_loss",
    "test_accuracy",
    "first_grad_norm",
    "tokens",
)
"""The columns of a lane's row that are reported with its last step."""


class StudyTracker:
    """Reports the lanes of a study as runs, grouped by method and rate, and its tables.

    A lane is reported once, also by several processes one after the other.

    Parameters
    ----------
    tracker : the project is called like the study's folder.
    """

    def __init__(self, tracker: Tracker, ledger: Ledger) -> None:
        self._tracker, self._ledger = tracker, ledger

    def report(self) -> None:
        """Report the lanes that are new."""
        self._tracker.attempt(self._report_lanes)

    def report_tables(self) -> None:
        """Report the verdicts, and the table of all lanes."""
        self._tracker.attempt(self._report_tables)

    def _report_lanes(self) -> None:
        path = self._ledger.folder / RECORD
        record = read_json_object(path) if path.exists() else {}
        known = set(record.get(self._tracker.name, ()))
        for trial, row in self._ledger.trials().items():
            name = name_of(trial)
            if name in known:
                continue
            group = f"{trial.init} {compact(trial.lr)}"
            config = {column: row[column] for column in OF_LANE}
            with closing(self._tracker.start(name, group, config)) as run:
                for step, numbers in measured(row).items():
                    run.log(numbers, step)
            known.add(name)
            write_json(path, {**record, self._tracker.name: sorted(known)})

    def _report_tables(self) -> None:
        lanes = self._ledger.rows().drop(columns=["evaluated", "valid_losses", *BY_EXAMPLE])
        rows: Any = lanes.to_dict("records")
        verdicts = [one.to_json() for one in self._ledger.verdicts().each]
        with closing(self._tracker.start(TABLES, TABLES, {}, again=True)) as run:
            run.table("verdicts", verdicts)
            run.table("lanes", rows)


def name_of(trial: Trial) -> str:
    """Return the name of a lane's run.

    >>> from olora_viz.studies.study import Cell
    >>> name_of(Trial(Cell("glassllm", "addition", 8), "olora", 3e-3, 0))
    'glassllm addition r8 olora 3e-3 seed 0'
    """
    cell = trial.cell
    where = f"{cell.model} {cell.task} r{cell.r}"
    return f"{where} {trial.init} {compact(trial.lr)} seed {trial.seed}"


def measured(row: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Return what a lane's row says of each step; numbers that are not finite are left out."""
    found = {0: {"valid_loss": row["base_valid_loss"], "test_loss": row["base_test_loss"]}}
    for step, loss in zip(row["evaluated"], row["valid_losses"], strict=True):
        found[int(step)] = {"valid_loss": float(loss)}
    found.setdefault(int(row["steps"]), {}).update({name: row[name] for name in RESULTS})
    return {
        step: {name: its for name, its in each.items() if its is not None and math.isfinite(its)}
        for step, each in found.items()
    }
