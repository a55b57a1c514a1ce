"""Claim: at equal learning the start makes no difference to what a chain keeps."""

from __future__ import annotations

from olora_viz.initializers import entry_of
from olora_viz.studies.claims.beside import RISE_IN_A_CHAIN, every_one, finding_on_chains
from olora_viz.studies.claims.claim import OF_LEVEL, Claim, Finding, on_study
from olora_viz.studies.forgetting import EQUAL_LEARNING
from olora_viz.studies.method import lane_of
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that every start forgets as much of the earlier tasks as the reference, where it has learned as much."""
    starts = [method for method in verdicts.study.compare[1:] if not entry_of(lane_of(method).init).dense]
    return finding_on_chains(
        verdicts, starts, "the start makes no difference", lambda each: OF_LEVEL[each.verdict], EQUAL_LEARNING,
        joined=every_one,
    )  # fmt: skip


CLAIM = Claim(
    number=30,
    name="chain-level",
    sentence="At equal learning the start makes no difference to what a chain keeps.",
    source="OLoRA's open question on many cycles of fine-tuning (arXiv 2406.01775), put as a claim",
    measured=(
        f"{RISE_IN_A_CHAIN}: each start's minus LoRA's, where the mean of the losses right after each link is LoRA's "
        "at its best rate, interpolated over the rates of each seed. Full fine-tuning, no start, does not count."
    ),
    judge=on_study(judge, ()),
)
