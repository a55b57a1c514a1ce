"""The folder of a study: its ledger, and the rows of its races."""

from __future__ import annotations

import json
import math
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.machine.checks import expect
from olora_viz.machine.files import read_json_object, reason, write_file, write_json
from olora_viz.machine.tables import finite_or_none
from olora_viz.measures.catalogue import BUILT_IN_MEASURES
from olora_viz.races.chain import is_chain
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.race import Race
from olora_viz.races.run import CHECKPOINT, has_begun, read_config, read_definitions
from olora_viz.races.step import Step
from olora_viz.studies.definitions import DEFINED, check_one_definition, rows_to_be, version_of
from olora_viz.studies.objectives import of_objectives
from olora_viz.studies.preregistration import SETUP, continued, hash_of, is_decision, read_setup, write_setup
from olora_viz.studies.rows import NATS, Losses, judged_losses, losses_of, unit_of
from olora_viz.studies.search import complete_seeds, needed
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts, reached_at, verdicts_of
from olora_viz.tasks.evaluation import Evaluation, Tested

if TYPE_CHECKING:
    import pandas as pd


STAGE = "stage.json"
"""The file with the races of the stage that a study is at, written before the first of them: lanes that race together
are the same up to rounding only, so that what a kill leaves must not group them."""

FILES_TIMEOUT = 120.0
"""Maximum seconds until files of another machine appear on a shared disk."""

COLUMNS = (
    "model", "task", "method", "varied", "init", "r", "alpha", "lr", "seed", "steps", "status", "valid_loss",
    "valid_accuracy", "test_loss", "test_accuracy", "base_valid_loss", "base_test_loss",
    "base_test_accuracy", "guess_test_accuracy", "guess", "valid_examples", "test_examples",
    "base_boilerplate_loss", "boilerplate_loss", "base_text_loss", "text_loss", "drift", "first_grad_norm", "tokens",
    "seconds", "run", "preregistration", "definition", "measure_definitions", "evaluated", "valid_losses",
)  # fmt: skip
"""The columns of the rows of a race: `method` is as the study has it, and `varied` the settings that the study crosses
or tunes, as JSON, see `varied_of`; `evaluated` has the steps of `valid_losses`, and the two columns of examples are
their numbers; `preregistration` is the SHA-256 of what was decided before, or empty; `definition` tells the start, and
`measure_definitions`, as JSON, the registered measurements from others of their names, empty if unknown; `guess` is
the answer without the prompt that is right most often. Losses are without boilerplate, see `Evaluation`, whose loss is
in `OF_BOILERPLATE`; `OF_TEXT` are on the text to keep."""

OF_BOILERPLATE = ("base_boilerplate_loss", "boilerplate_loss")
"""The columns that are NaN without boilerplate: its loss on the test examples, of the base model and of the lanes."""

OF_TEXT = ("base_text_loss", "text_loss", "drift")
"""The columns that are NaN without a text to keep."""

MAY_BE_EMPTY = ("preregistration", *DEFINED)
"""The columns that are empty where an earlier version wrote the rows."""

BY_EXAMPLE = (
    "valid_loss_by_example", "valid_right_by_example", "run_loss_by_example", "base_valid_loss_by_example",
    "earlier_valid_loss_by_example", "test_loss_by_example", "test_right_by_example",
)  # fmt: skip
"""More columns of the rows of a race, lists in the order of the examples: the results at the end on the validation
examples, which choose the rates, their loss averaged over the run, that of the base model and that of the evaluation
before the last, or of the base model if there is none; and the results on the test examples, which judge."""


def part_of(run: Path) -> Path:
    """Return the file with the rows of a run folder's race."""
    return run.with_name(f"{run.name}.parquet")


def has_ended(run: Path) -> bool:
    """Whether a race's rows are written, which is its last act."""
    return part_of(run).exists()


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table atomically."""
    write_file(path, lambda partial: table.to_parquet(partial, index=False))


def write_rows(run: Path, racing: Race, steps: Sequence[Step]) -> None:
    """Write the rows of a race that has ended, and delete its checkpoint.

    The rows are written last: a race without them has not ended.

    Raises:
        ValueError: the losses of other races of the study are not of the same tokens.
    """
    config, data, base, text = racing.config, racing.data, racing.baseline, racing.text
    if data.about_held_out.boilerplate_name:
        _check_others(run)
    study, planned = read_setup(Study, run.parent.parent), read_config(run)  # which may have epochs in place of steps
    base = in_unit(study, base, data)
    tested = racing.tested()
    if tested:
        tested = Tested(*(in_unit(study, part, data, test=True) for part in tested))
    # A race that was resumed at its end knows its last evaluation from its steps alone.
    evaluated = {step.step: in_unit(study, evaluation_of(step), data) for step in steps if step.eval_loss is not None}
    curves = np.array([each.loss for each in evaluated.values()])
    valid = list(evaluated.values())[-1]
    over_run, earlier = _over_run(evaluated, base.example_loss[0])
    lanes = racing.state.of_lanes(racing.lanes.labels, racing.status)
    own, rows, definitions = own_measures(steps), [], read_definitions(run)
    if tested and data.about_held_out.metric:
        own[f"test_{data.about_held_out.metric}"] = tested.lanes.score
    own |= of_objectives(study, racing)
    for k, (lane, of_plan, state) in enumerate(zip(config.lanes, planned.lanes, lanes.values(), strict=True)):
        order = config.order(lane)
        rows.append(
            {
                **row_of(study.trial_of(planned, lane.replace(warmup=of_plan.warmup))),
                **about_lane(lane, run, definitions), "steps": racing.done,
                "status": state["status"],
                "valid_loss": finite_or_none(valid.loss[k]),
                "valid_accuracy": state["final_accuracy"],
                "test_loss": tested and tested.lanes.loss[k],
                "test_accuracy": tested and tested.lanes.accuracy[k],
                "base_valid_loss": base.loss[0],
                "base_test_loss": tested and tested.base.loss[0],
                "base_test_accuracy": tested and tested.base.accuracy[0],
                "guess_test_accuracy": data.about_held_out.test_guess,
                "guess": data.about_held_out.test_guess_words,
                "valid_examples": base.example_loss.shape[1],
                "test_examples": tested.lanes.example_loss.shape[1] if tested else 0,
                "base_boilerplate_loss": tested and tested.base.boilerplate_loss[0],
                "boilerplate_loss": tested and tested.lanes.boilerplate_loss[k],
                "base_text_loss": text and text.loss,
                "text_loss": racing.forgotten and racing.forgotten.text_loss[k],
                "drift": racing.forgotten and racing.forgotten.drift[k],
                "first_grad_norm": state["first_grad_norm"],
                "tokens": sum(data.tokens(number, order) for number in range(1, racing.done + 1)),
                "seconds": racing.state.seconds / len(lanes),
                "evaluated": [*evaluated],
                "valid_losses": curves[:, k] if len(curves) else np.empty(0),
                "valid_loss_by_example": valid.example_loss[k],
                "valid_right_by_example": valid.example_right[k],
                "run_loss_by_example": over_run[k],
                "base_valid_loss_by_example": base.example_loss[0],
                "earlier_valid_loss_by_example": earlier[k],
                "test_loss_by_example": tested.lanes.example_loss[k] if tested else [],
                "test_right_by_example": tested.lanes.example_right[k] if tested else [],
                **{key: values[k] for key, values in own.items()},
            }
        )  # fmt: skip
    write_part(run, rows, list(own))
    without_weights(run)


def about_lane(lane: Lane, run: Path, definitions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the columns that say what raced, and where.

    Args:
        definitions: of the run, see `read_definitions`.
    """
    return {
        "init": lane.init, "r": lane.r, "alpha": None if lane.alpha is None else lane.lora_alpha,
        "run": run.name, "preregistration": hash_of(run.parent.parent),
        "definition": definitions.get("start", {}).get(lane.init) or version_of(lane.init),
        "measure_definitions": json.dumps(definitions.get("measurement", {})),
    }  # fmt: skip


def write_part(run: Path, rows: Sequence[Mapping[str, Any]], own: Sequence[str]) -> None:
    """Write the rows of a race, with columns of its own beside those of all."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=[*COLUMNS, *BY_EXAMPLE, *own])
    numbers = [name for name in COLUMNS if name.endswith(("loss", "accuracy")) or name in ("alpha", "drift")]
    write_parquet(table.astype(dict.fromkeys(numbers, float)), part_of(run))


def without_weights(run: Path) -> None:
    """Delete the checkpoint and the adapters of a run whose rows are written."""
    (run / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(run / "adapters", ignore_errors=True)


def _check_others(run: Path) -> None:
    """Check that no other race of a study is of an earlier version, whose losses were of other tokens."""
    import pyarrow.parquet

    for path in sorted(run.parent.glob("*.parquet")):
        if path.suffixes == [".parquet"] and OF_BOILERPLATE[0] not in pyarrow.parquet.read_schema(path).names:
            raise ValueError(
                f"{str(path)!r} was written by an earlier version, whose losses were of other tokens: go on with the "
                "study in another folder"
            )


def own_measures(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """Return the registered measurements of a race by key, (K,) each, of the last step that has it."""
    own = {key: values for step in steps for key, values in step.measures.items() if key not in BUILT_IN_MEASURES}
    return {key: np.asarray(values, dtype=float) for key, values in own.items()}


def _over_run(evaluated: Mapping[int, Evaluation], base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each lane and example (K, n), averaged over the steps of the run, and at the last but one.

    It begins with the base model's, and is straight between evaluations.
    """
    by_step = [each.example_loss for each in evaluated.values()]
    losses = np.stack([np.broadcast_to(base, by_step[0].shape), *by_step])
    return np.trapezoid(losses, np.array([0, *evaluated], float), axis=0) / max(evaluated), losses[-2]


def evaluation_of(step: Step) -> Evaluation:
    """Return the evaluation of a step."""
    assert step.eval_loss is not None
    assert step.eval_accuracy is not None
    assert step.eval_examples is not None
    totals = Evaluation.of_totals(step.eval_loss, step.eval_accuracy)
    return replace(totals, example_loss=step.eval_examples.loss, example_right=step.eval_examples.right)


def in_unit(study: Study, evaluation: Evaluation, data: RaceData, *, test: bool = False) -> Evaluation:
    """Return an evaluation with its losses in the unit of a study, see `unit_of`."""
    if (unit := unit_of(study)) == NATS:
        return evaluation
    losses = judged_losses(unit, evaluation.example_loss, evaluation.example_right, data.deciding(test))
    return replace(evaluation, loss=losses.mean(1), example_loss=losses)


def examples_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the results by lane and example, of both parts, in a row each."""
    import pandas as pd

    who, parts = ["model", "task", "method", "init", "r", "lr", "seed", "run"], []
    for part in ("valid", "test"):
        names = {f"{part}_{what}_by_example": what for what in ("loss", "right")}
        names |= {"run_loss_by_example": "run_loss"} if part == "valid" else {}
        rows_of_part = rows[rows[next(iter(names))].map(len) > 0]
        many = rows_of_part[[*who, *names]].explode(list(names), ignore_index=True)
        many = many.rename(columns=names).astype(dict.fromkeys(names.values(), float))
        many.insert(len(who), "part", part)
        many.insert(len(who) + 1, "example", many.groupby(who, sort=False).cumcount())
        parts.append(many)
    return pd.concat(parts, ignore_index=True)


class Ledger:
    """The folder of a study.

    Args:
        folder: of the study; created if it is new.
        study: its set-up, which may extend the one in the folder; by default the one in the folder.

    Raises:
        ValueError: the folder holds something else, or a study with runs of another set-up.
    """

    def __init__(self, folder: Path, study: Study | None = None) -> None:
        if study is None and not (folder / SETUP).exists():
            raise ValueError(f"{str(folder)!r} is not the folder of a study: it has no {SETUP}")
        self.folder = folder
        self.study = continued(study, folder) if study else read_setup(Study, folder)
        self._parts: dict[str, pd.DataFrame] = {}
        self._trials: dict[Trial, dict[str, Any]] = {}
        self._decided: tuple[tuple[int, bool], Verdicts] | None = None
        """The latest verdicts, of so many rows and as a decision's or not."""

    def open(self) -> None:
        """Create the folder, and write the set-up."""
        self.runs.mkdir(parents=True, exist_ok=True)
        write_setup(self.study, self.folder)

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
        return pd.concat([self._parts[name] for name in sorted(self._parts)], ignore_index=True)

    def arrived(self, run: Path) -> None:
        """Read the rows of a race that has just ended, perhaps on another machine.

        Raises:
            FileNotFoundError: they do not appear.
        """
        path = part_of(run)
        until = time.monotonic() + FILES_TIMEOUT
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

        Raises:
            ValueError: the file is damaged.
        """
        import pandas as pd
        import pyarrow

        if path.name in self._parts:
            return
        try:
            rows = pd.read_parquet(path)
            for name in set(BY_EXAMPLE).difference(rows):  # of a version that did not keep it
                rows[name] = [[] for _ in rows.index]
            rows = rows.assign(**dict.fromkeys({*OF_TEXT, *OF_BOILERPLATE}.difference(rows), math.nan))
            rows = rows.assign(**dict.fromkeys({*MAY_BE_EMPTY}.difference(rows), ""))
            for row in _records(rows):
                trial_of(row), float(row["valid_loss"]), row["status"]
                dict(zip(map(int, row["evaluated"]), map(float, row["valid_losses"]), strict=True))
        except (KeyError, TypeError, ValueError, OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk; those of pyarrow, on what the file holds, have no number
            raise ValueError(
                f"{str(path)!r} is damaged: {reason(error)}; without it, the study runs its race again"
            ) from None
        self._parts[path.name] = rows

    def trials(self) -> dict[Trial, dict[str, Any]]:
        """Return the rows of all races as plain values, by trial: to read, not to change."""
        rows = self.rows()
        if len(self._trials) != len(rows):
            check_one_definition(_records(rows[["init", "seed", *DEFINED]]), self.folder)
            own = [name for name in rows if name not in (*COLUMNS, *BY_EXAMPLE)]
            measures = _records(rows[own])
            rows = rows.drop(columns=own)
            self._trials = {
                trial_of(row): row | {"measures": of_row} for row, of_row in zip(_records(rows), measures, strict=True)
            }
        return self._trials

    def check_definitions(self, *configs: RaceConfig) -> None:
        """Check that the starts and measurements of the next races are those of the runs that there are."""
        rows = self.rows()[["init", "seed", *DEFINED]]
        check_one_definition([*_records(rows), *rows_to_be(configs)], self.folder)

    def losses(self) -> Losses:
        """Return the losses of all finished trials by which rates are chosen, see `losses_of`."""
        return losses_of(self.study, self.trials())

    def needed(self) -> list[Trial]:
        """Return the trials that remain to be run at this stage; none at the end."""
        return needed(self.study, self.losses(), self.trials() if is_decision(self.folder) else None)

    def verdicts(self) -> Verdicts:
        """Return what the races so far decide; of a decision, on the seeds that every method has finished.

        It is computed once, until another race has ended.
        """
        study, rows = self.study, self.trials()
        known = len(rows), is_decision(self.folder)
        if self._decided and self._decided[0] == known:
            return self._decided[1]
        if is_decision(self.folder):
            seeds = max(1, complete_seeds(study, self.losses()))
            study = replace(study, seeds=seeds, coarse=study.coarse and min(study.coarse, seeds))
            if seeds < self.study.seeds:
                rows = {trial: row for trial, row in rows.items() if trial.seed < seeds}
        self._decided = known, verdicts_of(study, rows, self.folder)
        return self._decided[1]

    def unfinished(self) -> list[Path]:
        """Return the run folders of interrupted races.

        Folders of races that were interrupted before they were set up are empty, and are deleted.
        """
        open_runs = [path for path in sorted(self.runs.glob("*")) if path.is_dir() and not has_ended(path)]
        for path in open_runs:
            if not (has_begun(path) or is_chain(path)):
                shutil.rmtree(path)
        return [path for path in open_runs if path.exists()]

    def new_runs(self, count: int) -> list[Path]:
        """Return the folders of the next races."""
        taken = [int(path.stem) for path in (*self.runs.glob("*"), *self.stage()) if path.stem.isdigit()]
        first = max(taken, default=0) + 1
        return [self.runs / f"{number:04d}" for number in range(first, first + count)]

    def begin_stage(self, groups: Sequence[Sequence[Trial]]) -> dict[Path, list[Trial]]:
        """Write which lanes race together at the next stage, before the first of its races; return them by folder."""
        stage = dict(zip(self.new_runs(len(groups)), map(list, groups), strict=True))
        lanes = {folder.name: list(map(row_of, group)) for folder, group in stage.items()}
        write_json(self.folder / STAGE, {"grid": self.study.growing(), "races": lanes})
        return stage

    def stage(self) -> dict[Path, list[Trial]]:
        """Return the races of the stage that has begun, by folder, without those that have ended.

        A study that has grown since runs them as they were planned; one that has shrunk, which may not want them, does
        not.
        """
        path = self.folder / STAGE
        if not path.exists():
            return {}
        record = read_json_object(path)
        now = self.study.growing()
        if not all(_covers(now.get(name, ()), value) for name, value in record["grid"].items()):
            return {}
        stage = {self.runs / name: list(map(trial_of, lanes)) for name, lanes in record["races"].items()}
        return {folder: group for folder, group in stage.items() if not has_ended(folder)}

    def finish(self) -> None:
        """Write the tables of all races, and the verdicts, unless they are there already."""
        verdicts, rows = self.verdicts(), self.rows()
        record = {"verdicts": [verdict.to_json() for verdict in verdicts.each], "summary": self.summary()}
        if (differing := verdicts.deviations) is not None:
            record["preregistration"] = {"sha256": hash_of(self.folder), "deviations": differing}
        path = self.folder / "verdicts.json"  # written last: where it is, the tables are
        with suppress(OSError, ValueError, KeyError):
            before = read_json_object(path)
            same = [before.get(name) == record.get(name) for name in ("verdicts", "preregistration")]
            if all(same) and before["summary"]["lanes"] == len(rows):
                return
        lanes = with_varied(with_reach(rows.drop(columns=list(BY_EXAMPLE)), verdicts))
        write_parquet(lanes, self.folder / "lanes.parquet")
        write_parquet(examples_of(rows), self.folder / "examples.parquet")
        write_json(path, record)

    def summary(self) -> dict[str, Any]:
        """Return the size of the study, and where its table is."""
        rows = self.rows()
        return {
            "cells": len(self.study.cells()),
            "lanes": len(rows),
            "seconds": round(math.fsum(rows["seconds"]), 1),
            "table": str(self.folder / "lanes.parquet"),
        }


def with_reach(rows: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """Add the steps and tokens after which each run had the reference's final validation loss.

    The reference is that of the same seed, at its best rate. Tokens are those of all steps in proportion. Both are
    infinite for a run that never had it, and NaN where there is no reference.
    """
    targets = {
        (verdict.cell, seed): loss
        for verdict in verdicts.each
        if verdict.method == verdicts.study.reference
        for seed, loss in enumerate(verdict.valid_losses)
    }
    steps, tokens = [], []
    for row in _records(rows):
        trial = trial_of(row)
        target = targets.get((trial.cell, trial.seed), math.nan)
        step = reached_at(row, target) if math.isfinite(target) else math.nan
        steps.append(step)
        tokens.append(step * row["tokens"] / max(1, row["steps"]) if math.isfinite(step) else step)
    return rows.assign(steps_to_reference=np.array(steps, float), tokens_to_reference=np.array(tokens, float))


def verdicts(folder: str | Path) -> Verdicts:
    """Return what a study's races so far decide.

    Args:
        folder: of the study.

    Raises:
        ValueError: the folder holds no study.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> study = ov.Study(race=ov.RaceConfig(steps=1, eval_size=4, test_size=4), tune={"lr": (1e-3,)}, seeds=1)
        >>> with TemporaryDirectory() as folder:
        ...     ended = list(ov.run_study(study, f"{folder}/first"))
        ...     decided = ov.verdicts(f"{folder}/first")
        >>> [(each.method, each.verdict) for each in decided.each]
        [('lora', 'level'), ('olora', 'undecided')]
        >>> decided.each[1].why
        'the best rate of olora and lora lies at the edge of the rates tried'
    """
    expect(folder, (str, Path), "the folder of a study")
    return Ledger(Path(folder)).verdicts()


def with_varied(rows: pd.DataFrame) -> pd.DataFrame:
    """Give every setting that a study crosses or tunes, and that has no column, one of its own."""
    import pandas as pd

    settings = pd.DataFrame(map(varied_of, rows["varied"]), index=rows.index)
    new = [name for name in settings if name not in rows]
    rows = rows.drop(columns="varied")
    if not new:
        return rows
    at = rows.columns.get_loc("lr")
    return pd.concat([rows.iloc[:, :at], settings[new], rows.iloc[:, at:]], axis=1)


def _covers(now: Any, before: Any) -> bool:
    """Whether a setting of the grid still has all that it had."""
    return now >= before if isinstance(now, int) else set(now) >= set(before)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", rows.to_dict("records"))


def trial_of(row: Mapping[str, Any]) -> Trial:
    """Return the trial of a row."""
    varied = json.loads(row["varied"])
    others, tuned = (
        tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in varied[place].items())
        for place in ("across", "tune")
    )
    cell = Cell(row["model"], row["task"], varied["r"], others)
    return Trial(cell, row["method"], float(row["lr"]), int(row["seed"]), tuned)


def row_of(trial: Trial) -> dict[str, Any]:
    """Return the part of a trial's row that `trial_of` reads."""
    cell = trial.cell
    varied = json.dumps({"r": cell.r, "across": dict(cell.others), "tune": dict(trial.tuned)})
    return {
        "model": cell.model, "task": cell.task, "method": trial.method, "varied": varied, "lr": trial.lr,
        "seed": trial.seed,
    }  # fmt: skip


def varied_of(text: str) -> dict[str, Any]:
    """Return the settings that a study crosses or tunes beside the rate, of one row; a list as its text."""
    varied = json.loads(text)
    settings = {**varied["across"], **varied["tune"]}
    return {name: "+".join(value) if isinstance(value, list) else value for name, value in settings.items()}


def check_seen(run: Path) -> None:
    """Check that this machine sees the folder of a race's study.

    Raises:
        ValueError: it does not.
    """
    folder = run.parent.parent
    if not (folder / SETUP).exists():
        raise ValueError(
            f"the machine {socket.gethostname()!r} does not see the study in {str(folder)!r}: its "
            "folder must be one that all machines see"
        )
