"""What a claim was measured on, in words, and the commands that repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olora_viz.machine.wording import and_, compact
from olora_viz.studies.axes import PATHS, SHORT_FORMS, plain
from olora_viz.studies.claims.claim import Claim
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.study import Study


def setup_words(claim: Claim, evidence: ClaimEvidence) -> str:
    """Say what a claim was judged on, beside the model and the task."""
    if claim.needs_study and evidence.study is not None:
        judged = evidence.study.study
        lrs, ranks = [compact(lr) for lr in judged.lrs], judged.values("r")
        others = evidence.others if claim.needs_several else ()
        studies = (judged, *(other.study for other in others))
        words = [
            f"{judged.seeds} seed{'s' * (judged.seeds != 1)}",
            f"{len(lrs)} rates from {lrs[0]} to {lrs[-1]}" if len(lrs) > 1 else f"rate {lrs[0]}",
            f"rank{'s' * (len(ranks) > 1)} {and_([str(r) for r in ranks])}",
            and_(list(dict.fromkeys(map(_length, studies)))),
            *(_values(name, values) for name, values in judged.across.items() if name not in (*SHORT_FORMS, "steps")),
            *(f"{_values(name, values)} tuned" for name, values in judged.tune.items() if name != "lr"),
        ]
    elif claim.of_weights:
        return "every layer that takes an adapter"
    else:
        judged = evidence
        words = [f"rank {evidence.rank}", f"batches of {evidence.batch_size} prompts"]
    reads = judged if isinstance(judged, ClaimEvidence) else judged.race
    if reads.chat:
        words.append("prompts in the model's chat template")
    if reads.truncate:
        words.append("long examples cut at the left of their prompt")
    return ", ".join(words)


def _length(study: Study) -> str:
    """Say how long a study's races are, and of how many prompts a step is that of a race's own batch size."""
    epochs = study.race.epochs
    words = f"{epochs:g} epochs in batches" if epochs else f"{and_([*map(plain, study.values('steps'))])} steps"
    return f"{words} of {study.race.batch_size} prompts"


def _values(name: str, values: Sequence[Any]) -> str:
    return f"{name.replace('_', ' ')} {and_([*map(plain, values)])}"


def command_of_claim(
    claim: Claim, evidence: ClaimEvidence, *, studies: Sequence[Path] = (), minutes: float | None = None
) -> str:
    """Return the command that repeats the measurement of one claim.

    Args:
        studies: the folders of those that were judged.
        minutes: the time limit of the study that was run for it, whose text to keep is named.
    """
    words = ["python", "-m", "olora_viz", "claims", "--only", claim.name]
    words += ["--model", evidence.model, "--task", evidence.task]
    words += ["--study", *map(str, studies)] if studies else []
    options: dict[str, Any] = {
        "minutes": minutes,
        "rank": evidence.rank,
        "batch-size": evidence.batch_size,
        "max-length": evidence.max_length,
        "keep": evidence.keep if minutes and evidence.keep != ClaimEvidence.keep else None,
        "device": None if evidence.device == ClaimEvidence.device else evidence.device,
    }
    for option, value in options.items():
        if value is not None:
            words += [f"--{option}", str(value)]
    words += [f"--{name}" for name in ("truncate", "chat") if getattr(evidence, name)]
    return shlex.join(words)


def command_of_study(study: Study, out: Path) -> str:
    """Return the command that runs a study: its settings that are not the default ones."""
    words = ["python", "-m", "olora_viz", "study", "--out", str(out)]
    usual, axes = Study(), {**study.across, **study.tune}
    if any(":" in method for method in study.compare):
        words += [word for method in study.compare for word in ("--compare", method)]
    elif study.compare != usual.compare:
        words += ["--init", ",".join(study.compare)]
    for name, values in axes.items():
        if values == {**usual.across, **usual.tune}.get(name):
            continue
        text = ("," if name in PATHS else "/").join(map(_written, values))
        place = "across" if name in study.across else "tune"
        words += [f"--{name}", text] if name in SHORT_FORMS else [f"--{place}", f"{name.replace('_', '-')}={text}"]
    for name, value in study.settings().items():
        if name in ("compare", *axes) or value == usual.settings()[name]:
            continue
        option = f"--{name.replace('_', '-')}"
        value = ",".join(map(str, value)) if isinstance(value, tuple) else value
        words += [option] if value is True else [option, str(value)]
    return shlex.join([*words, "--yes"])


def _written(value: Any) -> str:
    return compact(value) if isinstance(value, float) else plain(value)
