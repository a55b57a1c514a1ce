"""Claim: a fresh orthonormal start per link keeps more of a chain."""

from __future__ import annotations

from olora_viz.studies.claims.beside import RISE_IN_A_CHAIN, finding_on_chains
from olora_viz.studies.claims.claim import OF_VERDICT, Claim, Finding, on_study
from olora_viz.studies.claims.evidence import OURS
from olora_viz.studies.forgetting import BEST_RATES
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that OLoRA forgets less of the earlier tasks than LoRA, each at its best rate, in every chain."""
    return finding_on_chains(verdicts, [OURS], "OLoRA keeps more", lambda each: OF_VERDICT[each.verdict], BEST_RATES)


CLAIM = Claim(
    number=29,
    name="chain-orthonormal",
    sentence="A fresh orthonormal start per link keeps more of a chain.",
    source="OLoRA's open question on many cycles of fine-tuning (arXiv 2406.01775), put as a claim",
    measured=f"{RISE_IN_A_CHAIN}: OLoRA's minus LoRA's, each at its best rate.",
    judge=on_study(judge),
)
