"""Claim: under SGD the start is nothing but the rate."""

from __future__ import annotations

from olora_viz.studies.claims.beside import every_one
from olora_viz.studies.claims.claim import OF_LEVEL, Claim, Finding, not_measured, on_study
from olora_viz.studies.claims.optimizer_levels import by_optimizer, finding
from olora_viz.studies.verdicts import Verdicts

SGD = "sgd"


def judge(verdicts: Verdicts) -> Finding:
    """Judge that all methods are level under SGD, each at its best rate."""
    of = by_optimizer(verdicts)
    if SGD not in of:
        return not_measured("the study has no cell with SGD: run one with --across opt=adamw/sgd")
    part = every_one([OF_LEVEL[each.verdict] for each in of[SGD]])
    return finding(
        verdicts, {SGD: of[SGD]}, part, "If a start were a rate, its best rate would make up for it, and all be level."
    )


CLAIM = Claim(
    number=37,
    name="start-is-rate",
    sentence="Under SGD, without Adam's normalization, the start is only the rate.",
    source="a conjecture of this project: a gradient's size is that of the factors, and SGD does not normalize it",
    measured=(
        "In a study that crosses optimizers, under SGD, the verdict on every start beside plain LoRA, each at its "
        "best rate. It holds if all are level there, and fails if one is not."
    ),
    judge=on_study(judge, ()),
)
