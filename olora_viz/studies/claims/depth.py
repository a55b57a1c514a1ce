"""Claim: an orthonormal start keeps gradients from vanishing or exploding with depth."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.claim import (
    OLORA,
    RATIO,
    WITHIN,
    Bar,
    Claim,
    Finding,
    ends,
    judged,
    level_means,
    not_measured,
)
from olora_viz.studies.claims.evidence import ClaimEvidence, Depth
from olora_viz.studies.statistics import LEVEL_WITHIN, Interval, t_interval


def spread(found: Depth) -> Float[np.ndarray, "seeds starts"]:
    """Return the log ratio of the largest to the smallest gradient over depth.

    Layers of one kind are compared with each other, and the mean is taken over the kinds.
    """
    kinds = defaultdict(list)
    for i, name in enumerate(found.layers):
        kinds[name.rsplit(".", 1)[-1]].append(i)
    several = [at for at in kinds.values() if len(at) > 1]
    logs = np.log(found.norms)
    return np.mean([np.ptp(logs[..., at], axis=-1) for at in several], axis=0)


def judge(found: Depth) -> Finding:
    """Compare how much gradients differ over depth, paired by seed."""
    if len({name.rsplit(".", 1)[-1] for name in found.layers}) == len(found.layers):
        return not_measured("the model has one block: there is no depth")
    by_start = spread(found)
    said, interval = judged(by_start[:, 1] - by_start[:, 0], RATIO)
    each = [np.exp(t_interval(logs)[:3]) for logs in by_start.T]
    lora, ours = (float(mean) for mean, _, _ in each)
    mean, low, high = np.exp(interval[:3]).tolist()
    ratio = Interval(mean, low, high, interval.p_value)
    over = f"{len(by_start)} seeds, each on its own batch"
    return Finding(
        verdict=said,
        words=(
            f"Between layers of one kind the largest gradient is {ours:.3g} times the smallest "
            f"with OLoRA and {lora:.3g} times with LoRA: a ratio of {ratio.mean:.2g} "
            f"({ends(ratio, over, '.2g')}; {said}).{level_means([said], WITHIN)} The gradients at "
            "the layers' inputs are the same, since both start as the base model."
        ),
        numbers={"log_ratio": interval, "olora": ours, "lora": lora},
        seeds=len(by_start),
        bars=tuple(Bar(name, *map(float, its)) for name, its in zip(("LoRA", "OLoRA"), each, strict=True)),
        unit="largest over smallest gradient norm between blocks",
        over=over,
    )


def measure(evidence: ClaimEvidence) -> Finding:
    """Judge the claim at the start of a race."""
    return judge(evidence.depth)


CLAIM = Claim(
    number=2,
    name="depth",
    sentence="An orthonormal start keeps gradients from vanishing or exploding with depth.",
    source=f"{OLORA}, on the benefits of orthonormality",
    measured=(
        "The norm of the gradient of A and B together in the first step, by layer: the largest as "
        "a multiple of the smallest among layers of one kind, relative to LoRA's, paired by seed. "
        f"Within a factor of {LEVEL_WITHIN} they are level."
    ),
    judge=measure,
)
