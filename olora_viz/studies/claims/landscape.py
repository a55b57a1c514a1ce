"""Claim: the loss landscape is better conditioned at the start."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.studies.claims.claim import (
    NOT_MEASURED,
    OLORA_PAPER,
    WITHIN,
    Bar,
    Claim,
    Finding,
    judged,
    level_means,
    ratio_of,
    together,
)
from olora_viz.studies.claims.evidence import Landscape
from olora_viz.studies.statistics import LEVEL_LOG_RATIO, LEVEL_WITHIN, UNKNOWN, Interval, t_interval


def judge(curvature: Landscape) -> Finding:
    """Compare largest eigenvalue and condition, paired by batch; the slope stands beside them."""
    sharpness, sharp = _compared(curvature.sharpness)
    condition, conditioned = _compared(curvature.condition)
    slope = t_interval(np.log(curvature.slope[:, 1] / curvature.slope[:, 0]))
    over = f"{len(curvature.slope)} batches"
    of_kernel = (
        "the condition of a tangent kernel is infinite"
        if condition == NOT_MEASURED
        else f"the condition of the tangent kernel {_times(conditioned, condition)}"
    )
    return Finding(
        verdict=together([sharpness, condition]),
        words=(
            f"At the start, λ_max is {_times(sharp, sharpness)} LoRA's, {of_kernel} and the gradient norm "
            f"{_times(slope)} (all 95% over {over}).{level_means([sharpness, condition], WITHIN)}"
        ),
        numbers={"lambda_max_log_ratio": sharp, "condition_log_ratio": conditioned, "gradient_log_ratio": slope},
        seeds=len(curvature.slope),
        bars=tuple(
            Bar.of(label, ratio_of(log))
            for label, log in (("λ_max", sharp), ("condition", conditioned), ("gradient", slope))
            if math.isfinite(log.mean)
        ),
        unit="times LoRA's",
        over=over,
    )


def _compared(values: np.ndarray) -> tuple[str, Interval]:
    """Judge that OLoRA's positive numbers are smaller than LoRA's, by their ratio."""
    if not (np.isfinite(values) & (values > 0)).all():
        return NOT_MEASURED, UNKNOWN
    return judged(np.log(values[:, 1] / values[:, 0]), LEVEL_LOG_RATIO)


def _times(log: Interval, verdict: str = "") -> str:
    mean, low, high = ratio_of(log)[:3]
    return f"{mean:.3g} times ({low:.3g} to {high:.3g}{f'; {verdict}' if verdict else ''})"


CLAIM = Claim(
    number=3,
    name="landscape",
    sentence="The loss landscape is better conditioned at an orthonormal start.",
    source=f"{OLORA_PAPER}, on the benefits of orthonormality",
    measured=(
        "The largest eigenvalue of the Hessian and the condition of the tangent kernel, against LoRA's, paired by "
        f"batch: both smaller is better conditioned. Within a factor of {LEVEL_WITHIN} they are level."
    ),
    judge=lambda evidence: judge(evidence.landscape),
)
