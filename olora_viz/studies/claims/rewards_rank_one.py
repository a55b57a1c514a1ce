"""Claim: under rewards rank 1 suffices."""

from __future__ import annotations

from olora_viz.studies.claims.beside import finding_beside
from olora_viz.studies.claims.claim import HOLDS, OF_LEVEL, Claim, Finding, not_measured, on_study, together
from olora_viz.studies.objectives import MISSED, NO_REWARDS, is_rewarded, of_ranks, sampled_words
from olora_viz.studies.statistics import BETTER
from olora_viz.studies.verdicts import Verdicts

NO_WORSE = {**OF_LEVEL, BETTER: HOLDS}
"""The verdict on the claim that a method is not worse than the reference."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge rank 1 beside the reference's rank, each at its best rate, in every cell."""
    if not is_rewarded(verdicts):
        return not_measured(NO_REWARDS)
    return finding_beside(
        verdicts, of_ranks(verdicts, lambda rank, _: rank == 1), "rank 1 suffices",
        lambda of: together([NO_WORSE[each.verdict] for each in of]), "lora:r=1 beside lora", sampled_words(verdicts),
    )  # fmt: skip


CLAIM = Claim(
    number=32,
    name="rewards-rank-one",
    sentence="Under rewards rank 1 suffices.",
    source="LoRA Without Regret (Thinking Machines, 2025)",
    measured=(
        f"{MISSED}, of LoRA at rank 1 and at its usual rank, each at its best rate, paired by seed and example. It "
        "holds if rank 1 is level or better."
    ),
    judge=on_study(judge, ()),
)
