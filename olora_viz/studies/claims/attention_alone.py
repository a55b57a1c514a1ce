"""Claim: adapters on attention alone are worse at equal parameters."""

from __future__ import annotations

from olora_viz.lanes.targets import ATTENTION
from olora_viz.studies.claims.beside import choice_of, finding_beside
from olora_viz.studies.claims.claim import OF_WORSE, Claim, Finding, OnStudy, together
from olora_viz.studies.claims.evidence import Trained
from olora_viz.studies.method import lane_of, method_name
from olora_viz.studies.verdicts import Verdicts

AS_MANY = 1.1
"""Methods train as many parameters if neither has more than this times the other's: ranks are whole numbers."""


def judge(verdicts: Verdicts, trained: Trained) -> Finding:
    """Judge LoRA on attention alone beside LoRA on all layers, in every cell; other targets stand beside it.

    Args:
        trained: the number of parameters of each method.
    """
    study = verdicts.study
    of_targets = [method for method in study.compare if choice_of(study, method) == "targets"]
    equal = [method for method in of_targets if _as_many(trained, method, study.reference)]
    alone = [method for method in equal if lane_of(method).targets == (ATTENTION,)]
    counts = next(iter(trained.values()), {})
    sizes = ", ".join(f"{method_name(method)} {counts[method]:,}" for method in (study.reference, *equal) if counts)
    return finding_beside(
        verdicts, equal if alone else (), "it is worse on attention alone",
        lambda each: together([OF_WORSE[one.verdict] for one in each if one.method in alone]),
        "lora and, with as many parameters, attention alone, such as lora:targets=attention,params=74k",
        f" Trained parameters: {sizes}.",
    )  # fmt: skip


def _as_many(trained: Trained, method: str, reference: str) -> bool:
    ratios = [counts[method] / counts[reference] for counts in trained.values()]
    return all(max(ratio, 1 / ratio) <= AS_MANY for ratio in ratios)


CLAIM = Claim(
    number=21,
    name="attention-alone",
    sentence="At equal parameters, adapters on attention alone are worse than on all layers.",
    source="LoRA Without Regret (Thinking Machines, 2025)",
    measured=(
        "Paired differences in test loss between LoRA on the attention layers and on all, each at its best rate, "
        f"where the ranks are such that neither trains more than {AS_MANY:g} times as many parameters as the other."
    ),
    judge=OnStudy(lambda evidence, verdicts: judge(verdicts, evidence.trained), methods=()),
)
