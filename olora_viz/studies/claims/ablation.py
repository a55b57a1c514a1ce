"""Claim: the QR of the pretrained weight is what helps."""

from __future__ import annotations

from dataclasses import replace

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OLORA,
    Bar,
    Claim,
    Finding,
    not_measured,
    together,
)
from olora_viz.studies.claims.compared import OnStudy, basis_of, counted, over_cells
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE, Interval
from olora_viz.studies.verdicts import Verdict, Verdicts, verdicts_of

BASES = {"random_orthonormal": "a random basis", "sketch": "a sketch of W"}
"""The starts that differ from OLoRA in the basis alone: B is orthonormal and A = BᵀW."""

OTHERS = ("olora_pivoted", "pissa", "pissa_flat", "olora_scaled", "olora_unsubtracted", REFERENCE)
"""The starts that differ in something else, which are reported and decide nothing."""

OF_CONTROL = {WORSE: HOLDS, BETTER: FAILS, LEVEL: LEVEL, UNDECIDED: UNDECIDED}
"""The verdict on the claim from that on a control against OLoRA."""


def judge(_: ClaimEvidence, found: Verdicts) -> Finding:
    """Judge the test losses of the controls against OLoRA's, each at its best rate."""
    lacking = [init for init in (OURS, *BASES) if init not in found.study.inits]
    if lacking:
        return not_measured(f"the study lacks {', '.join(lacking)}: add to its inits")
    inits = [init for init in (*BASES, *OTHERS) if init in found.study.inits]
    study = replace(found.study, inits=(OURS, *inits), reference=OURS)
    each = {init: _of(verdicts_of(study, found.rows), init) for init in inits}
    said = {init: [one.verdict for one in its] for init, its in each.items()}
    means = {init: _mean(its) for init, its in each.items()}
    rest = "; ".join(f"{label_of(init)}: {counted(said[init])}" for init in inits[len(BASES) :])
    return Finding(
        verdict=together([OF_CONTROL[word] for init in BASES for word in said[init]]),
        words=(
            "Each at its best rate and beside OLoRA, "
            + ", and ".join(_on(said[init], init, means[init]) for init in BASES)
            + f" ({basis_of(found)})."
            + (f" The other starts beside OLoRA: {rest}." if rest else "")
        ),
        numbers={
            "cells": len(study.cells()),
            **{f"{init}_{w}": its.count(w) for init, its in said.items() for w in OF_CONTROL},
            **{f"{init}_minus_olora": mean for init, mean in means.items() if mean},
        },
        seeds=study.seeds,
        bars=tuple(
            Bar(label_of(init), mean.mean, mean.low, mean.high)
            for init, mean in means.items()
            if mean
        ),
        unit="test loss minus OLoRA's, nats",
    )


def _of(found: Verdicts, init: str) -> list[Verdict]:
    return [one for one in found.each if one.init == init]


def _mean(each: list[Verdict]) -> Interval | None:
    """Return the mean over cells of the differences to OLoRA; None if too few seeds have ended."""
    paired = [one.difference.gap for one in each if one.seeds > 1]
    return over_cells(paired) if paired else None


def _on(said: list[str], init: str, mean: Interval | None) -> str:
    """Say how a control of the basis compares with OLoRA."""
    interval = (
        f" ({mean.mean:+.3g} nats on average, 95% {mean.low:+.3g} to {mean.high:+.3g})"
        if mean
        else ""
    )
    return f"{BASES[init]} in place of the QR's is {counted(said)}{interval}"


CLAIM = Claim(
    number=14,
    name="ablation",
    sentence="The QR of the pretrained weight is what helps.",
    source=f"{OLORA}, put to the test by controls that change one part each",
    measured=(
        "Paired differences in test loss, by seed and example, between OLoRA and the same start on "
        "another orthonormal basis (a random one, a sketch of W), in every cell and each at its "
        "best rate."
    ),
    judge=OnStudy(judge, inits=()),
)
