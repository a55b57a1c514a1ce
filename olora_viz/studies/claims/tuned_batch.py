"""Claim: with the batch size tuned, LoRA matches PiSSA and MiLoRA."""

from __future__ import annotations

from olora_viz.studies.claims.beside import finding_beside
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding, counted, not_measured, on_study, together
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.verdicts import Verdict, Verdicts, verdicts_of

VARIANTS = ("pissa", "milora")

OF_MATCH = {LEVEL: HOLDS, WORSE: HOLDS, BETTER: FAILS, UNDECIDED: UNDECIDED}
"""The verdict on the claim that LoRA does as well, by that on the other method."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge both methods in every cell, each at its best batch size and rate; each batch size alone stands beside."""
    study = verdicts.study
    sizes = study.tune.get("batch_size", ())
    if len(sizes) < 2:
        return not_measured("the study tunes no batch size: give it several, as with --tune batch-size=4/8/16")
    variants = VARIANTS if {*VARIANTS} <= {*study.compare} else ()
    alone = []
    for size in sizes if variants else ():
        of_size = verdicts_of(study.changed(tune={"batch_size": (size,)}), verdicts.rows)
        words = [(one.method, one.verdict) for one in of_size.each]
        told = [
            f"{method_name(name)} is {counted([word for method, word in words if method == name])}"
            for name in variants
        ]
        alone.append(f"{size} prompts, {' and '.join(told)}")
    return finding_beside(
        verdicts, variants, "LoRA does as well as both", _of_cell, "lora, pissa and milora",
        f" With the rate alone tuned, at batches of {'; of '.join(alone)}.",
    )  # fmt: skip


def _of_cell(each: list[Verdict]) -> str:
    return together([OF_MATCH[one.verdict] for one in each])


CLAIM = Claim(
    number=19,
    name="tuned-batch",
    sentence="With the batch size tuned, LoRA matches PiSSA and MiLoRA.",
    source="Beware of the Batch Size (Lee and Lee 2026, arXiv 2602.09492)",
    measured=(
        "Paired differences in test loss in every cell of a study that tunes batch size and rate, each method at its "
        "best of both. It holds where PiSSA and MiLoRA are level with LoRA or worse, and fails where one is better."
    ),
    judge=on_study(judge, ()),
)
