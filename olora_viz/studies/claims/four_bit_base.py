"""Claim: on a base in four bits, a start from W's own factors leaves less error."""

from __future__ import annotations

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.machine.wording import and_
from olora_viz.measures.four_bits import Method
from olora_viz.studies.claims.claim import FAILS, HOLDS, MIXED, Bar, Claim, Finding, not_measured, together
from olora_viz.studies.claims.evidence import OWN_FACTORS, RANKS_ON_FOUR_BITS, REFERENCE, OnFourBits
from olora_viz.studies.statistics import LEVEL

MARGIN = 0.01
"""Which way a weight is rounded is as good as chance: an error that differs by less is level."""


def judge(on: OnFourBits) -> Finding:
    """Judge each start from W's own factors in every layer at every rank, but where it holds all of W."""
    if not on.error:
        return not_measured(f"a layer has less than rank {RANKS_ON_FOUR_BITS[0]}")
    methods, ranks = ([*dict.fromkeys(of)] for of in zip(*on.error, strict=True))
    every = {method: np.concatenate([on.error[method, r] for r in ranks]) for method in methods}
    cells = {method: errors[np.isfinite(errors)] for method, errors in every.items()}
    means = {at: float(np.nanmean(errors)) for at, errors in on.error.items()}
    drifts = {at: float(of.drift[0]) for at, of in on.held_out.items()}
    losses = {at: float(of.text_loss[0]) for at, of in on.held_out.items()}
    shown, r = [method for method in methods if method != REFERENCE], ranks[(len(ranks) - 1) // 2]
    alone = REFERENCE, r
    less = and_([f"{(cells[method] < 1 - MARGIN).sum()} with {_named(method)}" for method in shown])
    error = and_([f"{means[method, r]:.2f} with {_named(method)}" for method in shown])
    drift = and_([f"{drifts[method, r]:.2g} with {_named(method)}" for method in shown])
    return Finding(
        verdict=together([_verdict(cells[init]) for init in OWN_FACTORS]),
        words=(
            f"Of {len(cells[REFERENCE])} layers × ranks ({', '.join(map(str, ranks))}), the error is lower than in "
            f"four bits alone, by {MARGIN:.0%} or more, in {less}. As a multiple of that, on average at rank {r}, "
            f"it is {error}; no interval, since nothing is drawn but random starts. KL(float‖four bits) on held-out "
            f"answers is {drifts[alone]:.2g} in four bits alone, and at rank {r} {drift}. The loss is {on.loss:.3f} "
            f"in float, {losses[alone]:.3f} in four bits alone, and from {min(losses.values()):.3f} to "
            f"{max(losses.values()):.3f} over all of these."
        ),
        numbers={"loss": on.loss} | {
            f"{name}_{method}_{r}": values[method, r]
            for name, values in (("error", means), ("drift", drifts), ("loss", losses))
            for method, r in values
        },
        bars=tuple(Bar(_named(method), means[method, r]) for method in methods),
        unit=f"error at rank {r}, times that of W in four bits alone",
    )  # fmt: skip


def _named(method: Method) -> str:
    return label_of(method) if isinstance(method, str) else f"LoftQ (T = {method})"


def _verdict(errors: np.ndarray) -> str:
    """Judge that there is less error everywhere."""
    less = errors < 1 - MARGIN
    some = LEVEL if (errors <= 1 + MARGIN).all() else FAILS
    return HOLDS if less.all() else MIXED if less.any() else some


CLAIM = Claim(
    number=38,
    name="four-bit-base",
    sentence="On a 4-bit base, a start from W's own factors leaves less error.",
    source="PiSSA (arXiv 2404.02948), of itself; put to OLoRA and MiLoRA, with LoftQ (arXiv 2310.08659) beside them",
    measured=(
        "‖W − (Q + BA)‖ of PiSSA, OLoRA and MiLoRA over that of W in 4 bits alone, which is LoRA's, in every layer at "
        "several ranks: Q is W − BA rounded to NF4 in blocks of 64, with scales that are rounded too. Beside it, of "
        "LoftQ and random starts as well, stands how far a model of such layers is from the model in float."
    ),
    judge=lambda evidence: judge(evidence.on_four_bits),
)
