"""Claim: under rewards PiSSA and MiLoRA fall behind LoRA, and orthonormal starts lead."""

from __future__ import annotations

from olora_viz.studies.claims.beside import every_one, finding_beside
from olora_viz.studies.claims.claim import OF_VERDICT, OF_WORSE, Claim, Finding, not_measured, on_study
from olora_viz.studies.claims.evidence import OURS
from olora_viz.studies.objectives import MISSED, NO_REWARDS, is_rewarded, sampled_words
from olora_viz.studies.verdicts import Verdict, Verdicts

BEHIND = ("pissa", "milora")
"""The starts that are said to fall behind: those of singular vectors."""

AHEAD = ("orthogonal", "random_orthonormal", OURS)
"""Those that are said to lead: with an orthonormal factor."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge each start beside LoRA, each at its best rate, in every cell."""
    if not is_rewarded(verdicts):
        return not_measured(NO_REWARDS)

    def of_cell(of: list[Verdict]) -> str:
        return every_one([(OF_WORSE if each.method in BEHIND else OF_VERDICT)[each.verdict] for each in of])

    methods = [method for method in (*BEHIND, *AHEAD) if method in verdicts.study.compare]
    return finding_beside(
        verdicts, methods, "starts of singular vectors are worse and orthonormal ones better", of_cell,
        f"some of {', '.join((*BEHIND, *AHEAD))} beside lora", sampled_words(verdicts),
    )  # fmt: skip


CLAIM = Claim(
    number=31,
    name="rewards-order",
    sentence="Under rewards PiSSA and MiLoRA fall behind LoRA, and orthonormal starts lead.",
    source="arXiv 2606.31813; OLoRA, whose B is orthonormal, is put among those that lead",
    measured=(
        f"{MISSED}, of each start at its best rate beside LoRA at its own, paired by seed and example. It holds if "
        "each of the starts is where the claim puts it, and fails if one is on the other side of LoRA."
    ),
    judge=on_study(judge, ()),
)
