"""Claim: OLoRA costs no more than LoRA."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OLORA_PAPER,
    WITHIN,
    Bar,
    Claim,
    Finding,
    ends,
    judged,
    ratio_of,
    together,
)
from olora_viz.studies.claims.evidence import Costs
from olora_viz.studies.statistics import LEVEL, LEVEL_LOG_RATIO, LEVEL_WITHIN

MOST_STEPS = 10
"""A start that takes as long as more steps, beyond LoRA's, costs more: a tenth of 100 steps."""


def judge(costs: Costs) -> Finding:
    """Judge time and memory per step by their ratios; the start only if it is long."""
    verdict, log_ratio = judged(np.log(costs.step[:, 1] / costs.step[:, 0]), LEVEL_LOG_RATIO)
    in_time = HOLDS if verdict == LEVEL else verdict
    memory, trained = (ours / theirs for theirs, ours in (costs.peak, costs.trained))
    in_memory = HOLDS if math.log(max(memory, trained)) < LEVEL_LOG_RATIO else FAILS
    start, step = np.median(costs.start, axis=0), float(np.median(costs.step[:, 0]))
    worth = float(start[1] - start[0]) / step
    long = [FAILS] if worth > MOST_STEPS else []
    times = ratio_of(log_ratio)
    over = f"{len(costs.step)} races each, alternating"
    time_words, memory_words = (
        f"{part} {WITHIN}" if is_level else part
        for part, is_level in ((in_time, verdict == LEVEL), (in_memory, in_memory == HOLDS))
    )
    return Finding(
        verdict=together([in_time, in_memory, *long]),
        words=(
            f"A step takes {times.mean:.3g} times LoRA's {1000 * step:.3g} ms ({ends(times, over, '.3g')}; "
            f"{time_words}), and its tensors {memory:.3g} times LoRA's {costs.peak[0] / 2**20:.3g} MiB, with "
            f"{trained:.3g} times as many trained parameters ({memory_words}). The start takes {1000 * start[1]:.3g} "
            f"ms against {1000 * start[0]:.3g} ms, a one-off extra cost of {worth:.2g} LoRA steps (up to {MOST_STEPS} "
            "do not count). Here W stays as it is and each pass subtracts B⁰A⁰; with W − sB⁰A⁰ stored in its place, "
            "as in the paper, a step is LoRA's."
        ),
        numbers={
            "step_log_ratio": log_ratio, "step_seconds_lora": step, "peak_ratio": memory,
            "trained_ratio": trained, "start_seconds_lora": float(start[0]),
            "start_seconds_olora": float(start[1]), "start_in_steps": worth,
        },
        seeds=len(costs.step),
        bars=(
            Bar.of("time per step", times),
            Bar("memory per step", memory),
            Bar("trained parameters", trained),
        ),
        unit="times LoRA's",
        over=over,
    )  # fmt: skip


CLAIM = Claim(
    number=7,
    name="cost",
    sentence="OLoRA costs no more than LoRA.",
    source=f"{OLORA_PAPER}, on its computational cost",
    measured=(
        "Seconds per step of one lane alone, alternating with LoRA's; trained parameters and the most bytes of the "
        f"tensors of a step. Within a factor of {LEVEL_WITHIN} they are level, which holds. The one-off start fails "
        "it only beyond 10 steps' worth more than LoRA's, a tenth of a race of 100 steps."
    ),
    judge=lambda evidence: judge(evidence.costs),
)
