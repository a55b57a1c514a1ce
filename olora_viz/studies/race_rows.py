"""The rows of one race of a study, one per lane: written once, when the race has ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import finite_or_none
from olora_viz.races.race import Race
from olora_viz.races.run import CHECKPOINT
from olora_viz.races.step import Step

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "model", "task", "init", "r", "alpha", "lr", "seed", "steps", "status", "valid_loss",
    "valid_accuracy", "test_loss", "test_accuracy", "base_valid_loss", "base_test_loss",
    "base_test_accuracy", "guess_test_accuracy", "guess", "valid_examples", "test_examples",
    "first_grad_norm", "tokens", "seconds", "run", "evaluated", "valid_losses",
)  # fmt: skip
"""The columns of `lanes.parquet`: `evaluated` has the steps of `valid_losses`, and the two columns
of examples are their numbers; `guess` is the answer without the prompt that is right most often.
Losses are those of the deciding tokens, see `Evaluation.compared_loss`."""

BY_EXAMPLE = ("valid_loss_by_example", "valid_right_by_example", "run_loss_by_example",
              "test_loss_by_example", "test_right_by_example")  # fmt: skip
"""More columns of the rows of a race, lists in the order of the examples: the results at the end on
the validation examples, which choose the rates, their loss averaged over the run, and the results
on the test examples, which judge."""


def part_of(run: Path) -> Path:
    """Return the file with the rows of a run folder's race."""
    return run.with_name(f"{run.name}.parquet")


def has_ended(run: Path) -> bool:
    """Whether a race's rows are written, which is its last act."""
    return part_of(run).exists()


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
    tested, valid = racing.tested(), racing.state.last_eval
    found = [step for step in steps if step.eval_loss is not None]
    evaluated, curves = [step.step for step in found], np.array([_compared(s) for s in found])
    over_run = _over_run(found, racing.baseline.example_loss[0])
    lanes = racing.state.of_lanes(racing.lanes.labels, racing.status)
    about, rows = racing.data.about_held_out, []
    for k, (lane, state) in enumerate(zip(config.lanes, lanes.values(), strict=True)):
        rows.append(
            {
                "model": config.model, "task": config.task, "init": lane.init, "r": lane.r,
                "alpha": lane.alpha, "lr": lane.lr, "seed": lane.seed, "steps": racing.done,
                "status": state["status"],
                "valid_loss": finite_or_none(valid.compared_loss[k]),
                "valid_accuracy": state["final_accuracy"],
                "test_loss": tested and tested.lanes.compared_loss[k],
                "test_accuracy": tested and tested.lanes.accuracy[k],
                "base_valid_loss": racing.baseline.compared_loss[0],
                "base_test_loss": tested and tested.base.compared_loss[0],
                "base_test_accuracy": tested and tested.base.accuracy[0],
                "guess_test_accuracy": about.test_guess, "guess": about.test_guess_words,
                "valid_examples": racing.baseline.example_loss.shape[1],
                "test_examples": tested.lanes.example_loss.shape[1] if tested else 0,
                "first_grad_norm": state["first_grad_norm"],
                "tokens": _tokens(racing, lane), "seconds": racing.state.seconds / len(lanes),
                "run": run.name, "evaluated": evaluated,
                "valid_losses": curves[:, k].tolist() if len(curves) else [],
                "valid_loss_by_example": valid.example_loss[k],
                "valid_right_by_example": valid.example_right[k],
                "run_loss_by_example": over_run[k],
                "test_loss_by_example": tested.lanes.example_loss[k] if tested else [],
                "test_right_by_example": tested.lanes.example_right[k] if tested else [],
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=[*COLUMNS, *BY_EXAMPLE])
    numbers = [name for name in COLUMNS if "loss" in name or "accuracy" in name or name == "alpha"]
    numbers.remove("valid_losses")
    write_parquet(table.astype({name: float for name in numbers}), part_of(run))
    (run / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(run / "adapters", ignore_errors=True)


def _compared(step: Step) -> np.ndarray:
    """Return the held-out losses of a step by which lanes are compared (K,)."""
    deciding = None if step.eval_examples is None else step.eval_examples.deciding_loss
    loss = step.eval_loss
    assert loss is not None
    return loss if deciding is None else np.where(np.isfinite(deciding), deciding, loss)


def _over_run(found: Sequence[Step], base: np.ndarray) -> np.ndarray:
    """Return the loss of each lane and example (K, n), averaged over the steps of the run.

    It begins with the base model's, and is straight between evaluations.
    """
    kept = [step.eval_examples.loss for step in found if step.eval_examples is not None]
    at = np.array([0, *(step.step for step in found if step.eval_examples is not None)], float)
    losses = np.stack([np.broadcast_to(base, kept[0].shape), *kept])
    return np.trapezoid(losses, at, axis=0) / at[-1]


def examples_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the results by lane and example, of both parts, in a row each."""
    import pandas as pd

    who, parts = ["model", "task", "init", "r", "lr", "seed", "run"], []
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


def _tokens(racing: Race, lane: Lane) -> int:
    """Count the tokens on which a lane was trained."""
    order = racing.config.order(lane)
    return sum(racing.data.tokens(number, order) for number in range(1, racing.done + 1))
