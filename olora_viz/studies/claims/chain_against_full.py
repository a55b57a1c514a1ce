"""Claim: over a chain of tasks LoRA forgets less than full fine-tuning."""

from __future__ import annotations

from olora_viz.studies.claims.beside import RISE_IN_A_CHAIN, finding_on_chains
from olora_viz.studies.claims.claim import OF_WORSE, Claim, Finding, on_study
from olora_viz.studies.claims.evidence import FULL
from olora_viz.studies.forgetting import BEST_RATES
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that full fine-tuning forgets more of the earlier tasks, each at its best rate, in every chain."""
    return finding_on_chains(verdicts, [FULL], "LoRA forgets less", lambda each: OF_WORSE[each.verdict], BEST_RATES)


CLAIM = Claim(
    number=28,
    name="chain-against-full",
    sentence="Over a chain of tasks LoRA forgets less than full fine-tuning.",
    source="arXiv 2603.27707: over four tasks LoRA forgets 0.6%, full fine-tuning 19.9%",
    measured=f"{RISE_IN_A_CHAIN}: full fine-tuning's minus LoRA's, each at its best rate.",
    judge=on_study(judge, (FULL,)),
)
