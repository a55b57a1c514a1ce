"""Claim: the best learning rate does not depend on the rank."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from olora_viz.lanes.lane import Lane
from olora_viz.studies.claims.claim import (
    FLAT,
    WITHIN,
    WITHOUT_REGRET,
    Bar,
    Claim,
    Finding,
    ends,
    few_seeds,
    flat,
    is_flat,
    not_measured,
    on_study,
    together,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import LEVEL_WITHIN, t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts


def exponents(verdicts: Verdicts, init: str, cells: list[Cell]) -> Float[np.ndarray, " seeds"]:
    """Return for each seed the exponent e of the best rate ∝ rank^e, fitted over the cells.

    The best rate of a seed has its lowest validation loss among the rates that all seeds have run; without one in some
    cell there is no exponent.
    """
    logs = []
    for cell in cells:
        losses = verdicts.losses_on_grid(cell, init)
        whole = np.isfinite(losses).all(1)
        if not whole.any():
            return np.empty(0)
        logs.append(np.log(np.array(verdicts.grid(cell))[whole])[losses[whole].argmin(0)])
    return np.polyfit(np.log([cell.r or Lane.r for cell in cells]), np.array(logs), 1)[0]


def judge(verdicts: Verdicts) -> Finding:
    """Judge for both methods, on the first model and task."""
    study = verdicts.study
    cells = study.cells()[: len(study.values("r"))]
    if len(cells) < 2:
        return not_measured("the study has one rank: give it several")
    if few := few_seeds(study):
        return few
    if study.values("alpha") == (None,):
        return not_measured(
            "in the study every rank has a scaling of 1, and the claim is about one alpha, with a "
            "scaling of alpha / r: give it --alpha"
        )
    by_init = {init: exponents(verdicts, init, cells) for init in (REFERENCE, OURS)}
    if not all(map(len, by_init.values())):
        return not_measured("at one of the study's ranks no rate was finished with every seed")
    intervals = {init: t_interval(of_seeds) for init, of_seeds in by_init.items()}
    over = f"{study.first_seeds} seeds"
    sentences = [
        f"{method_name(init)}'s best rate scales as the rank to the power {exponent.mean:+.2g} "
        f"({ends(exponent, over, '+.2g')}; {flat(exponent)}"
        f"{f', {WITHIN} for four times the rank' if is_flat(exponent) else ''})"
        for init, exponent in intervals.items()
    ]
    return Finding(
        verdict=together([flat(exponent) for exponent in intervals.values()]),
        words=f"{'; '.join(sentences)}. Ranks {', '.join(str(cell.r) for cell in cells)}.",
        numbers={f"exponent_{init}": exponent for init, exponent in intervals.items()},
        seeds=study.first_seeds,
        bars=tuple(Bar.of(method_name(init), exponent) for init, exponent in intervals.items()),
        unit="exponent of the rank in the best rate",
        over=over,
    )


CLAIM = Claim(
    number=9,
    name="rate-by-rank",
    sentence="At one alpha the best rate does not depend on the rank: LoRA's, and OLoRA's too.",
    source=WITHOUT_REGRET,
    measured=(
        "The exponent of the rank in each seed's best rate, fitted over the ranks of a study with one alpha; zero if "
        f"its interval lies within ±{FLAT:.2f}, a factor of {LEVEL_WITHIN} in the rate per factor of four in the rank."
    ),
    judge=on_study(judge),
)
