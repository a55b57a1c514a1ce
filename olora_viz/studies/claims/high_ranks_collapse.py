"""Claim: under rewards high ranks collapse."""

from __future__ import annotations

from operator import gt

from olora_viz.studies.claims.beside import finding_beside
from olora_viz.studies.claims.claim import OF_WORSE, Claim, Finding, counted, not_measured, on_study, together
from olora_viz.studies.objectives import MISSED, NO_REWARDS, is_rewarded, of_ranks, sampled_words
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge higher ranks than the reference's beside it, each at its best rate, in every cell."""
    if not is_rewarded(verdicts):
        return not_measured(NO_REWARDS)
    methods = of_ranks(verdicts, gt)
    shared = [OF_WORSE[each.verdict_shared_rate] for each in verdicts.each if each.method in methods]
    return finding_beside(
        verdicts, methods, "higher ranks collapse", lambda of: together([OF_WORSE[each.verdict] for each in of]),
        "lora:r=64 beside lora", f" At one rate for all: {counted(shared, 'comparison')}.{sampled_words(verdicts)}",
    )  # fmt: skip


CLAIM = Claim(
    number=34,
    name="high-ranks-collapse",
    sentence="Under rewards high ranks collapse.",
    source="openreview 17kr8cCW7s, put against the rate: each rank has its own best one here",
    measured=(
        f"{MISSED}, of LoRA at a higher rank beside that at its usual one, each at its best rate, paired by seed and "
        "example. What they do at the one rate that is best over all stands beside it: the scaling alpha / r is 1 at "
        "every rank."
    ),
    judge=on_study(judge, ()),
)
