"""Claim: one adapter on a shallow down_proj suffices."""

from __future__ import annotations

import re

from olora_viz.studies.claims.beside import choice_of, finding_beside
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding, on_study
from olora_viz.studies.method import lane_of
from olora_viz.studies.statistics import UNDECIDED, WORSE
from olora_viz.studies.verdicts import Verdict, Verdicts

ONE = re.compile(r"(.*\.)?\d+\.(.*\.)?down_proj")
"""The name of one layer: a down_proj of one block."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge that one of the adapters suffices, in every cell."""
    study = verdicts.study
    methods = [
        method for method in study.compare
        if choice_of(study, method) == "targets" and _is_one(lane_of(method).targets or ())
    ]  # fmt: skip
    return finding_beside(
        verdicts, methods, "one adapter suffices", _of_cell,
        "lora and one adapter, such as lora:targets=layers.0.mlp.down_proj",
    )  # fmt: skip


def _is_one(targets: tuple[str, ...]) -> bool:
    return len(targets) == 1 and bool(ONE.fullmatch(targets[0]))


def _of_cell(each: list[Verdict]) -> str:
    words = {one.verdict for one in each}
    if words - {WORSE, UNDECIDED}:
        return HOLDS
    return UNDECIDED if UNDECIDED in words else FAILS


CLAIM = Claim(
    number=22,
    name="one-adapter",
    sentence="One adapter on a shallow down_proj suffices.",
    source="Rethinking Adapter Placement (arXiv 2605.06183)",
    measured=(
        "Paired differences in test loss between LoRA on the down_proj of one block alone and on all layers, each at "
        "its best rate. It holds in a cell where one of the blocks tried is level with LoRA or better, and fails "
        "where each is worse."
    ),
    judge=on_study(judge, ()),
)
