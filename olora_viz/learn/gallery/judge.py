"""Record findings on claims: ``python -m olora_viz.learn.gallery.judge [DIR …]``, see `main`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from olora_viz.learn.gallery.claims import (
    CLAIMS_FILE,
    RecordedClaims,
    RecordedFinding,
    cells_of,
    read_claims,
    write_claims,
)
from olora_viz.machine.checks import unknown
from olora_viz.machine.wording import and_
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import NOT_MEASURED, Claim
from olora_viz.studies.claims.commands import command_of_claim, command_of_study, setup_words
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.folder import Ledger, verdicts

RESULT_KEY = "result"
"""The claim that the table of cells is about."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge studies, and their models and tasks at the start, and add what is found to the gallery.

    A finding takes the place of an older one on the same claim, model, task and study, by its name. What has been
    measured without a study is not measured again unless `--only` names it.
    """
    parser = argparse.ArgumentParser("python -m olora_viz.learn.gallery.judge", description=__doc__)
    parser.add_argument("studies", nargs="*", type=Path, metavar="DIR", help="folders of studies")
    parser.add_argument(
        "--start", nargs=2, action="append", default=[], metavar=("MODEL", "TASK"),
        help="measure the claims that need no study for this model and task as well",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="NAME", help=" ".join(CLAIMS))
    options = parser.parse_args(arguments)
    for name in options.only or ():
        if name not in CLAIMS:
            parser.error(unknown("claim", name, CLAIMS))
    known = read_claims() if CLAIMS_FILE.exists() else RecordedClaims()
    only = options.only or ()
    for folder in options.studies:
        for finding in of_study(folder, only, known):
            known = _recorded(known, finding)
        if not only or RESULT_KEY in only:
            known = known.with_newer((), cells_of(verdicts(folder)))
        write_claims(known)
    if len(options.studies) > 1:
        for finding in of_studies(options.studies, only):
            known = _recorded(known, finding)
    for model, task in options.start:
        for finding in at_start(ClaimEvidence(model, task), only, known):
            known = _recorded(known, finding)
    write_claims(known)
    print(f"{CLAIMS_FILE.name}: {CLAIMS_FILE.stat().st_size:,} bytes")
    return 0


def of_study(folder: Path, only: Collection[str], known: RecordedClaims) -> Iterator[RecordedFinding]:
    """Judge a study, and what needs none, for its models and tasks.

    Args:
        only: names of claims; empty for all.
        known: what is recorded already.
    """
    study_verdicts = verdicts(folder)
    study = study_verdicts.study
    if left := len(Ledger(folder).needed()):
        print(f"{folder.name} is not finished: {left} lanes are left to run", file=sys.stderr)
    evidence = ClaimEvidence(study.values("model")[0], study.values("task")[0], study_verdicts)
    out = Path("studies") / folder.name
    for claim in _wanted(only):
        if claim.needs_study and not claim.needs_several:
            commands = [command_of_study(study, out), command_of_claim(claim, evidence, studies=[out])]
            yield from _judged(claim, evidence, study.values("model"), study.values("task"), commands, folder.name)
    for model in study.values("model"):
        for task in study.values("task"):
            for finding in at_start(ClaimEvidence(model, task), only, known):
                known = known.with_newer([finding])
                yield finding


def of_studies(folders: Sequence[Path], only: Collection[str]) -> Iterator[RecordedFinding]:
    """Judge the claims that compare studies; see `of_study`."""
    first, *others = map(verdicts, folders)
    models, tasks = first.study.values("model"), first.study.values("task")
    evidence = ClaimEvidence(models[0], tasks[0], first, others=tuple(others))
    outs = [Path("studies") / folder.name for folder in folders]
    for claim in _wanted(only):
        if claim.needs_several:
            commands = [
                *map(command_of_study, (each.study for each in (first, *others)), outs),
                command_of_claim(claim, evidence, studies=outs),
            ]
            names = and_([folder.name for folder in folders])
            yield from _judged(claim, evidence, models, tasks, commands, names)


def at_start(evidence: ClaimEvidence, only: Collection[str], known: RecordedClaims) -> Iterator[RecordedFinding]:
    """Judge the claims that need no study, for one model and task; see `of_study`."""
    done = {finding.key for finding in known.findings}
    for claim in _wanted(only):
        tasks = () if claim.of_weights else (evidence.task,)
        key = claim.name, _names([evidence.model]), _names(tasks), ""
        if not claim.needs_study and (claim.name in only or key not in done):
            commands = [command_of_claim(claim, evidence)]
            yield from _judged(claim, evidence, [evidence.model], tasks, commands)


def _wanted(only: Collection[str]) -> list[Claim]:
    return [claim for name, claim in CLAIMS.items() if not only or name in only]


def _judged(
    claim: Claim, evidence: ClaimEvidence, models: Sequence[str], tasks: Sequence[str],
    commands: Sequence[str], study: str = "",
) -> Iterator[RecordedFinding]:  # fmt: skip
    """Judge one claim; yield the finding if there is one."""
    finding = claim.judge(evidence)
    if finding.verdict == NOT_MEASURED:
        print(f"{claim.name}: {finding.words}", file=sys.stderr)
        return
    recorded = RecordedFinding(
        claim=claim.name, model=_names(models), task=_names(tasks), study=study,
        setup=setup_words(claim, evidence), date=datetime.now(UTC).date().isoformat(),
        finding=finding, command="\n".join(commands),
    )  # fmt: skip
    test = evidence.study.study.race.test if evidence.study else None
    yield without_folders(recorded, (*models, *tasks, *([test] if test else [])))


def without_folders(recorded: RecordedFinding, places: Sequence[str]) -> RecordedFinding:
    """Return a finding that names models, tasks and tests which are paths by their names."""
    values = recorded.to_json()
    for place in places:
        if (name := Path(place).name) != place:
            values["command"] = values["command"].replace(place, name)
            values["finding"]["words"] = values["finding"]["words"].replace(place, name)
    return RecordedFinding.from_json(values)


def _names(places: Sequence[str]) -> str:
    return and_([Path(place).name for place in places]) if places else ""


def _recorded(known: RecordedClaims, recorded: RecordedFinding) -> RecordedClaims:
    """Add a finding, write it and print it."""
    finding = recorded.finding
    print(f"{recorded.claim}, {recorded.model}, {recorded.task}: {finding.verdict}. {finding.words}", flush=True)
    known = known.with_newer([recorded])
    write_claims(known)
    return known


if __name__ == "__main__":
    sys.exit(main())
