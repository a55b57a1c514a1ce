"""The rows of one race of a study, one per lane: written once, when the race has ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from olora_viz.lanes.lane import Lane
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
of examples are their numbers; `guess` is the answer without the prompt that is right most often."""


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
    tested = racing.tested()
    if tested is not None:
        write_parquet(_examples(racing, run.name), run / "examples.parquet")
    evaluated = [step.step for step in steps if step.eval_loss is not None]
    curves = np.array([step.eval_loss for step in steps if step.eval_loss is not None])
    lanes = racing.state.of_lanes(racing.lanes.labels, racing.status)
    about, rows = racing.data.about_held_out, []
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
                "base_test_accuracy": tested and tested.base.accuracy[0],
                "guess_test_accuracy": about.test_guess, "guess": about.test_guess_words,
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
    write_parquet(table.astype({name: float for name in numbers}), part_of(run))
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
