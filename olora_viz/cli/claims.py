"""The verb ``claims``: what papers claim about LoRA and OLoRA, measured on any model and task."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import Verb, add_shared, path, print_json, progress_bar, save_charts, say
from olora_viz.machine.checks import check_whole, unknown
from olora_viz.machine.wording import and_, clock

if TYPE_CHECKING:
    from olora_viz.machine.process import Progress
    from olora_viz.studies.claims.claim import Claim, Finding
    from olora_viz.studies.claims.evidence import ClaimEvidence
    from olora_viz.studies.verdicts import Verdicts


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("claims", claims, "what papers claim about LoRA and OLoRA, each claim with a measured verdict")
    add_shared(parser, "--model", "--task")
    decided = "the folder of a study that decides on training; several for the claims that compare studies"
    parser.add_argument("--study", type=path, nargs="+", action="extend", metavar="DIR", help=decided)
    parser.add_argument("--minutes", type=float, help="without --study: run one within so many minutes")
    parser.add_argument("--only", nargs="+", action="extend", metavar="NAME", help="the claims; default: all")
    parser.add_argument("--rank", type=int, default=8, help="rank of the measured starts; default: 8")
    add_shared(
        parser, "--batch-size", "--max-length", "--truncate", "--chat", "--keep", "--device", "--png", batch_size=8
    )


def claims(options: argparse.Namespace) -> int:
    """Measure and judge one claim after the other."""
    from olora_viz.studies.claims import CLAIMS
    from olora_viz.studies.claims.commands import command_of_claim

    for name in options.only or ():
        if name not in CLAIMS:
            raise ValueError(unknown("claim", name, CLAIMS))
    wanted = [claim for name, claim in CLAIMS.items() if name in (options.only or CLAIMS)]
    findings = []
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        evidence = _evidence(options, any(claim.needs_study for claim in wanted), stack, progress)
        for claim in wanted:
            finding = claim.judge(evidence)
            findings.append((claim, finding))
            command = command_of_claim(claim, evidence, studies=options.study or (), minutes=options.minutes)
            _print(claim, finding, command, options.json)
    if options.png:
        from olora_viz.figures.studies import claim_figure

        drawn = [claim_figure(claim, finding) for claim, finding in findings if finding.bars]
        if not drawn:
            raise ValueError("no claim was measured: there is nothing to draw")
        save_charts(options.png, drawn)
    return 0


def _evidence(options: argparse.Namespace, needs_study: bool, stack: ExitStack, progress: Progress) -> ClaimEvidence:
    """Return what the claims are judged on."""
    from olora_viz.studies.claims.evidence import ClaimEvidence
    from olora_viz.studies.folder import verdicts

    check_whole("rank", options.rank, 1)
    check_whole("batch_size", options.batch_size, 1)
    if options.study and options.minutes:
        raise ValueError("--minutes runs a study: leave it out with --study")
    if options.minutes and not needs_study:
        raise ValueError(f"--minutes runs a study, which {and_(options.only)} can do without: leave it out")
    if options.keep and not options.minutes:
        raise ValueError("--keep is of the study that --minutes runs: leave it out without --minutes")
    studies = [verdicts(folder) for folder in options.study or ()]
    study = studies[0] if studies else None
    model = options.model or (study.study.values("model")[0] if study else ClaimEvidence.model)
    task = options.task or (study.study.values("task")[0] if study else ClaimEvidence.task)
    evidence = ClaimEvidence(
        model=model, task=task, study=study, rank=options.rank, batch_size=options.batch_size,
        device=options.device or ClaimEvidence.device, progress=progress, others=tuple(studies[1:]),
        keep=options.keep or ClaimEvidence.keep,
        **_reading(options, study, model, task),
    )  # fmt: skip
    if options.minutes is not None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return replace(evidence, study=_run(folder / "study", options.minutes, evidence))
    return evidence


def _reading(options: argparse.Namespace, study: Verdicts | None, model: str, task: str) -> dict[str, Any]:
    """Return how examples are read: as the options say, or else as in the study of the same."""
    asked = {name: getattr(options, name) for name in ("max_length", "truncate", "chat")}
    if study and model in study.study.values("model") and task in study.study.values("task"):
        of_study = {name: getattr(study.study.race, name) for name in asked}
        asked = {name: of_study[name] if asked[name] is None else asked[name] for name in asked}
    return {name: value for name, value in asked.items() if value is not None}


def _run(folder: Path, minutes: float, evidence: ClaimEvidence) -> Verdicts:
    """Run a study of LoRA and OLoRA, as a decision plans it."""
    from olora_viz.studies.claims.evidence import study_within

    decisions = study_within(minutes, folder, evidence)
    known = next(decisions)
    say("\n".join(known.plan.words))
    for known in decisions:
        say(f"{clock(known.seconds)}  {known.lanes} lanes")
    return known.verdicts


def _print(claim: Claim, finding: Finding, command: str, as_json: bool) -> None:
    if as_json:
        known = {"claim": claim.name, "sentence": claim.sentence, "source": claim.source}
        print_json(known | finding.to_json() | {"command": command})
        return
    print(f"{claim.number}. {claim.sentence}  [{claim.source}]")
    print(f"   {finding.verdict}: {finding.words}", flush=True)
