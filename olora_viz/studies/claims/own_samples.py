"""Claim: replaying the base's own samples costs nothing on the task."""

from __future__ import annotations

from olora_viz.studies.claims.beside import finding_beside, replaying
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding, on_study, together
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.verdicts import Verdict, Verdicts

OF_NO_COST = {LEVEL: HOLDS, BETTER: HOLDS, WORSE: FAILS, UNDECIDED: UNDECIDED}
"""The verdict on the claim that a method costs nothing, by that on the method."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge every share of samples in every cell."""
    return finding_beside(
        verdicts, replaying(verdicts.study, "base"), "it costs nothing", _of_cell,
        "lora and the same with the base's samples, such as lora:replay=0.05,replay_from=base",
    )  # fmt: skip


def _of_cell(each: list[Verdict]) -> str:
    return together([OF_NO_COST[one.verdict] for one in each])


CLAIM = Claim(
    number=27,
    name="own-samples",
    sentence="Replaying the base's own samples costs nothing on the task.",
    source="openreview AmQVxvyRJC",
    measured=(
        "Paired differences in test loss between LoRA that replays samples of the base model and LoRA that replays "
        "nothing, each at its best rate. It holds where every share that is tried is level with LoRA or better, and "
        "fails where one is worse."
    ),
    judge=on_study(judge, ()),
)
