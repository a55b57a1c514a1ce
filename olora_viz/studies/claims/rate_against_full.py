"""Claim: LoRA's best learning rate is about ten times that of full fine-tuning."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    WITHOUT_REGRET,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    has_run,
    lowest,
    not_measured,
    on_study,
    over_cells,
    over_of,
    together,
    where,
)
from olora_viz.studies.claims.evidence import FULL, OURS, REFERENCE
from olora_viz.studies.plan import grid_of, values_at
from olora_viz.studies.statistics import LEAST_SEEDS, UNDECIDED, Interval, t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts, values_of

TIMES = 10.0
"""The ratio of the best rates that is claimed."""

ABOUT = math.log(2)
"""A ratio within a factor of two of it counts as about the same."""


def judge(found: Verdicts) -> Finding:
    """Judge LoRA in every cell; OLoRA's ratio is told beside it."""
    study = found.study
    if study.first_seeds < LEAST_SEEDS:
        return not_measured(f"the study runs its rates with fewer than {LEAST_SEEDS} seeds")
    parts: dict[str, list[str]] = {REFERENCE: [], OURS: []}
    known: dict[str, list[np.ndarray]] = {REFERENCE: [], OURS: []}
    outside: dict[str, None] = {}
    bars = []
    for cell in study.cells():
        rates = {init: best_rates(found, init, cell) for init in (*parts, FULL)}
        outside |= dict.fromkeys(i for i, its in rates.items() if its is not None and not len(its))
        for init, said in parts.items():
            its, full = rates[init], rates[FULL]
            if its is None or full is None:
                said.append(NOT_MEASURED)
            elif not len(its) or not len(full):
                said.append(UNDECIDED)
            else:
                known[init].append(its - full)
                interval = t_interval(its - full)
                said.append(_about_ten(interval))
                label = f"{label_of(init)} {where(study, cell)}".strip()
                bars.append(Bar(label, *_factor(interval)[:3]))
    low, high = TIMES / math.exp(ABOUT), TIMES * math.exp(ABOUT)
    overall = {init: _factor(over_cells(its)) for init, its in known.items() if its}
    ratios = [
        f"{label_of(init)}'s best rate is {its.mean:.3g} times full fine-tuning's "
        f"({ends(its, over_of(known[init]), '.3g')}); that it is about {TIMES:g} times as high, "
        f"from {low:g} to {high:g} times: {counted(parts[init])}."
        for init, its in overall.items()
    ]
    if outside:
        names = " and of ".join(map(label_of, outside))
        ratios.append(f"A best rate of {names} lies at the edge of the rates tried.")
    return Finding(
        verdict=together(parts[REFERENCE]),
        words=" ".join(ratios) or "no cell of the study has run at all its rates",
        numbers={f"times_{init}": its for init, its in overall.items()},
        seeds=study.first_seeds,
        bars=tuple(bars),
        unit="best rate as a multiple of full fine-tuning's",
        over=f"{study.first_seeds} seeds",
    )


def best_rates(found: Verdicts, init: str, cell: Cell) -> Float[np.ndarray, " seeds"] | None:
    """Return the logarithm of the rate with each seed's lowest validation loss.

    It is that of the parabola through the lowest loss of the grid and its neighbours. Empty if the rate with the
    lowest mean loss is the lowest or highest of the grid, or each has a diverged run; None if runs are missing.
    """
    study, valid = found.study, values_of(found.rows, "valid_loss")
    if not has_run(found, cell, init):
        return None
    grid = grid_of(study, cell, valid)
    losses = values_at(study, cell, init, grid, valid, study.first_seeds)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if not 0 < losses.mean(1).argmin() < len(grid) - 1:
        return np.empty(0)
    return np.array([lowest(np.log(grid), one) for one in losses.T])


def _about_ten(its: Interval) -> str:
    """Judge the logarithm of a ratio: whether its interval lies inside the bounds, or outside."""
    low, high = math.log(TIMES) - ABOUT, math.log(TIMES) + ABOUT
    if low < its.low and its.high < high:
        return HOLDS
    return FAILS if its.high < low or its.low > high else UNDECIDED


def _factor(its: Interval) -> Interval:
    """Return the interval of a ratio from that of its logarithm."""
    mean, low, high = np.exp(its[:3]).tolist()
    return Interval(mean, low, high, its.p_value)


CLAIM = Claim(
    number=11,
    name="rate-against-full",
    sentence="LoRA's best learning rate is about ten times that of full fine-tuning.",
    source=WITHOUT_REGRET,
    measured=(
        "The ratio of each seed's best rates, by validation loss, in a study with full fine-tuning "
        "of the same layers: about ten if the interval of its geometric mean lies within 5 and 20."
    ),
    judge=on_study(judge, FULL),
)
