"""The folder of a study: its set-up, its races, and the tables made of them.

study.toml            the set-up; written first
runs/NUMBER/          the run folder of a race, without adapters
runs/NUMBER.parquet   its rows, one per lane; written when it has ended
lanes.parquet         the rows of all races
examples.parquet      test results by lane and example
verdicts.json         what follows
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.machine.files import is_free, write_json, write_text
from olora_viz.races.race import Race
from olora_viz.races.run import CHECKPOINT
from olora_viz.races.step import Step
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

if TYPE_CHECKING:
    import pandas as pd

SETUP = "study.toml"
DIVERGED = "diverged"

COLUMNS = (
    "model", "task", "init", "r", "alpha", "lr", "seed", "steps", "status", "valid_loss",
    "valid_accuracy", "test_loss", "test_accuracy", "base_valid_loss", "base_test_loss",
    "valid_examples", "test_examples", "first_grad_norm", "tokens", "seconds", "run", "evaluated",
    "valid_losses",
)  # fmt: skip
"""The columns of `lanes.parquet`: `evaluated` has the steps of `valid_losses`, and the examples are
counted."""


class Ledger:
    """A study's folder, opened.

    Parameters
    ----------
    folder : of the study; created if it is new.
    study : its set-up; by default the one in the folder. One that grows the folder's is written.

    Raises
    ------
    ValueError : the folder holds something else, or a study with runs of another set-up.
    """

    def __init__(self, folder: Path, study: Study | None = None) -> None:
        self.folder = folder
        setup = folder / SETUP
        if setup.exists():
            earlier = Study.read(setup)
            if study is not None:
                study = replace(study, threads=study.threads or earlier.threads)
                study.check_grows_from(earlier, repr(str(folder)))
            self.study = study or earlier
        elif study is None:
            raise ValueError(f"{str(folder)!r} is not the folder of a study: it has no {SETUP}")
        elif not is_free(folder):
            raise ValueError(f"the folder of a study must be new or empty: {str(folder)!r} is not")
        else:
            self.study = study.fixed()
        self._parts: dict[str, pd.DataFrame] = {}

    def open(self) -> None:
        """Write the set-up, which may have grown."""
        self.runs.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SETUP, self.study.to_toml())

    @property
    def runs(self) -> Path:
        """The folder of the races."""
        return self.folder / "runs"

    def rows(self) -> pd.DataFrame:
        """Return the rows of all races that have ended, those of the set-up's grid or not."""
        import pandas as pd

        for path in sorted(self.runs.glob("*.parquet")) if self.runs.is_dir() else ():
            if path.suffixes == [".parquet"] and path.name not in self._parts:
                self._parts[path.name] = pd.read_parquet(path)
        if not self._parts:
            return pd.DataFrame(columns=list(COLUMNS))
        return pd.concat(self._parts.values(), ignore_index=True)

    def trials(self) -> dict[Trial, dict[str, Any]]:
        """Return the rows of all races as plain values, by trial."""
        return {trial_of(row): row for row in self.rows().to_dict("records")}

    def losses(self) -> dict[Trial, float]:
        """Return the validation loss of each finished trial; NaN if it has diverged."""
        return {trial: _valid(row) for trial, row in self.trials().items()}

    def verdicts(self) -> Verdicts:
        """Return what the races so far decide."""
        return verdicts_of(self.study, self.trials())

    def unfinished(self) -> list[Path]:
        """Return the run folders of races that were interrupted; others without rows are deleted.

        They hold nothing: a race was ended before it was set up.
        """
        found = sorted(path for path in self.runs.glob("*") if path.is_dir())
        open_runs = [path for path in found if not _part(path).exists()]
        for path in open_runs:
            if not (path / "config.json").exists():
                shutil.rmtree(path)
        return [path for path in open_runs if path.exists()]

    def new_runs(self, count: int) -> list[Path]:
        """Return the folders of the next races."""
        taken = [int(path.stem) for path in self.runs.glob("*") if path.stem.isdigit()]
        first = max(taken, default=0) + 1
        return [self.runs / f"{number:04d}" for number in range(first, first + count)]

    def finish(self) -> None:
        """Write the tables of all races, and the verdicts."""
        import pandas as pd

        write_parquet(self.rows(), self.folder / "lanes.parquet")
        parts = [pd.read_parquet(p) for p in sorted(self.runs.glob("*/examples.parquet"))]
        if parts:
            write_parquet(pd.concat(parts, ignore_index=True), self.folder / "examples.parquet")
        each = [one.to_json() for one in self.verdicts().each]
        found = {"verdicts": each, "summary": self.summary()}
        write_json(self.folder / "verdicts.json", found)

    def summary(self) -> dict[str, Any]:
        """Return the size of the study, and where its table is."""
        rows = self.rows()
        return {
            "cells": len(self.study.cells()), "lanes": len(rows),
            "seconds": round(math.fsum(rows["seconds"]), 1),
            "table": str(self.folder / "lanes.parquet"),
        }  # fmt: skip


def verdicts(folder: str | Path) -> Verdicts:
    """Return what a study's races so far decide.

    Parameters
    ----------
    folder : of the study.

    Raises
    ------
    ValueError : the folder holds no study.
    """
    return Ledger(Path(folder)).verdicts()


def _valid(row: dict[str, Any]) -> float:
    return math.nan if row["status"] == DIVERGED else float(row["valid_loss"])


def trial_of(row: dict[str, Any]) -> Trial:
    """Return the trial of a row."""
    cell = Cell(row["model"], row["task"], int(row["r"]))
    return Trial(cell, row["init"], float(row["lr"]), int(row["seed"]))


def _part(run: Path) -> Path:
    return run.with_name(f"{run.name}.parquet")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table atomically."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        table.to_parquet(partial, index=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def keep(run: Path, racing: Race, steps: Iterable[Step]) -> None:
    """Write the rows of a race that has ended, and delete its checkpoint.

    The rows are written last: a race without them has not ended.
    """
    import pandas as pd

    config, steps = racing.config, list(steps)
    tested = racing.tested()
    if tested is not None:
        write_parquet(_examples(racing, run.name), run / "examples.parquet")
    evaluated = [step.step for step in steps if step.eval_loss is not None]
    curves = np.array([step.eval_loss for step in steps if step.eval_loss is not None])
    lanes = racing.state.of_lanes(racing.lanes.labels, racing.status)
    rows = []
    for k, (lane, found) in enumerate(zip(config.lanes, lanes.values(), strict=True)):
        rows.append(
            {
                "model": config.model, "task": config.task, "init": lane.init, "r": lane.r,
                "alpha": lane.alpha, "lr": lane.lr, "seed": lane.seed, "steps": racing.done,
                "status": found["status"],
                "valid_loss": found["final_loss"], "valid_accuracy": found["final_accuracy"],
                "test_loss": tested and tested.lanes.loss[k],
                "test_accuracy": tested and tested.lanes.accuracy[k],
                "base_valid_loss": racing.baseline.loss[0],
                "base_test_loss": tested and tested.base.loss[0],
                "valid_examples": racing.baseline.example_loss.shape[1],
                "test_examples": tested.lanes.example_loss.shape[1] if tested else 0,
                "first_grad_norm": found["first_grad_norm"],
                "tokens": _tokens(racing, lane), "seconds": racing.state.seconds / len(lanes),
                "run": run.name, "evaluated": evaluated,
                "valid_losses": curves[:, k].tolist() if len(curves) else [],
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [name for name in COLUMNS if "loss" in name or "accuracy" in name or name == "alpha"]
    numbers.remove("valid_losses")
    write_parquet(table.astype({name: float for name in numbers}), _part(run))
    (run / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(run / "adapters", ignore_errors=True)


def _tokens(racing: Race, lane: Lane) -> int:
    """Count the tokens on which a lane was trained."""
    order = racing.config.order(lane)
    return sum(racing.data.tokens(number, order) for number in range(1, racing.done + 1))


def _examples(racing: Race, run: str) -> pd.DataFrame:
    """Return the test results by lane and example."""
    import pandas as pd

    tested = racing.tested()
    assert tested is not None
    loss, right = tested.lanes.example_loss, tested.lanes.example_right
    parts = []
    for k, lane in enumerate(racing.config.lanes):
        parts.append(
            pd.DataFrame(
                {
                    "model": racing.config.model,
                    "task": racing.config.task,
                    "init": lane.init,
                    "r": lane.r,
                    "lr": lane.lr,
                    "seed": lane.seed,
                    "run": run,
                    "example": np.arange(loss.shape[1]),
                    "loss": loss[k],
                    "right": right[k],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
