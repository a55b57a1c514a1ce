"""Claim: alpha is no second learning rate."""

from __future__ import annotations

from olora_viz.studies.claims.beside import choice_of, differs, finding_beside
from olora_viz.studies.claims.claim import Claim, Finding, on_study
from olora_viz.studies.verdicts import Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Judge that some other alpha is better or worse than the reference's, each at its best rate, in every cell."""
    study = verdicts.study
    methods = [method for method in study.compare if choice_of(study, method) == "alpha"]
    return finding_beside(
        verdicts, methods, "one alpha gains what no rate gives another",
        lambda each: differs([one.verdict for one in each]),
        "lora and other alphas, such as lora:alpha=r/4 and lora:alpha=2r",
    )  # fmt: skip


CLAIM = Claim(
    number=20,
    name="alpha",
    sentence="Alpha is no second learning rate: it gains what no rate can.",
    source="The Hidden Power of Scaling Factor in LoRA Optimization (arXiv 2606.12883)",
    measured=(
        "Paired differences in test loss between LoRA with other alphas and with its own, each at its best rate. It "
        "holds in a cell where one of them is better or worse, so that one alpha gains what the other has at no rate, "
        "and fails where all are level."
    ),
    judge=on_study(judge, ()),
)
