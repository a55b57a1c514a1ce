"""Claim: a fresh orthonormal start per link keeps more of a chain."""

from __future__ import annotations

from olora_viz.studies.claims.beside import RISES, finding_on_forgetting, kept_words, without_chain
from olora_viz.studies.claims.claim import OF_VERDICT, Claim, Finding, on_study
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.forgetting import BEST_RATES, compared_in_chains
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that OLoRA forgets less of the earlier tasks than LoRA, each at its best rate, in every chain."""
    if lacking := without_chain(verdicts):
        return lacking
    return finding_on_forgetting(
        verdicts, compared_in_chains(verdicts, [OURS]), "That OLoRA keeps more", lambda each: OF_VERDICT[each.verdict],
        [BEST_RATES], first=kept_words(verdicts, [REFERENCE, OURS]), unit=RISES,
    )  # fmt: skip


CLAIM = Claim(
    number=29,
    name="chain-orthonormal",
    sentence="A fresh orthonormal start per link keeps more of a chain.",
    source="OLoRA's open question on many cycles of fine-tuning (arXiv 2406.01775), put as a claim",
    measured=(
        "In a study of a chain, whose rates are chosen by the mean loss over all tasks after the last link: by how "
        "much the held-out loss on the earlier tasks has risen since each was learned, OLoRA's minus "
        "LoRA's, paired by seed. The differences at one rate and at equal learning stand beside it."
    ),
    judge=on_study(judge),
)
