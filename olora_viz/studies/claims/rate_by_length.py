"""Claim: the best learning rate of LoRA falls with the length of a run, and OLoRA's does not."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    FAILS,
    FLAT,
    NOT_MEASURED,
    UNKNOWN,
    WITHIN,
    WITHOUT_REGRET,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    flat,
    is_flat,
    judged,
    lowest,
    not_measured,
    on_study,
    over_cells,
    over_of,
    together,
    where,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.plan import grid_of
from olora_viz.studies.statistics import LEAST_SEEDS, LEVEL, LEVEL_WITHIN, Interval, t_interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts, values_of

LEAST_LENGTHS = 3
"""Lengths that make a trend, of which the longest is at least twice the shortest."""

MARGIN = f"{WITHIN} for four times the length"
"""`FLAT` in words."""


def judge(found: Verdicts) -> Finding:
    """Judge both methods in every cell: LoRA's exponent is negative, and OLoRA's is zero."""
    study = found.study
    if study.schedule != "constant" or study.warmup:
        return not_measured(
            f"the study's rates follow the schedule {study.schedule!r} with a warm-up of "
            f"{study.warmup} steps, so that its runs do not pass through shorter ones: give one "
            "with constant rates"
        )
    if study.first_seeds < LEAST_SEEDS:
        return not_measured(f"the study runs its rates with fewer than {LEAST_SEEDS} seeds")
    parts: dict[str, list[str]] = {REFERENCE: [], OURS: []}
    level = False
    known: dict[str, list[np.ndarray]] = {REFERENCE: [], OURS: []}
    bars = []
    for cell in study.cells():
        for init, said in parts.items():
            lengths, rates = best_rates(found, init, cell)
            if len(lengths) < LEAST_LENGTHS or lengths[-1] < 2 * lengths[0]:
                said.append(NOT_MEASURED)
                continue
            its = exponents(lengths, rates)
            verdict, interval = (_falls if init == REFERENCE else _stays)(its)
            known[init].append(its)
            said.append(verdict)
            level |= init == REFERENCE and is_flat(interval)
            label = f"{label_of(init)} {where(study, cell)}".strip()
            bars.append(Bar(label, interval.mean, interval.low, interval.high))
    if not any(known.values()):
        return not_measured(
            f"the best rate is known, and inside the rates tried, at fewer than {LEAST_LENGTHS} "
            "lengths of a run: finish the study, or give one with more rates and a smaller "
            "eval_every"
        )
    overall = {init: over_cells(its) if its else UNKNOWN for init, its in known.items()}
    return Finding(
        verdict=together([one for said in parts.values() for one in said]),
        words=" ".join(
            _said(init, overall[init], over_of(known[init]), claimed, parts[init])
            for init, claimed in (
                (REFERENCE, f"falls{f' and is not level {MARGIN}' * level}"),
                (OURS, f"stays {MARGIN}"),
            )
        ),
        numbers={f"exponent_{init}": its for init, its in overall.items() if its != UNKNOWN},
        seeds=study.first_seeds,
        bars=tuple(bars),
        unit="exponent of the length of the run in the best rate",
        over=f"{study.first_seeds} seeds",
    )


def best_rates(
    found: Verdicts, init: str, cell: Cell
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, "lengths seeds"]]:
    """Return the lengths of a method's runs, and the logarithm of each seed's best rate at them.

    A run at a constant rate passes through all shorter ones, which end at its evaluations. Lengths at which the rate
    with the lowest mean loss is the lowest or highest of the grid are left out.
    """
    study = found.study
    grid = grid_of(study, cell, values_of(found.rows, "valid_loss"))
    rows = [
        found.rows.get(trial, {"evaluated": (), "valid_losses": ()})
        for trial in study.trials(cell, init, grid, study.first_seeds)
    ]
    curves = [dict(zip(row["evaluated"], row["valid_losses"], strict=True)) for row in rows]
    lengths, logs = [], []
    for length in sorted({at for curve in curves for at in curve}):
        losses = np.array([curve.get(length, np.nan) for curve in curves], float)
        losses = np.where(np.isfinite(losses), losses, np.inf).reshape(len(grid), -1)
        if 0 < losses.mean(1).argmin() < len(grid) - 1:
            lengths.append(length)
            logs.append([lowest(np.log(grid), one) for one in losses.T])
    return np.array(lengths, float), np.array(logs, float).reshape(len(lengths), study.first_seeds)


def exponents(
    lengths: Float[np.ndarray, " lengths"], logs: Float[np.ndarray, "lengths seeds"]
) -> Float[np.ndarray, " seeds"]:
    """Return for each seed the exponent e of the best rate ∝ length^e, by least squares."""
    return np.polyfit(np.log(lengths), logs, 1)[0]


def _falls(its: Float[np.ndarray, " seeds"]) -> tuple[str, Interval]:
    verdict, interval = judged(its, FLAT)
    return FAILS if verdict == LEVEL else verdict, interval


def _stays(its: Float[np.ndarray, " seeds"]) -> tuple[str, Interval]:
    interval = t_interval(its)
    return flat(interval), interval


def _said(init: str, its: Interval, over: str, claimed: str, parts: list[str]) -> str:
    if its == UNKNOWN:
        return f"{label_of(init)}'s best rate lies at the edge of the rates tried."
    return (
        f"{label_of(init)}'s best rate scales as the length of the run to the power "
        f"{its.mean:+.2g} ({ends(its, over, '+.2g')}); that it {claimed}: {counted(parts)}."
    )


CLAIM = Claim(
    number=10,
    name="rate-by-length",
    sentence="LoRA's best rate falls with the length of a run, and OLoRA's does not.",
    source=WITHOUT_REGRET,
    measured=(
        "The exponent of the length in each seed's best rate, over the evaluations of a study at "
        "constant rates, each of which ends a shorter run: negative for LoRA, whose B starts at "
        f"zero, and for OLoRA within ±{FLAT:.2f}, a factor of {LEVEL_WITHIN} in the rate per "
        "factor of four in the length."
    ),
    judge=on_study(judge),
)
