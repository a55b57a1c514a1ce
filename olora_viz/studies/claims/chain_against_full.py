"""Claim: over a chain of tasks LoRA forgets less than full fine-tuning."""

from __future__ import annotations

from olora_viz.studies.claims.beside import RISES, finding_on_forgetting, kept_words, without_chain
from olora_viz.studies.claims.claim import OF_WORSE, Claim, Finding, on_study
from olora_viz.studies.claims.evidence import FULL, REFERENCE
from olora_viz.studies.forgetting import BEST_RATES, compared_in_chains
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that full fine-tuning forgets more of the earlier tasks, each at its best rate, in every chain."""
    if lacking := without_chain(verdicts):
        return lacking
    return finding_on_forgetting(
        verdicts, compared_in_chains(verdicts, [FULL]), "That LoRA forgets less", lambda each: OF_WORSE[each.verdict],
        [BEST_RATES], first=kept_words(verdicts, [REFERENCE, FULL]), unit=RISES,
    )  # fmt: skip


CLAIM = Claim(
    number=28,
    name="chain-against-full",
    sentence="Over a chain of tasks LoRA forgets less than full fine-tuning.",
    source="arXiv 2603.27707: over four tasks LoRA forgets 0.6%, full fine-tuning 19.9%",
    measured=(
        "In a study of a chain, whose rates are chosen by the mean loss over all tasks after the last link: by how "
        "much the held-out loss on the earlier tasks has risen since each was learned, full fine-tuning's minus "
        "LoRA's, paired by seed. The differences at one rate and at equal learning stand beside it."
    ),
    judge=on_study(judge, (FULL,)),
)
