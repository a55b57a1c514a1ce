"""Claim: the best learning rate of LoRA falls with the length of a run, and OLoRA's does not."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.claim import (
    FAILS,
    FLAT,
    NOT_MEASURED,
    WITHIN,
    WITHOUT_REGRET,
    Bar,
    Claim,
    Finding,
    best_by_seed,
    counted,
    ends,
    few_seeds,
    flat,
    is_flat,
    judged,
    not_measured,
    on_study,
    over_cells,
    over_of,
    together,
    where,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import LEVEL, LEVEL_WITHIN, t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

LEAST_LENGTHS = 3
"""Lengths that make a trend, of which the longest is at least twice the shortest."""

WITHIN_WORDS = f"{WITHIN} for four times the length"


def judge(verdicts: Verdicts) -> Finding:
    """Judge both methods in every cell: LoRA's exponent is negative, and OLoRA's is zero."""
    study = verdicts.study
    if study.race.schedule != "constant" or study.race.warmup:
        return not_measured(
            f"the study's rates follow the schedule {study.race.schedule!r} with a warm-up of "
            f"{study.race.warmup} steps, "
            "so that its runs do not pass through shorter ones: give one with constant rates"
        )
    if few := few_seeds(study):
        return few
    parts: dict[str, list[str]] = {REFERENCE: [], OURS: []}
    by_cell: dict[str, list[np.ndarray]] = {REFERENCE: [], OURS: []}
    level, bars = False, []
    for cell in study.cells():
        for init, of_init in parts.items():
            lengths, rates = best_by_length(verdicts, init, cell)
            if len(lengths) < LEAST_LENGTHS or lengths[-1] < 2 * lengths[0]:
                of_init.append(NOT_MEASURED)
                continue
            by_seed = exponents(lengths, rates)
            if init == REFERENCE:
                verdict, interval = judged(by_seed, FLAT)
                verdict = FAILS if verdict == LEVEL else verdict
            else:
                interval = t_interval(by_seed)
                verdict = flat(interval)
            by_cell[init].append(by_seed)
            of_init.append(verdict)
            level |= init == REFERENCE and is_flat(interval)
            bars.append(Bar.of(f"{method_name(init)} {where(study, cell)}", interval))
    if not any(by_cell.values()):
        return not_measured(
            f"the best rate is known, and inside the rates tried, at fewer than {LEAST_LENGTHS} lengths of a run: "
            "finish the study, or give one with more rates and a smaller eval_every"
        )
    overall = {init: over_cells(of_cells) for init, of_cells in by_cell.items() if of_cells}
    claimed = {REFERENCE: f"falls{f' and is not level {WITHIN_WORDS}' * level}", OURS: f"stays {WITHIN_WORDS}"}
    sentences = [
        f"{method_name(init)}'s best rate scales as the length of the run to the power {overall[init].mean:+.2g} "
        f"({ends(overall[init], over_of(by_cell[init]), '+.2g')}); that it {words}: {counted(parts[init])}."
        if init in overall
        else f"{method_name(init)}'s best rate lies at the edge of the rates tried."
        for init, words in claimed.items()
    ]
    return Finding(
        verdict=together([*parts[REFERENCE], *parts[OURS]]),
        words=" ".join(sentences),
        numbers={f"exponent_{init}": exponent for init, exponent in overall.items()},
        seeds=study.first_seeds,
        bars=tuple(bars),
        unit="exponent of the length of the run in the best rate",
        over=f"{study.first_seeds} seeds",
    )


def best_by_length(
    verdicts: Verdicts, init: str, cell: Cell
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, "lengths seeds"]]:
    """Return the lengths of a method's runs, and the logarithm of each seed's best rate at them.

    A run at a constant rate passes through all shorter ones, which end at its evaluations. Lengths at which the rate
    with the lowest mean loss is the lowest or highest of the grid are left out.
    """
    study = verdicts.study
    grid = verdicts.grid(cell)
    rows = [
        verdicts.rows.get(trial, {"evaluated": (), "valid_losses": ()})
        for trial in study.trials(cell, init, grid, study.first_seeds)
    ]
    curves = [dict(zip(row["evaluated"], row["valid_losses"], strict=True)) for row in rows]
    by_length = {}
    for length in sorted({length for curve in curves for length in curve}):
        losses = np.array([curve.get(length, np.nan) for curve in curves], float)
        if len(logs := best_by_seed(grid, losses.reshape(len(grid), -1))):
            by_length[length] = logs
    return np.array(list(by_length), float), np.array(list(by_length.values())).reshape(-1, study.first_seeds)


def exponents(
    lengths: Float[np.ndarray, " lengths"], logs: Float[np.ndarray, "lengths seeds"]
) -> Float[np.ndarray, " seeds"]:
    """Return for each seed the exponent e of the best rate ∝ length^e, by least squares."""
    return np.polyfit(np.log(lengths), logs, 1)[0]


CLAIM = Claim(
    number=10,
    name="rate-by-length",
    sentence="LoRA's best rate falls with the length of a run, and OLoRA's does not.",
    source=WITHOUT_REGRET,
    measured=(
        "The exponent of the length in each seed's best rate, over the evaluations of a study at constant rates, each "
        f"of which ends a shorter run: negative for LoRA, whose B starts at zero, and for OLoRA within ±{FLAT:.2f}, a "
        f"factor of {LEVEL_WITHIN} in the rate per factor of four in the length."
    ),
    judge=on_study(judge),
)
