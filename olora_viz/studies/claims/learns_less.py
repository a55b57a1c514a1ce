"""Claim: LoRA learns less and forgets less than full fine-tuning."""

from __future__ import annotations

from olora_viz.studies.claims.beside import finding_on_forgetting, without_drift
from olora_viz.studies.claims.claim import (
    OF_VERDICT,
    OF_WORSE,
    Claim,
    Finding,
    counted,
    ends,
    level_within,
    on_study,
    over_compared,
    over_of,
)
from olora_viz.studies.claims.evidence import FULL
from olora_viz.studies.forgetting import BEST_RATES, compared
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge both parts in every cell, with each method at its best rate.

    LoRA learns less if full fine-tuning's loss is better than LoRA's, and forgets less if its drift is worse.
    """
    if lacking := without_drift(verdicts):
        return lacking
    of_full = [each for each in verdicts.each if each.method == FULL]
    learned = [OF_VERDICT[each.verdict] for each in of_full]
    known = [each.difference for each in of_full if each.seeds > 1]
    mean, gaps = over_compared(known) if known else None, [each.gap for each in known]
    loss = f"its test loss minus LoRA's is {mean.mean:+.3g} nats ({ends(mean, over_of(gaps))}); " if mean else ""
    return finding_on_forgetting(
        verdicts,
        compared(verdicts, [FULL]),
        "That LoRA forgets less",
        lambda each: OF_WORSE[each.verdict],
        [BEST_RATES],
        first=(
            f"{method_name(FULL)} beside LoRA, each at its best rate: {loss}that LoRA learns less: {counted(learned)}."
            f"{level_within(verdicts.study, learned, [each.margin for each in of_full])}"
        ),
        more_parts=learned,
        numbers={"difference": mean} if mean else None,
    )


CLAIM = Claim(
    number=17,
    name="learns-less",
    sentence="LoRA learns less and forgets less than full fine-tuning.",
    source="LoRA Learns Less and Forgets Less (Biderman et al. 2024, arXiv 2405.09673)",
    measured=(
        "With each at its best rate, in a study with full fine-tuning of the same layers: paired differences in test "
        "loss, and the ratio of both methods' drift, KL(base‖lane) on a text to keep, by seed. The ratios at one rate "
        "and at equal learning stand beside it."
    ),
    judge=on_study(judge, (FULL,)),
)
