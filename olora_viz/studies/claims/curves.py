"""Training and validation losses along the runs of a study, read from its run folders."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.races.run import read_config, read_steps, read_summary
from olora_viz.races.step import Step
from olora_viz.studies.study import Cell, Trial
from olora_viz.studies.verdicts import Verdicts


class Curve(NamedTuple):
    """Losses of one run at its evaluations, from those of which training has begun to repeat."""

    training: Float[np.ndarray, " n"]
    """The mean over the steps around the evaluation, as many before it as after it, nats."""
    validation: Float[np.ndarray, " n"]


def least_steps(examples: int, batch_size: int) -> int:
    """Return the steps in which every training example is read once."""
    return math.ceil(examples / batch_size)


def curves(found: Verdicts, trials: Iterable[Trial]) -> dict[Trial, Curve]:
    """Return the curves of some runs of a study, one run folder after the other.

    A step whose batch is new to the run has the loss of examples that it has not been trained on,
    so a window begins after the first pass over the training examples.

    Raises
    ------
    ValueError, OSError : a run folder is damaged or was removed.
    """
    by_run: dict[str, set[Trial]] = {}
    for trial in trials:
        if trial in found.rows:
            by_run.setdefault(found.rows[trial]["run"], set()).add(trial)
    made = {}
    for run, wanted in by_run.items():
        assert found.folder is not None
        folder = found.folder / "runs" / run
        config, summary = read_config(folder), read_summary(folder)
        if summary is None:
            raise ValueError(f"{str(folder)!r} has no summary of its race")
        first = least_steps(summary["examples"]["train"], config.batch_size)
        cell = partial(Cell, config.model, config.task)
        places = [
            (k, trial)
            for k, lane in enumerate(config.lanes)
            if (trial := Trial(cell(lane.r), lane.init, lane.lr, lane.seed)) in wanted
        ]
        losses = losses_around(read_steps(folder), first)
        made |= {trial: Curve(*losses[:, :, k]) for k, trial in places}
    return made


def losses_around(steps: list[Step], first: int) -> Float[np.ndarray, "2 n lanes"]:
    """Return training and validation losses of every lane at the evaluations.

    The training loss of step t is that of the parameters after t − 1 steps, so the steps around an
    evaluation after step e are those from e + 1 − h to e + 1 + h, where h is half the number of
    steps between evaluations. Evaluations without all of them are left out.

    Parameters
    ----------
    first : the steps of the first pass over the training examples, which are not read.
    """
    at = [step.step for step in steps if step.eval_loss is not None]
    half = max(1, (at[1] - at[0]) // 2) if len(at) > 1 else 1
    whole = [e for e in at if e + 1 - half > first and e + 1 + half <= len(steps)]
    losses = np.array([step.loss for step in steps])
    training = [losses[e - half : e + half + 1].mean(0) for e in whole]
    validation = [steps[e - 1].eval_loss for e in whole]
    return np.array([training, validation], float).reshape(2, len(whole), losses.shape[1])
