"""Claim: OLoRA costs no more than LoRA."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OLORA,
    RATIO,
    WITHIN,
    Bar,
    Claim,
    Finding,
    ends,
    judged,
    together,
)
from olora_viz.studies.claims.evidence import ClaimEvidence, Costs
from olora_viz.studies.statistics import LEVEL, LEVEL_WITHIN, Interval

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
    mean, low, high = (math.exp(x) for x in ratio[:3])
    times = Interval(mean, low, high, ratio.p_value)
    over = f"{len(found.step)} races each, alternating"
    words = [f"{part} {WITHIN}" for part in (in_time, in_memory)]
    time_words = words[0] if said == LEVEL else in_time
    memory_words = words[1] if in_memory == HOLDS else in_memory
    return Finding(
        verdict=together([in_time, in_memory, *long]),
        words=(
            f"A step takes {times.mean:.3g} times LoRA's {1000 * step:.3g} ms "
            f"({ends(times, over, '.3g')}; {time_words}), and its tensors {memory:.3g} times "
            f"LoRA's {found.peak[0] / 2**20:.3g} MiB, with {trained:.3g} times as many trained "
            f"parameters ({memory_words}). The start takes {1000 * start[1]:.3g} ms against "
            f"{1000 * start[0]:.3g} ms, a one-off extra cost of {worth:.2g} LoRA steps (up to "
            f"{MOST_STEPS} do not count). Here W stays as it is and each pass subtracts B⁰A⁰; with "
            "W − sB⁰A⁰ stored in its place, as in the paper, a step is LoRA's."
        ),
        numbers={
            "step_log_ratio": ratio, "step_seconds_lora": step, "peak_ratio": memory,
            "trained_ratio": trained, "start_seconds_lora": float(start[0]),
            "start_seconds_olora": float(start[1]), "start_in_steps": worth,
        },
        seeds=len(found.step),
        bars=(
            Bar("time per step", *times[:3]), Bar("memory per step", memory),
            Bar("trained parameters", trained),
        ),
        unit="times LoRA's",
        over=over,
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
