"""Claim: orthonormality regularizes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from olora_viz.machine.text import compact
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    OLORA,
    Bar,
    Claim,
    Curve,
    Finding,
    OnStudy,
    counted,
    curves,
    ends,
    judged,
    level_within,
    ours,
    reference,
    together,
    where,
)
from olora_viz.studies.claims.evidence import DRIFT_LR, ClaimEvidence, Drift
from olora_viz.studies.statistics import LEAST_SEEDS, UNDECIDED, Interval, t_interval
from olora_viz.studies.study import Cell, Trial
from olora_viz.studies.verdicts import Verdict, Verdicts

TOLERANCE = 0.1
"""B counts as orthonormal while ‖BᵀB − I‖ / √r is below it."""


def judge(found: Verdicts, by_trial: Mapping[Trial, Curve], drift: Drift) -> Finding:
    """Judge the gap in every cell at equal training loss, and whether B stays orthonormal."""
    study, said, margins, kept, bars = found.study, [], [], {}, []
    for one in ours(found):
        gaps = gaps_of(found, by_trial, one)
        if len(gaps) < LEAST_SEEDS:
            said.append(NOT_MEASURED)
            margins.append(math.nan)
            continue
        base = next(row["base_valid_loss"] for its, row in found.rows.items() if its.cell == one.cell)
        level, _, theirs = gaps.mean(0)
        margins.append(study.margin * (base - level - theirs))
        verdict, interval = judged(gaps[:, 1] - gaps[:, 2], margins[-1])
        said.append(verdict)
        kept[one.cell] = gaps, interval
        label = f"gap {where(study, one.cell)}".strip()
        bars.append(Bar(label, interval.mean, interval.low, interval.high))
    stays, its = stays_orthonormal(drift)
    orthonormal = _said(drift, stays)
    numbers: dict[str, float | Interval] = {"orthonormality_error": its}
    if not kept:
        return Finding(
            NOT_MEASURED,
            "The training losses of the study's runs are those of examples that they had not been "
            "trained on, or no training loss was reached by both: a study whose runs read "
            "the training examples several times, with a small eval_every, would decide it. "
            f"{orthonormal}",
            numbers,
        )
    cell, (gaps, interval) = next(iter(kept.items()))
    level, mine, theirs = gaps.mean(0)
    return Finding(
        verdict=together([*said, stays]),
        words=(
            f"At equal training loss ({level:.3g} nats, the lowest that both reach) the validation "
            f"loss exceeds it by {mine:.3g} with OLoRA and {theirs:.3g} with LoRA, a difference of "
            f"{interval.mean:+.3g} ({ends(interval, f'{len(gaps)} seeds')}{_in(found, cell)}). "
            f"That the gap is smaller: {counted(said)}.{level_within(study, said, margins)} "
            f"{orthonormal}"
        ),
        numbers=numbers | {"gap_difference": interval, "training_loss": level},
        seeds=study.seeds,
        bars=tuple(bars),
        unit="validation minus training loss, OLoRA's minus LoRA's, nats",
        over=f"{len(gaps)} seeds",
    )


def gaps_of(found: Verdicts, by_trial: Mapping[Trial, Curve], one: Verdict) -> np.ndarray:
    """Return training loss and both methods' gaps (seeds, 3), each method at its best rate.

    The training loss of a seed is the lowest that both of its runs reach. Seeds whose runs do not both have it between
    two evaluations are left out.
    """
    rates = one.best_lr, reference(found, one).best_lr
    rows = []
    for seed in range(found.study.seeds) if None not in rates else ():
        runs = _pair(one.cell, one.init, found.study.reference, rates, seed)
        pair = [by_trial[its] for its in runs if its in by_trial]
        if len(pair) == 2 and all(np.isfinite(its.training).any() for its in pair):
            level = max(float(np.nanmin(its.training)) for its in pair)
            rows.append([level, *(validation_at(level, its) - level for its in pair)])
    made = np.array(rows, float).reshape(-1, 3)
    return made[np.isfinite(made).all(1)]


def validation_at(level: float, curve: Curve) -> float:
    """Return the validation loss where the training loss first falls to a level.

    It is linear in the training loss between two evaluations; NaN if it starts below the level.
    """
    below = np.flatnonzero(curve.training <= level)
    if not len(below):
        return math.nan
    at = int(below[0])
    if at == 0:
        return float(curve.validation[0]) if curve.training[0] == level else math.nan
    x, y = curve.training[[at, at - 1]], curve.validation[[at, at - 1]]
    return float(np.interp(level, x, y))


def stays_orthonormal(drift: Drift) -> tuple[str, Interval]:
    """Judge that B is orthonormal within `TOLERANCE` after all steps of a race."""
    its = t_interval(drift.errors[-1])
    if its.high < TOLERANCE:
        return HOLDS, its
    return FAILS if its.low > TOLERANCE else UNDECIDED, its


def _pair(cell: Cell, mine: str, theirs: str, rates: tuple[float | None, ...], seed: int) -> list[Trial]:
    both = zip((mine, theirs), rates, strict=True)
    return [Trial(cell, init, lr, seed) for init, lr in both if lr is not None]


def _said(drift: Drift, stays: str) -> str:
    start, *later = (f"{its:.2g}" if its > 1e-5 else "0" for its in drift.errors.mean(1))
    after = [f"{its} after {n}" for n, its in zip(drift.steps[1:], later, strict=True)]
    return (
        f"In a race at a rate of {compact(DRIFT_LR)}, ‖BᵀB − I‖/√r goes from {start} to "
        f"{', '.join(after)} steps. That it stays below {TOLERANCE:g}: {stays} (0 is orthonormal, "
        f"1 is B = 0; {drift.errors.shape[1]} seeds)."
    )


def _in(found: Verdicts, cell: Cell) -> str:
    return f", {its}" if (its := where(found.study, cell)) else ""


def measure(evidence: ClaimEvidence, found: Verdicts) -> Finding:
    """Judge the claim on the runs at best rates, and on a short race."""
    wanted = [
        trial
        for one in ours(found)
        for seed in range(found.study.seeds)
        for trial in _pair(
            one.cell, one.init, found.study.reference, (one.best_lr, reference(found, one).best_lr), seed
        )
    ]
    known = curves(found, wanted) if found.folder else {}
    return judge(found, known, evidence.drift)


CLAIM = Claim(
    number=8,
    name="regularizes",
    sentence="Orthonormality regularizes, and training keeps it.",
    source=f"{OLORA}, on the benefits of orthonormality",
    measured=(
        "Validation minus training loss at the lowest training loss that both methods reach, each "
        "at its best rate, paired by seed, after the first pass over the training examples; and "
        f"whether ‖BᵀB − I‖/√r stays below {TOLERANCE:g} in 20 steps at a rate of "
        f"{compact(DRIFT_LR)}."
    ),
    judge=OnStudy(measure),
)
