"""Reports a study to trackio, an experiment tracker that keeps everything on this machine."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

from olora_viz.machine.numbers import compact
from olora_viz.studies.ledger import Ledger
from olora_viz.studies.study import Trial

TABLES = "study"
"""The run, and its group, that holds the tables."""

RESULTS = (
    "valid_loss",
    "valid_accuracy",
    "test_loss",
    "test_accuracy",
    "first_grad_norm",
    "tokens",
)
"""The columns of a lane's row that are reported with its last step."""


class Tracker:
    """Reports the lanes of a study as runs, grouped by method and rate, and its tables.

    The project is called like the study's folder. A lane is reported once, also by several
    processes one after the other. What trackio cannot write it warns of; the study goes on.

    Parameters
    ----------
    ledger : of the study.

    Raises
    ------
    ValueError : trackio is not installed, or has no project of such a name.
    """

    def __init__(self, ledger: Ledger) -> None:
        try:
            import trackio
        except ImportError:
            raise ValueError(
                "--track trackio needs trackio, which is not installed: pip install "
                "'olora_viz[trackio]'"
            ) from None
        self._trackio, self._ledger = trackio, ledger
        self._study = str(ledger.folder.absolute())
        self.project = ledger.folder.absolute().name
        self._known = self._reported()

    def report(self) -> int:
        """Report the lanes that are new; return their number."""
        new = [
            (trial, row)
            for trial, row in self._ledger.trials().items()
            if name_of(trial) not in self._known
        ]
        for trial, row in new:
            its = f"{trial.init} {compact(trial.lr)}"
            shown = ("model", "task", "init", "r", "alpha", "lr", "seed", "steps", "status", "run")
            config = {name: row[name] for name in shown}
            with self._run(name_of(trial), its, config) as run:
                for step, found in measured(row).items():
                    run.log(found, step=step)
            self._known.add(name_of(trial))
        return len(new)

    def report_tables(self) -> None:
        """Report the verdicts, and the table of all lanes."""
        lanes = self._ledger.rows().drop(columns=["evaluated", "valid_losses"])
        verdicts = [one.to_json() for one in self._ledger.verdicts().each]
        table = self._trackio.Table
        shown = table(data=verdicts)  # pyrefly: ignore[bad-argument-type] (it takes dicts as well)
        with self._run(TABLES, TABLES, {}) as run:
            run.log({"verdicts": shown, "lanes": table(dataframe=lanes)})

    def _reported(self) -> set[str]:
        """Return the names of this study's runs in the project."""
        try:
            found = list(self._trackio.Api().runs(self.project))
        except ValueError:  # there is no such project yet
            return set()
        return {run.name for run in found if (run.config or {}).get("study") == self._study}

    @contextmanager
    def _run(self, name: str, group: str, config: dict[str, Any]) -> Generator[Any]:
        """Open a run of the project, and write it; trackio's notes do not belong into results."""
        with redirect_stdout(StringIO()):
            run = self._trackio.init(
                project=self.project, name=name, group=group, embed=False, auto_log_cpu=False,
                auto_log_gpu=False, config={**config, "study": self._study},
                resume="allow" if name == TABLES else "never",
            )  # fmt: skip
            try:
                yield run
            finally:
                self._trackio.finish()


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
