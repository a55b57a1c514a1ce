"""Claim: the QR of the pretrained weight is what helps."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from olora_viz.studies.claims.beside import finding_of_means, standing
from olora_viz.studies.claims.claim import (
    OF_WORSE,
    OLORA_PAPER,
    Claim,
    Finding,
    OnStudy,
    counted,
    level_within,
    not_measured,
    together,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts, verdicts_of

BASES = {"random_orthonormal": "a random basis", "sketch": "a sketch of W"}
"""The starts that differ from OLoRA in the basis alone: B is orthonormal and A = BᵀW."""

ABLATED = ("olora_pivoted", "pissa", "pissa_flat", "olora_scaled", "olora_unsubtracted", REFERENCE)
"""The starts that differ in something else, which are reported and decide nothing."""


def judge(_: ClaimEvidence, verdicts: Verdicts) -> Finding:
    """Judge the test losses of the controls against OLoRA's, each at its best rate."""
    lacking = [init for init in (OURS, *BASES) if init not in verdicts.study.compare]
    if lacking:
        return not_measured(f"the study lacks {', '.join(lacking)}: add them to what it compares")
    inits = [init for init in (*BASES, *ABLATED) if init in verdicts.study.compare]
    study = replace(verdicts.study, compare=(OURS, *inits))
    against_ours = verdicts_of(study, verdicts.rows).each
    cells = {init: [each for each in against_ours if each.method == init] for init in inits}
    words = {init: [each.verdict for each in cells[init]] for init in inits}
    margins = [each.margin for each in chain(*cells.values())]
    differences = {init: [each.difference for each in cells[init]] for init in inits}
    bases = [
        f"{name} in place of the QR's is {standing(words[init], differences[init])}" for init, name in BASES.items()
    ]
    others = "; ".join(f"{method_name(init)}: {counted(words[init])}" for init in inits[len(BASES) :])
    counts = {f"{init}_{word}": words[init].count(word) for init in inits for word in OF_WORSE}
    return finding_of_means(
        together([OF_WORSE[word] for init in BASES for word in words[init]]),
        f"Each at its best rate and beside OLoRA, {', and '.join(bases)}."
        + (f" The other starts beside OLoRA: {others}." if others else "")
        + level_within(study, [*chain(*words.values())], margins),
        {"cells": len(study.cells()), **counts},
        differences,
        called="{}_minus_olora",
        unit="test loss minus OLoRA's, nats",
        seeds=study.seeds,
    )


CLAIM = Claim(
    number=14,
    name="ablation",
    sentence="The QR of the pretrained weight is what helps.",
    source=f"{OLORA_PAPER}, put to the test by controls that change one part each",
    measured=(
        "Paired differences in test loss, by seed and example, between OLoRA and the same start on another "
        "orthonormal basis (a random one, a sketch of W), in every cell and each at its best rate."
    ),
    judge=OnStudy(judge, methods=()),
)
