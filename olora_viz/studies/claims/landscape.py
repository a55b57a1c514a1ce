"""Claim: the loss landscape is better conditioned at the start."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.studies.claims.claim import (
    NOT_MEASURED,
    OLORA,
    RATIO,
    UNKNOWN,
    WITHIN,
    Bar,
    Claim,
    Finding,
    judged,
    level_means,
    together,
)
from olora_viz.studies.claims.evidence import ClaimEvidence, Landscape
from olora_viz.studies.statistics import LEVEL_WITHIN, Interval, t_interval


def judge(found: Landscape) -> Finding:
    """Compare largest eigenvalue and condition, paired by batch; the slope is told beside them."""
    sharpness, sharp = _compared(found.sharpness)
    condition, conditioned = _compared(found.condition)
    slope = t_interval(np.log(found.slope[:, 1] / found.slope[:, 0]))
    n = len(found.slope)
    said = [
        f"λ_max is {_times(sharp, sharpness)} LoRA's",
        f"the condition of the tangent kernel {_times(conditioned, condition)}"
        if condition != NOT_MEASURED
        else "the condition of a tangent kernel is infinite",
        f"the gradient norm {_times(slope)}",
    ]
    return Finding(
        verdict=together([sharpness, condition]),
        words=(
            f"At the start, {said[0]}, {said[1]} and {said[2]} (all 95% over {n} batches)."
            f"{level_means([sharpness, condition], WITHIN)}"
        ),
        numbers={"lambda_max_log_ratio": sharp, "condition_log_ratio": conditioned, "gradient_log_ratio": slope},
        seeds=n,
        bars=tuple(
            Bar(label, *(math.exp(x) for x in (its.mean, its.low, its.high)))
            for label, its in (("λ_max", sharp), ("condition", conditioned), ("gradient", slope))
            if math.isfinite(its.mean)
        ),
        unit="times LoRA's",
        over=f"{n} batches",
    )


def _compared(values: np.ndarray) -> tuple[str, Interval]:
    """Judge that OLoRA's positive numbers are smaller than LoRA's, by their ratio."""
    if not (np.isfinite(values) & (values > 0)).all():
        return NOT_MEASURED, UNKNOWN
    return judged(np.log(values[:, 1] / values[:, 0]), RATIO)


def _times(its: Interval, said: str = "") -> str:
    mean, low, high = (math.exp(x) for x in (its.mean, its.low, its.high))
    return f"{mean:.3g} times ({low:.3g} to {high:.3g}{f'; {said}' if said else ''})"


def measure(evidence: ClaimEvidence) -> Finding:
    """Judge the claim at the start of a race."""
    return judge(evidence.landscape)


CLAIM = Claim(
    number=3,
    name="landscape",
    sentence="The loss landscape is better conditioned at an orthonormal start.",
    source=f"{OLORA}, on the benefits of orthonormality",
    measured=(
        "The largest eigenvalue of the Hessian and the condition of the tangent kernel, against "
        "LoRA's, paired by batch: both smaller is better conditioned. Within a factor of "
        f"{LEVEL_WITHIN} they are level."
    ),
    judge=measure,
)
