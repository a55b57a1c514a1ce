"""Claim: starts from the minor components forget less."""

from __future__ import annotations

from olora_viz.machine.wording import and_
from olora_viz.studies.claims.beside import finding_on_forgetting, without_drift
from olora_viz.studies.claims.claim import OF_VERDICT, WITHIN, Claim, Finding, not_measured, on_study
from olora_viz.studies.claims.evidence import REFERENCE
from olora_viz.studies.forgetting import compared
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts

MINOR = ("milora", "lora_null", "mica")
"""The starts that stay out of the directions that the pretrained weight, or its inputs, use most."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge that each of the starts forgets less at one rate, at best rates and at equal learning, in every cell."""
    study = verdicts.study
    inits = [init for init in MINOR if init in study.compare]
    if not inits or study.reference != REFERENCE:
        names = ", ".join(study.compare)
        return not_measured(
            f"the study compares {names} against {study.reference}, none of {', '.join(MINOR)} against {REFERENCE}"
        )
    if lacking := without_drift(verdicts):
        return lacking
    forget = f"forget{'s' * (len(inits) == 1)} less"
    return finding_on_forgetting(
        verdicts, compared(verdicts, inits), f"That {and_([method_name(init) for init in inits])} {forget}",
        lambda each: OF_VERDICT[each.verdict],
    )  # fmt: skip


CLAIM = Claim(
    number=16,
    name="minor-starts",
    sentence="Starts from the minor components forget less than LoRA.",
    source="MiLoRA (arXiv 2406.09044), LoRA-Null (arXiv 2503.02659) and MiCA (arXiv 2604.01694)",
    measured=(
        "The ratio of each start's drift, KL(base‖lane) on a text to keep, to LoRA's, paired by seed: at the one rate "
        "with the lowest validation loss over all methods, each at its best rate, and each where it has learned as "
        f"much as LoRA at its best rate. Level: the whole interval lies {WITHIN}."
    ),
    judge=on_study(judge, ()),
)
