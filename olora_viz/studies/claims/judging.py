"""What claims are judged on, in words, and the commands that repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from olora_viz.machine.text import compact
from olora_viz.studies.budget import Plan
from olora_viz.studies.claims.claim import Claim
from olora_viz.studies.claims.evidence import OURS, ClaimEvidence
from olora_viz.studies.decide import DONE, FINAL, Decision, decide
from olora_viz.studies.run import Watch
from olora_viz.studies.sentences import and_
from olora_viz.studies.study import Study

PYTHON = ("python", "-m", "olora_viz")

EVALUATIONS = 5
"""Of each run of a study that is made for claims, some of which are about the way to the end."""

OPTIONS = {"models": "model", "tasks": "task", "inits": "init", "lrs": "lr", "ranks": "r"}
"""The names of a study's lists as options of the command line."""


def study_within(
    minutes: float,
    folder: Path,
    evidence: ClaimEvidence,
    *,
    plan: Plan | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Iterator[Decision]:
    """Run a study of LoRA and OLoRA, as a decision plans it; yield the plan, then after every race.

    Args:
        evidence: its model, task, how it reads examples, rank and device are the study's.
        plan, watch, settings: see `decide`.

    Raises:
        ValueError: see `decide`.
    """
    if evidence.max_length is not None:
        settings["max_length"] = evidence.max_length
    decision = decide(
        folder, minutes=minutes, model=evidence.model, task=evidence.task, inits=[OURS],
        ranks=(evidence.rank,), device=evidence.device, progress=evidence.progress, plan=plan,
        truncate=evidence.truncate, chat=evidence.chat, evaluations=EVALUATIONS, watch=watch,
        **settings,
    )  # fmt: skip
    with closing(decision):
        for known in decision:
            yield known
            if known.stage in (FINAL, DONE):  # a claim needs no adapter
                return


def setup_words(claim: Claim, evidence: ClaimEvidence) -> str:
    """Say what a claim was judged on, beside the model and the task."""
    if claim.needs_study and evidence.study is not None:
        judged = evidence.study.study
        lrs = [compact(lr) for lr in judged.lrs]
        others = evidence.others if claim.needs_several else ()
        studies = (judged, *(other.study for other in others))
        words = [
            f"{judged.seeds} seeds",
            f"{len(lrs)} rates from {lrs[0]} to {lrs[-1]}" if len(lrs) > 1 else f"rate {lrs[0]}",
            f"rank{'s' * (len(judged.ranks) > 1)} {and_([str(r) for r in judged.ranks])}",
            and_([f"{study.steps} steps of {study.batch_size} prompts" for study in studies]),
        ]
    elif claim.of_weights:
        return "every layer that takes an adapter"
    else:
        judged = evidence
        words = [f"rank {evidence.rank}", f"batches of {evidence.batch_size} prompts"]
    if judged.chat:
        words.append("prompts in the model's chat template")
    if judged.truncate:
        words.append("long examples cut at the left of their prompt")
    return ", ".join(words)


def command_of_claim(
    claim: Claim, evidence: ClaimEvidence, *, studies: Sequence[Path] = (), minutes: float | None = None
) -> str:
    """Return the command that repeats the measurement of one claim.

    Args:
        studies: the folders of those that were judged.
        minutes: the time limit of the study that was run for it.
    """
    words = [*PYTHON, "claims", "--only", claim.name]
    words += ["--model", evidence.model, "--task", evidence.task]
    words += ["--study", *map(str, studies)] if studies else []
    options: dict[str, Any] = {
        "minutes": minutes,
        "rank": evidence.rank,
        "batch-size": evidence.batch_size,
        "max-length": evidence.max_length,
        "device": None if evidence.device == ClaimEvidence.device else evidence.device,
    }
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}", str(value)]
    words += [f"--{name}" for name in ("truncate", "chat") if getattr(evidence, name)]
    return shlex.join(words)


def command_of_study(study: Study, out: Path) -> str:
    """Return the command that runs a study: its settings that are not the default ones."""
    words = [*PYTHON, "study", "--out", str(out)]
    for each in fields(Study):
        value = getattr(study, each.name)
        if value == each.default:
            continue
        option = OPTIONS.get(each.name, each.name).replace("_", "-")
        if each.name == "lrs":
            value = "/".join(map(compact, value))
        elif isinstance(value, tuple):
            value = ",".join(map(str, value))
        words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join([*words, "--yes"])
