"""Claim: OLoRA costs no more than LoRA."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OLORA,
    RATIO,
    Bar,
    Claim,
    Finding,
    judged,
    together,
)
from olora_viz.studies.claims.costs import Costs
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.statistics import LEVEL, LEVEL_WITHIN

MOST_STEPS = 10
"""A start that takes as long as more steps, beyond LoRA's, costs more: a tenth of 100 steps."""


def judge(found: Costs) -> Finding:
    """Judge time and memory per step by their ratios; the start only if it is long."""
    said, ratio = judged(np.log(found.step[:, 1] / found.step[:, 0]), RATIO)
    in_time = HOLDS if said == LEVEL else said
    memory, trained = (its[1] / its[0] for its in (found.peak, found.trained))
    in_memory = HOLDS if math.log(max(memory, trained)) < RATIO else FAILS
    start, step = np.median(found.start, axis=0), float(np.median(found.step[:, 0]))
    worth = float(start[1] - start[0]) / step
    long = [FAILS] if worth > MOST_STEPS else []
    times = [math.exp(x) for x in ratio[:3]]
    return Finding(
        verdict=together([in_time, in_memory, *long]),
        words=(
            f"A step takes {times[0]:.3g} times LoRA's {1000 * step:.3g} ms (95% {times[1]:.3g} to "
            f"{times[2]:.3g}; {len(found.step)} races each, alternating; {in_time}), and its "
            f"tensors {memory:.3g} times LoRA's {found.peak[0] / 2**20:.3g} MiB ({in_memory}), "
            f"with {trained:.3g} times as many trained parameters. The start takes "
            f"{1000 * start[1]:.3g} ms against {1000 * start[0]:.3g} ms, a one-off extra cost of "
            f"{worth:.2g} LoRA steps. Here W stays as it is and each pass subtracts B⁰A⁰; with "
            "W − sB⁰A⁰ stored in its place, as in the paper, a step is LoRA's."
        ),
        numbers={
            "step_log_ratio": ratio, "step_seconds_lora": step, "peak_ratio": memory,
            "trained_ratio": trained, "start_seconds_lora": float(start[0]),
            "start_seconds_olora": float(start[1]), "start_in_steps": worth,
        },
        seeds=len(found.step),
        bars=(
            Bar("time per step", *times), Bar("memory per step", memory),
            Bar("trained parameters", trained),
        ),
        unit="times LoRA's",
    )  # fmt: skip


def measure(evidence: ClaimEvidence) -> Finding:
    """Judge the claim on this machine."""
    return judge(evidence.costs)


CLAIM = Claim(
    number=7,
    name="cost",
    sentence="OLoRA costs no more than LoRA.",
    source=f"{OLORA}, on its computational cost",
    measured=(
        "Seconds per step of one lane alone, alternating with LoRA's; trained parameters and the "
        f"most bytes of the tensors of a step. Within a factor of {LEVEL_WITHIN} they are level, "
        "which holds. The one-off start fails it only beyond 10 steps' worth more than LoRA's, a "
        "tenth of a race of 100 steps."
    ),
    judge=measure,
)
