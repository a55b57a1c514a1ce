"""Claim: OLoRA ends better than LoRA."""

from __future__ import annotations

from olora_viz.machine.wording import counted
from olora_viz.studies.claims.claim import (
    OF_VERDICT,
    OLORA_PAPER,
    Bar,
    Claim,
    Finding,
    basis_of,
    ends,
    level_within,
    not_measured,
    on_study,
    ours,
    over_compared,
    over_of,
    together,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.method import method_name
from olora_viz.studies.sentences import in_cells
from olora_viz.studies.statistics import UNDECIDED
from olora_viz.studies.verdicts import Verdicts

WITHOUT = "At one shared rate nothing is compared, as at no rate of the grid has every seed of both finished."


def judge(verdicts: Verdicts) -> Finding:
    """Judge the test losses at one shared rate and at best rates, over all cells."""
    cells = ours(verdicts)
    if not any(cell.seeds for cell in cells):
        return not_measured("no seed of the study was finished by both")
    compared = [cell for cell in cells if cell.shared_lr is not None]
    shared, best = [cell.verdict_shared_rate for cell in compared], [cell.verdict for cell in cells]
    known = [cell.difference for cell in cells if cell.seeds > 1]
    mean, paired = over_compared(known) if known else None, [each.gap for each in known]
    difference = (
        f" On average its test loss minus LoRA's is {mean.mean:+.3g} nats at best rates "
        f"({ends(mean, over_of(paired))})."
        if mean
        else ""
    )
    who, basis = (method_name(OURS), method_name(REFERENCE)), basis_of(verdicts)
    at_one = in_cells(*who, shared, basis, where="At one shared rate,") if shared else WITHOUT
    return Finding(
        verdict=together([OF_VERDICT[word] for word in (*(shared or [UNDECIDED]), *best)]),
        words=(
            f"{at_one} "
            f"{in_cells(*who, best, basis, where='Each at its best rate,')}{difference}"
            f"{level_within(verdicts.study, [*shared, *best], [cell.margin for cell in (*compared, *cells)])}"
        ),
        numbers={
            "cells": len(cells),
            **{f"{word}_at_one_rate": shared.count(word) for word in OF_VERDICT},
            **{f"{word}_at_best_rates": best.count(word) for word in OF_VERDICT},
            **({"difference": mean} if mean else {}),
        },
        seeds=verdicts.study.seeds,
        bars=tuple(
            Bar(f"{word}, {where}", words.count(word))
            for where, words in (("one rate", shared), ("best rates", best))
            for word in OF_VERDICT
            if word in words
        ),
        unit=f"of {counted(len(cells), 'cell')}",
        over=over_of(paired[:1]) if paired else "",
    )


CLAIM = Claim(
    number=5,
    name="result",
    sentence="OLoRA ends better than LoRA.",
    source=f"{OLORA_PAPER}, its table of 60 comparisons, of which it wins 53, at one learning rate",
    measured=(
        "Paired differences in test loss by seed and example, in every cell (model, task, rank): "
        "at the one rate with the lowest validation loss over both, and each at its own best rate."
    ),
    judge=on_study(judge),
)
