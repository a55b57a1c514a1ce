"""Claim: an orthonormal start keeps gradients from vanishing or exploding with depth."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from olora_viz.studies.claims.claim import (
    OLORA_PAPER,
    WITHIN,
    Bar,
    Claim,
    Finding,
    ends,
    judged,
    level_means,
    not_measured,
    ratio_of,
)
from olora_viz.studies.claims.evidence import Depth
from olora_viz.studies.statistics import LEVEL_LOG_RATIO, LEVEL_WITHIN, t_interval


def judge(gradients: Depth) -> Finding:
    """Compare how much gradients differ over depth, paired by seed.

    It is the log ratio of the largest to the smallest gradient among layers of one kind; the mean over the kinds.
    """
    kinds = defaultdict(list)
    for i, name in enumerate(gradients.layers):
        kinds[name.rsplit(".", 1)[-1]].append(i)
    several = [places for places in kinds.values() if len(places) > 1]
    if not several:
        return not_measured("the model has one block: there is no depth")
    logs = np.log(gradients.norms)
    by_start = np.mean([np.ptp(logs[..., places], axis=-1) for places in several], axis=0)
    verdict, interval = judged(by_start[:, 1] - by_start[:, 0], LEVEL_LOG_RATIO)
    starts = [ratio_of(t_interval(of_start)) for of_start in by_start.T]
    lora, ours = (start.mean for start in starts)
    ratio = ratio_of(interval)
    over = f"{len(by_start)} seeds, each on its own batch"
    return Finding(
        verdict=verdict,
        words=(
            f"Between layers of one kind the largest gradient is {ours:.3g} times the smallest "
            f"with OLoRA and {lora:.3g} times with LoRA: a ratio of {ratio.mean:.2g} "
            f"({ends(ratio, over, '.2g')}; {verdict}).{level_means([verdict], WITHIN)} The gradients at "
            "the layers' inputs are the same, since both start as the base model."
        ),
        numbers={"log_ratio": interval, "olora": ours, "lora": lora},
        seeds=len(by_start),
        bars=tuple(map(Bar.of, ("LoRA", "OLoRA"), starts)),
        unit="largest over smallest gradient norm between blocks",
        over=over,
    )


CLAIM = Claim(
    number=2,
    name="depth",
    sentence="An orthonormal start keeps gradients from vanishing or exploding with depth.",
    source=f"{OLORA_PAPER}, on the benefits of orthonormality",
    measured=(
        "The norm of the gradient of A and B together in the first step, by layer: the largest as "
        "a multiple of the smallest among layers of one kind, relative to LoRA's, paired by seed. "
        f"Within a factor of {LEVEL_WITHIN} they are level."
    ),
    judge=lambda evidence: judge(evidence.depth),
)
