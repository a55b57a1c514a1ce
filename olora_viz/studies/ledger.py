"""The folder of a study: its set-up, its races, and the tables made of them.

study.toml            the set-up; written first
runs/NUMBER/          the run folder of a race, without adapters
runs/NUMBER.parquet   its rows, one per lane; written when it has ended
lanes.parquet         the rows of all races, with the steps and tokens to the reference's loss
examples.parquet      validation and test results by lane and example
verdicts.json         the verdict on every method
"""

from __future__ import annotations

import math
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from olora_viz.machine.cache import reason
from olora_viz.machine.files import is_free, read_json_object, write_json, write_text
from olora_viz.machine.naming import expect
from olora_viz.races.run import STUDY
from olora_viz.races.state import DIVERGED
from olora_viz.studies.race_rows import BY_EXAMPLE, COLUMNS, examples_of, part_of, write_parquet
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts, reached_at, verdicts_of

if TYPE_CHECKING:
    import pandas as pd

SETUP = STUDY
"""The file with the set-up."""

PATIENCE = 120.0
"""Maximum seconds until files of another machine appear on a shared disk."""


class Ledger:
    """The folder of a study.

    Parameters
    ----------
    folder : of the study; created if it is new.
    study : its set-up, which may extend the one in the folder; by default the one in the folder.

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
        self._trials: dict[Trial, dict[str, Any]] = {}

    def open(self) -> None:
        """Create the folder, and write the set-up."""
        self.runs.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SETUP, self.study.to_toml())

    @property
    def runs(self) -> Path:
        """The folder of the races."""
        return self.folder / "runs"

    def rows(self) -> pd.DataFrame:
        """Return the rows of all races that have ended, inside and outside the grid."""
        import pandas as pd

        for path in sorted(self.runs.glob("*.parquet")) if self.runs.is_dir() else ():
            if path.suffixes == [".parquet"]:
                self._read(path)
        if not self._parts:
            return pd.DataFrame(columns=[*COLUMNS, *BY_EXAMPLE])
        return pd.concat(self._parts.values(), ignore_index=True)

    def arrived(self, run: Path) -> None:
        """Read the rows of a race that has just ended, perhaps on another machine.

        Raises
        ------
        FileNotFoundError : they do not appear.
        """
        path = part_of(run)
        until = time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > until:
                raise FileNotFoundError(
                    f"a race has ended, but {str(path)!r} does not appear here: the study's folder "
                    "must be one that all machines see"
                )
            time.sleep(0.1)
        self._read(path)

    def _read(self, path: Path) -> None:
        """Read the rows of one race.

        Raises
        ------
        ValueError : the file is damaged.
        """
        import pandas as pd
        import pyarrow

        if path.name in self._parts:
            return
        try:
            rows = _with_examples(pd.read_parquet(path), path.with_suffix(""))
            for row in _records(rows):
                trial_of(row), _valid(row), _curve(row)
        except (KeyError, TypeError, ValueError, OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk; those of pyarrow, on what the file holds, have no number
            raise ValueError(
                f"{str(path)!r} is damaged: {reason(error)}; without it, the study runs its race "
                "again"
            ) from None
        self._parts[path.name] = rows

    def trials(self) -> dict[Trial, dict[str, Any]]:
        """Return the rows of all races as plain values, by trial: to read, not to change."""
        rows = self.rows()
        if len(self._trials) != len(rows):
            self._trials = {trial_of(row): row for row in _records(rows)}
        return self._trials

    def losses(self) -> dict[Trial, float]:
        """Return the validation loss of each finished trial; NaN if it has diverged."""
        return {trial: _valid(row) for trial, row in self.trials().items()}

    def verdicts(self) -> Verdicts:
        """Return what the races so far decide."""
        return replace(verdicts_of(self.study, self.trials()), folder=self.folder)

    def unfinished(self) -> list[Path]:
        """Return the run folders of interrupted races.

        Folders of races that were interrupted before they were set up are empty, and are deleted.
        """
        found = sorted(path for path in self.runs.glob("*") if path.is_dir())
        open_runs = [path for path in found if not part_of(path).exists()]
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
        """Write the tables of all races, and the verdicts, unless they are there already."""
        verdicts = self.verdicts()
        each = [one.to_json() for one in verdicts.each]
        found = {"verdicts": each, "summary": self.summary()}
        path = self.folder / "verdicts.json"  # written last: where it is, the tables are
        with suppress(OSError, ValueError, KeyError):
            before = read_json_object(path)
            if before["verdicts"] == each and before["summary"]["lanes"] == len(self.rows()):
                return
        rows = self.rows()
        lanes = with_reach(rows.drop(columns=list(BY_EXAMPLE)), verdicts)
        write_parquet(lanes, self.folder / "lanes.parquet")
        write_parquet(examples_of(rows), self.folder / "examples.parquet")
        write_json(path, found)

    def summary(self) -> dict[str, Any]:
        """Return the size of the study, and where its table is."""
        rows = self.rows()
        return {
            "cells": len(self.study.cells()), "lanes": len(rows),
            "seconds": round(math.fsum(rows["seconds"]), 1),
            "table": str(self.folder / "lanes.parquet"),
        }  # fmt: skip


def _with_examples(rows: pd.DataFrame, run: Path) -> pd.DataFrame:
    """Return the rows of a race with its results by example.

    Earlier versions kept those of the test alone, in a file of its run folder.
    """
    import pandas as pd

    if BY_EXAMPLE[0] in rows:
        return rows
    rows = rows.copy()
    for name in BY_EXAMPLE:
        rows[name] = [[] for _ in rows.index]
    tested = run / "examples.parquet"
    if tested.exists():
        lane = ["init", "r", "lr", "seed"]
        of_lane = pd.read_parquet(tested).sort_values("example").groupby(lane)
        for name in ("loss", "right"):
            known = of_lane[name].apply(list)
            of_row = [known[key] for key in rows[lane].itertuples(index=False, name=None)]
            rows[f"test_{name}_by_example"] = of_row
    return rows


def with_reach(rows: pd.DataFrame, found: Verdicts) -> pd.DataFrame:
    """Add the steps and tokens after which each run had the reference's final validation loss.

    The reference is that of the same seed, at its best rate. Tokens are those of all steps in
    proportion. Both are infinite for a run that never had it, and NaN where there is no reference.
    """
    targets = {
        (one.cell, seed): loss
        for one in found.each
        if one.init == found.study.reference
        for seed, loss in enumerate(one.valid_losses)
    }
    steps, tokens = [], []
    for row in _records(rows):
        trial = trial_of(row)
        target = targets.get((trial.cell, trial.seed), math.nan)
        step = reached_at(row, target) if math.isfinite(target) else math.nan
        steps.append(step)
        tokens.append(step * row["tokens"] / max(1, row["steps"]) if math.isfinite(step) else step)
    return rows.assign(
        steps_to_reference=np.array(steps, float), tokens_to_reference=np.array(tokens, float)
    )


def verdicts(folder: str | Path) -> Verdicts:
    """Return what a study's races so far decide.

    Parameters
    ----------
    folder : of the study.

    Raises
    ------
    ValueError : the folder holds no study.
    """
    expect(folder, (str, Path), "the folder of a study")
    return Ledger(Path(folder)).verdicts()


def _valid(row: dict[str, Any]) -> float:
    return math.nan if row["status"] == DIVERGED else float(row["valid_loss"])


def _curve(row: dict[str, Any]) -> list[tuple[int, float]]:
    steps, losses = row["evaluated"], row["valid_losses"]
    return [(int(step), float(loss)) for step, loss in zip(steps, losses, strict=True)]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", rows.to_dict("records"))


def trial_of(row: dict[str, Any]) -> Trial:
    """Return the trial of a row."""
    cell = Cell(row["model"], row["task"], int(row["r"]))
    return Trial(cell, row["init"], float(row["lr"]), int(row["seed"]))


def check_seen(run: Path) -> None:
    """Check that this machine sees the folder of a race's study.

    Raises
    ------
    ValueError : it does not.
    """
    folder = run.parent.parent
    if not (folder / SETUP).exists():
        raise ValueError(
            f"the machine {socket.gethostname()!r} does not see the study in {str(folder)!r}: its "
            "folder must be one that all machines see"
        )
