"""Claim: OLoRA converges faster than LoRA."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from olora_viz.races.step import DIVERGED
from olora_viz.studies.claims.claim import (
    NOT_MEASURED,
    OF_VERDICT,
    OLORA_PAPER,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    level_within,
    not_measured,
    on_study,
    ours,
    over_of,
    together,
)
from olora_viz.studies.difference import Difference, between
from olora_viz.studies.rows import Row, by_example
from olora_viz.studies.statistics import Interval, verdict
from olora_viz.studies.study import Candidate, Cell
from olora_viz.studies.verdicts import Verdict, Verdicts

LEAST_POINTS = 3
"""Evaluations that make a curve."""


def mean_loss(row: Row) -> float:
    """Return the mean validation loss over the steps of a run: the area below its curve, per step.

    The curve begins with the base model's loss and is straight between evaluations.
    """
    if row["status"] == DIVERGED:
        return float("nan")
    steps = np.array([0, *row["evaluated"]], float)
    losses = np.array([row["base_valid_loss"], *row["valid_losses"]], float)
    return float(np.trapezoid(losses, steps) / steps[-1])


def mean_losses(verdicts: Verdicts, cell: Cell, method: str, at: Candidate) -> Float[np.ndarray, "seeds examples"]:
    """Return `mean_loss` of each seed of a method at a candidate, by example.

    Earlier versions kept the means over the examples alone (seeds, 1).
    """
    rows = [verdicts.rows[trial] for trial in verdicts.study.trials(cell, method, [at]) if trial in verdicts.rows]
    losses = by_example(rows, "run_loss_by_example")
    return np.array([[mean_loss(row)] for row in rows]) if losses is None else losses


def judge(verdicts: Verdicts) -> Finding:
    """Judge the mean validation loss over the run, at one shared rate and at best rates."""
    if any(len(row["evaluated"]) < LEAST_POINTS for row in verdicts.rows.values()):
        return not_measured(
            f"the study's runs were evaluated fewer than {LEAST_POINTS} times: one with "
            "a smaller eval_every would decide it"
        )
    parts: dict[str, list[str]] = {"one rate": [], "best rates": []}
    intervals: dict[str, Interval] = {}
    over, margins = "", []
    for cell in ours(verdicts):
        best = {each.method: each.best for each in verdicts.of(cell.cell)}
        for at, rates in (("one rate", dict.fromkeys(best, cell.shared)), ("best rates", best)):
            loss, margin = _compared(verdicts, cell, rates)
            word = verdict(loss.interval, loss.interval.p_value, margin, loss.seeds)
            part = OF_VERDICT[word] if loss.seeds else NOT_MEASURED
            parts[at].append(part)
            margins.append((part, margin))
            if at not in intervals and loss.seeds:
                intervals[at], over = loss.interval, over_of([loss.gap], "validation")
    if len(intervals) < len(parts):
        return not_measured("at no rate of the grid has every seed of both methods finished")
    cells = len(parts["one rate"])
    words = {
        at: f"{interval.mean:+.3g} nats ({ends(interval, over)}); that it is lower: {counted(parts[at])}."
        for at, interval in intervals.items()
    }
    some = f" The numbers are those of one of {cells} cells." if cells > 1 else ""
    return Finding(
        verdict=together([*parts["one rate"], *parts["best rates"]]),
        words=(
            "OLoRA's validation loss, averaged over the run, differs from LoRA's at one rate by "
            f"{words['one rate']} At best rates it differs by {words['best rates']}{some}"
            f"{level_within(verdicts.study, *zip(*margins, strict=True))}"
        ),
        numbers={"difference_at_one_rate": intervals["one rate"], "difference_at_best_rates": intervals["best rates"]},
        seeds=verdicts.study.seeds,
        bars=tuple(Bar.of(at, intervals[at]) for at in parts),
        unit="mean validation loss over the run minus LoRA's, nats",
        over=over,
    )


def _compared(
    verdicts: Verdicts, ours: Verdict, candidates: Mapping[str, Candidate | None]
) -> tuple[Difference, float]:
    """Return the difference in `mean_loss` to the reference, and its margin.

    Args:
        candidates: of every method.
    """
    study, cell = verdicts.study, ours.cell
    runs = {method: mean_losses(verdicts, cell, method, at) for method, at in candidates.items() if at is not None}
    first, second = (runs.get(init, np.empty((0, 0))) for init in (ours.method, study.reference))
    loss = between(first, second, list(runs.values()))
    margin = study.margin * float(verdicts.base_loss(cell) - np.nanmean(second)) if loss.seeds else math.nan
    return loss, margin


CLAIM = Claim(
    number=4,
    name="convergence",
    sentence="OLoRA converges faster than LoRA.",
    source=f"{OLORA_PAPER}, its loss curves, at one learning rate",
    measured=(
        "The validation loss averaged over the steps of a run, paired by seed and example: at the "
        "one rate with the lowest final validation loss over both, and each at its own best rate."
    ),
    judge=on_study(judge),
)
