"""Claim: orthonormality regularizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.machine.wording import compact
from olora_viz.races.run import read_config, read_steps, read_summary
from olora_viz.races.step import Step
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    OLORA_PAPER,
    Bar,
    Claim,
    Finding,
    OnStudy,
    counted,
    ends,
    judged,
    level_within,
    ours,
    together,
    where,
)
from olora_viz.studies.claims.evidence import DRIFT_LR, ClaimEvidence, Drift
from olora_viz.studies.statistics import LEAST_SEEDS, UNDECIDED, Interval, t_interval
from olora_viz.studies.study import Trial
from olora_viz.studies.verdicts import Verdict, Verdicts
from olora_viz.tasks.evaluation import HeldOut

ORTHONORMAL_WITHIN = 0.1
"""B counts as orthonormal while ‖BᵀB − I‖ / √r is below it."""


class LossCurve(NamedTuple):
    """Losses of one run at its evaluations, from those of which training has begun to repeat."""

    training: Float[np.ndarray, " n"]
    """The mean over the steps around the evaluation, as many before it as after it, nats."""
    validation: Float[np.ndarray, " n"]


def judge(verdicts: Verdicts, curves: Mapping[Trial, LossCurve], drift: Drift) -> Finding:
    """Judge the gap in every cell at equal training loss, and whether B stays orthonormal."""
    study, parts, margins, measured = verdicts.study, [], [], {}
    for cell in ours(verdicts):
        gaps = gaps_of(verdicts, curves, cell)
        part, margin = NOT_MEASURED, math.nan
        if len(gaps) >= LEAST_SEEDS:
            level, _, theirs = gaps.mean(0)
            margin = study.margin * (verdicts.base_loss(cell.cell) - level - theirs)
            part, interval = judged(gaps[:, 1] - gaps[:, 2], margin)
            measured[cell.cell] = gaps, interval
        parts.append(part)
        margins.append(margin)
    stays, error = stays_orthonormal(drift)
    orthonormal = _orthonormal_words(drift, stays)
    numbers: dict[str, float | Interval] = {"orthonormality_error": error}
    if not measured:
        return Finding(
            NOT_MEASURED,
            "The training losses of the study's runs are those of examples that they had not been trained on, or no "
            "training loss was reached by both: a study whose runs read the training examples several times, with a "
            f"small eval_every, would decide it. {orthonormal}",
            numbers,
        )
    cell, (gaps, interval) = next(iter(measured.items()))
    level, mine, theirs = gaps.mean(0)
    over, place = f"{len(gaps)} seeds", where(study, cell)
    return Finding(
        verdict=together([*parts, stays]),
        words=(
            f"At equal training loss ({level:.3g} nats, the lowest that both reach) the validation loss exceeds it by "
            f"{mine:.3g} with OLoRA and {theirs:.3g} with LoRA, a difference of {interval.mean:+.3g} "
            f"({ends(interval, over)}{f', {place}' if place else ''}). That the gap is smaller: "
            f"{counted(parts)}.{level_within(study, parts, margins)} {orthonormal}"
        ),
        numbers=numbers | {"gap_difference": interval, "training_loss": level},
        seeds=study.seeds,
        bars=tuple(Bar.of(f"gap {where(study, cell)}", interval) for cell, (_, interval) in measured.items()),
        unit="validation minus training loss, OLoRA's minus LoRA's, nats",
        over=over,
    )


def gaps_of(verdicts: Verdicts, curves: Mapping[Trial, LossCurve], ours: Verdict) -> np.ndarray:
    """Return training loss and both methods' gaps (seeds, 3), each method at its best rate.

    The training loss of a seed is the lowest that both of its runs reach. Seeds whose runs do not both have it between
    two evaluations are left out.
    """
    rows = []
    for pair in _pairs(verdicts, ours):
        known = [curves[trial] for trial in pair if trial in curves]
        if len(known) == 2 and all(np.isfinite(curve.training).any() for curve in known):
            level = max(float(np.nanmin(curve.training)) for curve in known)
            rows.append([level, *(validation_at(level, curve) - level for curve in known)])
    gaps = np.array(rows, float).reshape(-1, 3)
    return gaps[np.isfinite(gaps).all(1)]


def validation_at(level: float, curve: LossCurve) -> float:
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
    """Judge that B is orthonormal within `ORTHONORMAL_WITHIN` after all steps of a race."""
    error = t_interval(drift.errors[-1])
    if error.high < ORTHONORMAL_WITHIN:
        return HOLDS, error
    return FAILS if error.low > ORTHONORMAL_WITHIN else UNDECIDED, error


def _pairs(verdicts: Verdicts, ours: Verdict) -> list[tuple[Trial, Trial]]:
    """Return the trials of OLoRA and the reference by seed, each at its best rate; none if one has no such rate."""
    study = verdicts.study
    best = {each.method: each.best for each in verdicts.of(ours.cell)}
    candidates = [(method, best[method]) for method in (ours.method, study.reference)]
    pair = [study.trials(ours.cell, method, [at]) for method, at in candidates if at is not None]
    return list(zip(*pair, strict=True)) if len(pair) == 2 else []


def _orthonormal_words(drift: Drift, stays: str) -> str:
    start, *later = (f"{error:.2g}" if error > 1e-5 else "0" for error in drift.errors.mean(1))
    after = [f"{error} after {n}" for n, error in zip(drift.steps[1:], later, strict=True)]
    return (
        f"In a race at a rate of {compact(DRIFT_LR)}, ‖BᵀB − I‖/√r goes from {start} to {', '.join(after)} steps. "
        f"That it stays below {ORTHONORMAL_WITHIN:g}: {stays} (0 is orthonormal, 1 is B = 0; "
        f"{drift.errors.shape[1]} seeds)."
    )


def curves_of(verdicts: Verdicts, trials: Iterable[Trial]) -> dict[Trial, LossCurve]:
    """Return the curves of some runs of a study, one run folder after the other.

    A step whose batch is new to the run has the loss of examples that it has not been trained on, so a window begins
    after the first pass over the training examples.

    Raises:
        ValueError: a run folder is damaged or was removed.
        OSError: likewise.
    """
    by_run: dict[str, set[Trial]] = {}
    for trial in trials:
        if trial in verdicts.rows:
            by_run.setdefault(verdicts.rows[trial]["run"], set()).add(trial)
    curves = {}
    for run, wanted in by_run.items():
        assert verdicts.folder is not None
        folder = verdicts.folder / "runs" / run
        config, summary = read_config(folder), read_summary(folder)
        if summary is None:
            raise ValueError(f"{str(folder)!r} has no summary of its race")
        first = math.ceil(summary["examples"]["train"] / config.batch_size)
        about = summary.get("held_out")  # which earlier versions did not write
        losses = losses_around(read_steps(folder), first, about and HeldOut(**about))
        for k, lane in enumerate(config.lanes):
            trial = verdicts.study.trial_of(config, lane)
            if trial in wanted:
                curves[trial] = LossCurve(*losses[:, :, k])
    return curves


def losses_around(steps: list[Step], first: int, held_out: HeldOut | None) -> Float[np.ndarray, "2 n lanes"]:
    """Return training and validation losses of every lane at the evaluations, both of all supervised tokens.

    The training loss of step t is that of the parameters after t − 1 steps, so the steps around an evaluation after
    step e are those from e + 1 − h to e + 1 + h, where h is half the number of steps between evaluations. Evaluations
    without all of them are left out.

    Args:
        first: the steps of the first pass over the training examples, which are not read.
    """
    at = [step.step for step in steps if step.eval_loss is not None]
    half = max(1, (at[1] - at[0]) // 2) if len(at) > 1 else 1
    whole = [e for e in at if e + 1 - half > first and e + 1 + half <= len(steps)]
    losses = np.array([step.loss for step in steps])
    training = [losses[e - half : e + half + 1].mean(0) for e in whole]
    results = ((steps[e - 1].eval_loss, steps[e - 1].eval_examples) for e in whole)
    validation = [
        held_out.supervised_loss(loss, examples.boilerplate_loss) if held_out else loss
        for loss, examples in results
        if loss is not None and examples is not None
    ]
    return np.array([training, validation], float).reshape(2, len(whole), losses.shape[1])


def measure(evidence: ClaimEvidence, verdicts: Verdicts) -> Finding:
    """Judge the claim on the runs at best rates, and on a short race."""
    trials = [trial for cell in ours(verdicts) for pair in _pairs(verdicts, cell) for trial in pair]
    return judge(verdicts, curves_of(verdicts, trials) if verdicts.folder else {}, evidence.drift)


CLAIM = Claim(
    number=8,
    name="regularizes",
    sentence="Orthonormality regularizes, and training keeps it.",
    source=f"{OLORA_PAPER}, on the benefits of orthonormality",
    measured=(
        "Validation minus training loss at the lowest training loss that both methods reach, each at its best rate, "
        "paired by seed, after the first pass over the training examples; and whether ‖BᵀB − I‖/√r stays below "
        f"{ORTHONORMAL_WITHIN:g} in 20 steps at a rate of {compact(DRIFT_LR)}."
    ),
    judge=OnStudy(measure),
)
