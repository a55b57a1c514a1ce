"""Claim: imitation moves the weights 100 to 1000 times as far as rewards for the same accuracy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import percent
from olora_viz.races.fields import IMITATION, REINFORCE
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    Bar,
    Claim,
    Finding,
    ends,
    not_measured,
    on_study,
    ratio_of,
    together,
)
from olora_viz.studies.method import method_name
from olora_viz.studies.objectives import CROSSED, MOVED, by_rate, of_objective
from olora_viz.studies.statistics import LEAST_SEEDS, UNDECIDED, t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

ACCURACY, ENOUGH = 0.95, "19 of 20"
"""The share of test answers that has to be right, mean over the seeds, and in words."""

TIMES = 100.0
"""The least multiple that the claim says."""


def least_moved(verdicts: Verdicts, cell: Cell, method: str) -> list[Float[np.ndarray, "columns seeds"]]:
    """Return ‖ΔW‖ and test accuracy at the rate that moves the weights least among those that are accurate enough.

    Empty if no rate is.
    """
    runs = by_rate(verdicts, cell, method, (MOVED, "test_accuracy"))
    enough = [of for of in runs if of[1].mean() >= ACCURACY]  # of a diverged run the mean is NaN
    return sorted(enough, key=lambda of: of[0].mean())[:1]


def judge(verdicts: Verdicts) -> Finding:
    """Judge every method of a study that crosses both objectives."""
    cells = [of_objective(verdicts, objective) for objective in (IMITATION, REINFORCE)]
    if not all(cells):
        return not_measured(CROSSED)
    if verdicts.study.first_seeds < LEAST_SEEDS:
        return not_measured(f"the study tries every rate with fewer than {LEAST_SEEDS} seeds")
    parts, said, bars, numbers = [], [], [], {}
    for method in verdicts.study.compare:
        for imitated, rewarded in zip(*cells, strict=True):
            runs = [*least_moved(verdicts, imitated, method), *least_moved(verdicts, rewarded, method)]
            if len(runs) < 2:
                continue
            (further, right), (moved, as_right) = runs
            ratio = ratio_of(t_interval(np.log(further / moved)))
            parts.append(HOLDS if ratio.low >= TIMES else FAILS if ratio.high < TIMES else UNDECIDED)
            said.append(
                f"{method_name(method)} {ratio.mean:.3g} times as far ({percent(right.mean())} right, with rewards "
                f"{percent(as_right.mean())}; {ends(ratio, f'{len(moved)} seeds', '.3g')})"
            )
            numbers[f"times_{method}"] = ratio
            bars.append(Bar.of(method_name(method), ratio))
    if not parts:
        return not_measured(f"no method has {ENOUGH} test answers right under both objectives")
    over = f"{verdicts.study.first_seeds} seeds"
    return Finding(
        verdict=together(parts),
        words=(
            f"At the rate that moves the weights least among those with {ENOUGH} test answers right, "
            f"imitation moves them, of {'; '.join(said)}."
        ),
        numbers=numbers,
        seeds=verdicts.study.first_seeds,
        bars=tuple(bars),
        unit="‖ΔW‖ under imitation as a multiple of that under rewards",
        over=over,
    )


CLAIM = Claim(
    number=33,
    name="moves-further",
    sentence="Imitation moves the weights 100 to 1000 times as far as rewards for the same accuracy.",
    source="arXiv 2602.04118",
    measured=(
        "In a study that crosses the objectives imitation and reinforce: ‖ΔW‖ over all layers, of each method at the "
        f"rate that moves the weights least among those with {ENOUGH} test answers right, paired by "
        f"seed. It fails if the whole interval of the multiple lies below {TIMES:.0f}."
    ),
    judge=on_study(judge, ()),
)
