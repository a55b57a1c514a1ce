"""Claim: the QR of the pretrained weight is what helps."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OLORA,
    Bar,
    Claim,
    Finding,
    OnStudy,
    counted,
    ends,
    level_within,
    not_measured,
    over_cells,
    over_of,
    together,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
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
    margins = [one.margin for its in each.values() for one in its]
    paired = {init: _paired(its) for init, its in each.items()}
    means = {init: over_cells(its) for init, its in paired.items() if its}
    rest = "; ".join(f"{label_of(init)}: {counted(said[init])}" for init in inits[len(BASES) :])
    return Finding(
        verdict=together([OF_CONTROL[word] for init in BASES for word in said[init]]),
        words=(
            "Each at its best rate and beside OLoRA, "
            + ", and ".join(_on(said[init], init, each[init]) for init in BASES)
            + "."
            + (f" The other starts beside OLoRA: {rest}." if rest else "")
            + level_within(study, [*chain(*said.values())], margins)
        ),
        numbers={
            "cells": len(study.cells()),
            **{f"{init}_{w}": its.count(w) for init, its in said.items() for w in OF_CONTROL},
            **{f"{init}_minus_olora": mean for init, mean in means.items()},
        },
        seeds=study.seeds,
        bars=tuple(Bar(label_of(init), mean.mean, mean.low, mean.high) for init, mean in means.items()),
        unit="test loss minus OLoRA's, nats",
        over=over_of(next(its for its in paired.values() if its)) if means else "",
    )


def _of(found: Verdicts, init: str) -> list[Verdict]:
    return [one for one in found.each if one.init == init]


def _paired(each: list[Verdict]) -> list[np.ndarray]:
    """Return the differences to OLoRA by cell, without those of which too few seeds have ended."""
    return [one.difference.gap for one in each if one.seeds > 1]


def _on(said: list[str], init: str, each: list[Verdict]) -> str:
    """Say how a control of the basis compares with OLoRA."""
    interval = ""
    if paired := _paired(each):
        mean = over_cells(paired)
        interval = f" ({mean.mean:+.3g} nats on average, {ends(mean, over_of(paired))})"
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
