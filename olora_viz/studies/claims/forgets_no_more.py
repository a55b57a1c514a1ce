"""Claim: OLoRA forgets no more than LoRA."""

from __future__ import annotations

from olora_viz.studies.claims.beside import finding_on_forgetting, without_drift
from olora_viz.studies.claims.claim import FAILS, HOLDS, OLORA_PAPER, Claim, Finding, on_study
from olora_viz.studies.claims.evidence import OURS
from olora_viz.studies.forgetting import Compared, compared
from olora_viz.studies.statistics import LEVEL_WITHIN, UNDECIDED, WORSE
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that the drift is no larger at one rate, at best rates and at equal learning, in every cell."""
    if lacking := without_drift(verdicts):
        return lacking
    return finding_on_forgetting(
        verdicts, compared(verdicts, [OURS]), "That OLoRA forgets no more", no_more,
        last=f"No more means that the whole interval lies below {LEVEL_WITHIN:g} times.",
    )  # fmt: skip


def no_more(each: Compared) -> str:
    """Judge that a method forgets no more than the reference: more by less than the margin is no more."""
    if each.is_no_more:
        return HOLDS
    return FAILS if each.verdict == WORSE else UNDECIDED


CLAIM = Claim(
    number=15,
    name="forgets-no-more",
    sentence="OLoRA forgets no more than LoRA.",
    source=f"{OLORA_PAPER}, put to the test by what its faster start costs",
    measured=(
        "The ratio of both methods' drift, KL(base‖lane) on a text to keep, paired by seed: at the one rate with the "
        "lowest validation loss over all methods, each at its best rate, and each where it has learned as much as "
        f"LoRA at its best rate. No more: the whole interval lies below {LEVEL_WITHIN:g} times, which is less than "
        "half a step between rates does to the drift."
    ),
    judge=on_study(judge),
)
