"""Studies in the background: decisions, and claims of papers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from olora_viz.background.work import STAYS, BackgroundWork
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import FINISHED, STOPPED, Step
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Claim, Finding, not_measured
from olora_viz.studies.claims.evidence import ClaimEvidence, study_within
from olora_viz.studies.decide import Decision, decide

if TYPE_CHECKING:
    from olora_viz.background.pace import Speeds

TURN = 10.0
"""Seconds after which a study lets others who wait take their turn."""

FINDINGS = ("known", "_learnt", "part", "findings", "measured_now")
"""The fields of a study that say what it has come to."""


@dataclass(eq=False)
class BackgroundStudy(BackgroundWork):
    """A study within some minutes; its lanes are the methods, at no rate yet."""

    folder: Path  # pyrefly: ignore[bad-override-mutable-attribute]
    question: Deciding | Judging = field(kw_only=True)
    """What it is to find out: a plain value, which goes with it to another process."""
    minutes: float = 0.0
    known: Decision | None = None
    """What is known; None before the plan."""
    findings: Mapping[str, Finding] = field(default_factory=dict)
    """What claims were found to be."""
    measured_now: str = ""
    """The claim that is measured now; empty for none."""
    report: Path | None = None
    """The report on a decision; None before the end, or if nobody writes one."""
    waits: bool = False
    """Whether it lets others take their turn."""
    _turn_began: float = field(default=0.0, metadata=STAYS)
    """This and the next one are times of the monotonic clock."""
    _learnt: float = field(default=0.0, metadata=STAYS)

    @property
    def now(self) -> Decision | None:
        """What is known, with the seconds that are spent by now."""
        if self.known is None or self.ended:
            return self.known
        return replace(self.known, seconds=self.known.seconds + time.monotonic() - self._learnt)

    @property
    def without(self) -> str:
        """What it lacks if it ends now; empty for nothing."""
        has_adapter = self.known is not None and self.known.adapter is not None
        return "without an adapter, which is trained last" if self.question.trains and not has_adapter else ""

    @property
    def minutes_left(self) -> float:
        """The minutes that earlier turns have left of the limit, a few seconds at least."""
        return max(min(0.1, self.minutes), self.minutes - (self.known.seconds / 60 if self.known else 0.0))

    def remaining(self, whole: float | None) -> float | None:
        """Return the seconds after which others may take their turn."""
        return min(TURN, 60 * self.minutes_left)

    def teach(self, speeds: Speeds) -> None:
        """Tell nothing: it takes the minutes that it is given."""

    @property
    def timed_out(self) -> bool:
        """Whether it ended at the server's limit."""
        return self.why == self.overtime != ""

    def run(self) -> bool:
        """Compute until the end, or until others take their turn; what is known stays when it is stopped."""
        self._turn_began, self.waits = time.monotonic(), False
        with suppress(StoppedEarlyError):
            self.question.answer(self)
        if self.waits:
            self.rest()
        elif self.stopping.is_set():
            self.become(STOPPED, self.why or self.without)
        else:
            self.become(FINISHED, "no time was left for the adapter" if self.without else self.why)
        return self.waits

    def learn(self, decisions: Iterable[Decision]) -> None:
        """Run a study to its end, or until others take their turn; its stages are states."""
        for known in decisions:
            self.know(known)
            self.become(known.stage)

    def know(self, known: Decision) -> None:
        """Take over what is known by now."""
        self.known, self._learnt = known, time.monotonic()

    @property
    def size(self) -> int:
        """The number of lanes that have raced."""
        return self.known.lanes if self.known else 0

    @property
    def goes_on_from(self) -> str:
        """From where it goes on, in words."""
        return "the races that have ended"

    def take(self, values: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Take over values from the process that computes it."""
        super().take(values, results)
        if "known" in values:
            self.know(values["known"])

    def learn_from(self, other: BackgroundStudy) -> None:
        """Take over what an equal study has come to."""
        for name in FINDINGS:
            setattr(self, name, getattr(other, name))

    def find(self, claim: Claim, finding: Finding) -> None:
        """Add what a claim was found to be, to a new mapping: an equal study may go on from the earlier one."""
        self.findings = {**self.findings, claim.name: finding}

    def is_over(self) -> bool:
        """Whether the end was requested, the time is up, or nobody follows it any more."""
        if self.is_unwatched():
            self.stop("nobody follows it any more")
        return super().is_over()

    def goes_on(self, _: Step) -> bool:
        """Return after a step of its races whether to go on."""
        self.note = ""
        self.wake()
        return not self.gives_way() and not self.is_over()

    def gives_way(self) -> bool:
        """Return whether its turn is over and others wait."""
        self.waits = time.monotonic() - self._turn_began > TURN and self.host.yields()
        return self.waits

    def leave(self) -> None:
        """Make way, with what is known."""
        with suppress(OSError):
            self.seat.keep_files()
        super().leave()


def asked_by(config: RaceConfig) -> dict[str, Any]:
    """Return what a set-up asks of a decision: the methods, the rank and how examples are read."""
    names = ("device", "max_length", "truncate", "chat", "keep", "forget")
    of_lanes = {"compare": [lane.init for lane in config.lanes], "r": config.lanes[0].r}
    return of_lanes | {name: getattr(config, name) for name in names}


@dataclass(frozen=True)
class Deciding:
    """Which recipe to take."""

    trains: ClassVar[bool] = True
    """Whether an adapter is trained last."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `decide` beside the model, the task and the time."""
    of_set_up: bool = False
    """Whether its set-up says the others: the methods, the rank and how examples are read."""
    write_report: Callable[[Decision], Path] | None = None
    """Writes the report of what is known in the end; None for no report."""

    def arguments(self, study: BackgroundStudy) -> Mapping[str, Any]:
        """Return the arguments of `decide` beside the model, the task and the time."""
        config, values = study.raced, {"plan": study.known.plan} if study.known else {}
        if self.of_set_up:
            values |= {"threads": torch.get_num_threads(), **asked_by(config)}
        return {**self.settings, **values}

    def answer(self, study: BackgroundStudy) -> None:
        """Decide until the end, or until others take their turn."""
        study.become(study.known.stage if study.known else "planning")
        decisions = decide(
            study.folder, minutes=study.minutes_left, model=study.raced.model, task=study.raced.task,
            watch=study.goes_on, progress=study.progress, **self.arguments(study),
        )  # fmt: skip
        with suppress(StoppedEarlyError):
            study.learn(decisions)
        known = study.known
        if self.write_report is not None and not study.waits and known is not None and known.taken is not None:
            study.report = self.write_report(known)


@dataclass(frozen=True)
class Judging:
    """The claims on the model and task of a set-up: those at the start, then those on a study.

    No minutes are no study, which leaves the claims about training out.
    """

    trains: ClassVar[bool] = False

    def wanted(self, study: BackgroundStudy) -> list[Claim]:
        """Return the claims that are judged."""
        return [claim for claim in CLAIMS.values() if study.minutes or not claim.needs_study]

    def evidence(self, study: BackgroundStudy) -> ClaimEvidence:
        """Return what claims are judged on, without a study; a visitor's own files are there by their paths."""
        config = study.raced
        return ClaimEvidence(
            model=config.model, task=config.task, rank=config.lanes[0].r,
            batch_size=config.batch_size, max_length=config.max_length, truncate=config.truncate,
            chat=config.chat, keep=config.keep, device=config.device, progress=study.progress,
        )  # fmt: skip

    def answer(self, study: BackgroundStudy) -> None:
        """Judge one claim after the other, until the end, or until others take their turn."""
        evidence = self.evidence(study)
        for claim in self.wanted(study):
            if claim.needs_study or claim.name in study.findings:
                continue
            if study.gives_way():
                return
            self._judge(study, claim, evidence)
        if study.minutes and not study.is_over():
            del evidence  # with its model, which the study loads for itself
            self._on_training(study)

    def _on_training(self, study: BackgroundStudy) -> None:
        """Run the study, and judge the claims about training on all that has finished."""
        decisions = study_within(
            study.minutes_left, study.folder, self.evidence(study), plan=study.known.plan if study.known else None,
            watch=study.goes_on, threads=torch.get_num_threads(),
        )  # fmt: skip
        judged = [claim for claim in self.wanted(study) if claim.needs_study]
        try:
            study.learn(decisions)
        except ValueError as error:
            for claim in judged:
                study.find(claim, not_measured(study.sentence_on(error)))
            return
        if study.waits or study.known is None:
            return
        evidence = replace(self.evidence(study), study=study.known.verdicts)
        for claim in judged:
            self._judge(study, claim, evidence)

    def _judge(self, study: BackgroundStudy, claim: Claim, evidence: ClaimEvidence) -> None:
        """Judge one claim; what makes it impossible is its finding."""
        study.measured_now = claim.name
        study.become("measuring")
        try:
            finding = claim.judge(evidence)
        except ValueError as error:
            finding = not_measured(study.sentence_on(error))
        study.find(claim, replace(finding, words=study.host.without_paths(finding.words)))
        study.measured_now = ""
        study.wake()
