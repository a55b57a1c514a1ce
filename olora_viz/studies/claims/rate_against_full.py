"""Claim: LoRA's best learning rate is about ten times that of full fine-tuning."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    WITHOUT_REGRET,
    AgainstFull,
    Bar,
    Claim,
    Finding,
    best_by_seed,
    counted,
    ends,
    few_seeds,
    on_study,
    over_compared,
    over_of,
    ratio_of,
    together,
    where,
)
from olora_viz.studies.claims.evidence import FULL, OURS, REFERENCE
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import UNDECIDED, Interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

TIMES = 10.0
"""The ratio of the best rates that is claimed."""

ABOUT = math.log(2)
"""A ratio within a factor of two of it counts as about the same."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge LoRA in every cell; OLoRA's ratio stands beside it."""
    study = verdicts.study
    if few := few_seeds(study):
        return few
    against_full = AgainstFull.of(
        study,
        lambda init, cell: best_logs(verdicts, init, cell),
        lambda difference, _: _about_ten(difference.interval),
    )
    by_cell = {init: list(cells.values()) for init, cells in against_full.differences.items() if cells}
    over = {init: over_of([each.gap for each in differences]) for init, differences in by_cell.items()}
    overall = {init: ratio_of(over_compared(differences)) for init, differences in by_cell.items()}
    low, high = TIMES / math.exp(ABOUT), TIMES * math.exp(ABOUT)
    sentences = [
        f"{method_name(init)}'s best rate is {ratio.mean:.3g} times full fine-tuning's "
        f"({ends(ratio, over[init], '.3g')}); that it is about {TIMES:g} times as high, "
        f"from {low:g} to {high:g} times: {counted(against_full.parts[init])}."
        for init, ratio in overall.items()
    ]
    return Finding(
        verdict=together(against_full.parts[REFERENCE]),
        words=" ".join([*sentences, *against_full.edges]) or "no cell of the study has run at all its rates",
        numbers={f"times_{init}": ratio for init, ratio in overall.items()},
        seeds=study.first_seeds,
        bars=tuple(
            Bar.of(f"{method_name(init)} {where(study, cell)}", ratio_of(cells[cell].interval))
            for cell in study.cells()
            for init, cells in against_full.differences.items()
            if cell in cells
        ),
        unit="best rate as a multiple of full fine-tuning's",
        over=f"{study.first_seeds} seeds",
    )


def best_logs(verdicts: Verdicts, init: str, cell: Cell) -> Float[np.ndarray, "n 1"] | None:
    """Return the logarithm of each seed's best rate, see `best_by_seed`; None if runs are missing."""
    if not verdicts.has_run(cell, init):
        return None
    losses = verdicts.losses_on_grid(cell, init, verdicts.study.first_seeds)
    return best_by_seed(verdicts.grid(cell), losses)[:, None]


def _about_ten(log: Interval) -> str:
    """Judge the logarithm of a ratio: whether its interval lies inside the bounds, or outside."""
    low, high = math.log(TIMES) - ABOUT, math.log(TIMES) + ABOUT
    if low < log.low and log.high < high:
        return HOLDS
    return FAILS if log.high < low or log.low > high else UNDECIDED


CLAIM = Claim(
    number=11,
    name="rate-against-full",
    sentence="LoRA's best learning rate is about ten times that of full fine-tuning.",
    source=WITHOUT_REGRET,
    measured=(
        "The ratio of each seed's best rates, by validation loss, in a study with full fine-tuning "
        "of the same layers: about ten if the interval of its geometric mean lies within 5 and 20."
    ),
    judge=on_study(judge, (OURS, FULL)),
)
