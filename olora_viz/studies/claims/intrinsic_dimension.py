"""Claim: OLoRA gains more where the intrinsic dimension of the task is low."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import and_
from olora_viz.studies.claims.claim import (
    OF_VERDICT,
    OLORA_PAPER,
    Bar,
    Claim,
    Finding,
    ends,
    level_means,
    not_measured,
    on_study,
    where,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.intrinsic import SHARE, d90, dim_words, whole_cells
from olora_viz.studies.statistics import LEVEL, UNDECIDED, t_interval, verdict
from olora_viz.studies.verdicts import Verdicts

LEAST_TASKS = 3
"""A line through fewer points says nothing of a relation."""


class TaskGain(NamedTuple):
    """What OLoRA gains on a task, and how many directions the task needs."""

    name: str
    dims: Float[np.ndarray, " seeds"]
    """LoRA's d90."""
    gains: Float[np.ndarray, " seeds"]
    """By how much OLoRA's loss is lower along every entry, as a share of LoRA's loss reduction."""

    @property
    def dim(self) -> float:
        """The mean d90 over the seeds, of its logarithm."""
        return float(np.exp(np.log(self.dims).mean()))


def slopes(tasks: list[TaskGain]) -> Float[np.ndarray, " seeds"]:
    """Return for each seed by how much the gain rises with four times the directions, fitted over the tasks.

    NaN where all have one d90.
    """
    x, y = (np.array([getattr(task, name) for task in tasks]) for name in ("dims", "gains"))
    x = np.log(x) / math.log(4)
    away = x - x.mean(0)
    spread = (away**2).sum(0)
    return np.divide((away * (y - y.mean(0))).sum(0), spread, out=np.full(len(spread), np.nan), where=spread > 0)


def judge(verdicts: Verdicts) -> Finding:
    """Judge over the tasks of a study that crosses numbers of directions with every entry."""
    study = verdicts.study
    cells = whole_cells(verdicts)
    if not cells or study.values("dim") == (None,):
        return not_measured("the study crosses no numbers of directions: give it --across dim=4/64/1024/none")
    dims = {cell: d90(verdicts, cell, REFERENCE) for cell in cells}
    most = max(dim for dim in study.values("dim") if dim is not None)
    tasks, told = [], []
    for cell, of_seeds in dims.items():
        runs = [verdicts.runs[cell, init] for init in (REFERENCE, OURS)]
        losses = [each.at_best.test.mean(1) for each in runs if each.at_best and each.is_inside]
        if not len(of_seeds) or len(losses) < 2 or any(len(loss) < study.seeds for loss in losses):
            continue
        name = where(study, cell).removesuffix("dim none").strip() or cell.task
        told.append(f"{dim_words(of_seeds, most)} on {name}")
        if np.isfinite(of_seeds).all():
            lora, ours = losses
            reduction = float(np.mean(verdicts.rows_of(cell)[0]["base_test_loss"] - lora))
            tasks.append(TaskGain(name, of_seeds, (lora - ours) / reduction))
    if len(tasks) < LEAST_TASKS:
        so_far = f": d90 is {and_(told)}" if told else ""
        return not_measured(
            f"LoRA's intrinsic dimension is known for {len(tasks)} of {len(cells)} tasks, and a relation needs "
            f"{LEAST_TASKS}{so_far}"
        )
    tasks.sort(key=lambda task: task.dim)
    of_seeds = slopes(tasks)
    if not np.isfinite(of_seeds).all():
        return not_measured(f"the tasks do not differ in LoRA's intrinsic dimension: d90 is {and_(told)}")
    slope, over = t_interval(of_seeds), f"{study.seeds} seeds"
    word = OF_VERDICT[verdict(slope, slope.p_value, study.margin, study.seeds)]
    without = [slopes([each for each in tasks if each is not task]).mean() for task in tasks]
    depends = word not in (LEVEL, UNDECIDED) and any(not one * slope.mean > 0 for one in without)
    word = UNDECIDED if depends else word
    within = level_means([word], f"within {100 * study.margin:.3g}% of LoRA's loss reduction")
    return Finding(
        verdict=word,
        words=(
            f"LoRA's d90, the fewest directions with {SHARE:.0%} of its loss reduction, is {and_(told)}. With "
            f"four times the directions OLoRA's gain over LoRA changes by {slope.mean:+.2g} of LoRA's loss reduction "
            f"({ends(slope, over, '+.2g')}){', but without one of the tasks the sign turns' * depends}.{within}"
        ),
        numbers={"tasks": len(tasks), "slope": slope} | {f"d90_{task.name}": task.dim for task in tasks},
        seeds=study.seeds,
        bars=tuple(Bar.of(f"{task.name}, d90 {task.dim:.0f}", t_interval(task.gains)) for task in tasks),
        unit="OLoRA's gain over LoRA as a share of LoRA's loss reduction",
        over=over,
    )


CLAIM = Claim(
    number=25,
    name="intrinsic-dimension",
    sentence="OLoRA gains more where the intrinsic dimension of the task is low.",
    source=f"{OLORA_PAPER}, its open questions",
    measured=(
        "LoRA's d90 of each task of a study: the least number of random directions with which its test loss falls by "
        f"{SHARE:.0%} of what it falls by along every entry, each at its best rate. The claim holds if OLoRA's gain, "
        "as a share of LoRA's loss reduction, falls with log d90, over the seeds and without any one task."
    ),
    judge=on_study(judge),
)
