"""Claims judged on a visitor's model and task, as work for the queue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from olora_viz.figures.theme import lane_styles
from olora_viz.races.state import FINISHED, STOPPED
from olora_viz.races.step import Step
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Claim, Finding, not_measured
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.deciding import Decision
from olora_viz.studies.judging import needs_study, study_within
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views.race_record import WAITING
from olora_viz.web.conditioning.measurement import WorkHere
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import new_key
from olora_viz.web.jobs.queue import Jobs

MINUTES = (0, 1, 2, 5, 10, 20)
"""The lengths of a study that a page offers, as far as the server's own limit allows them."""

TURN = 10.0
"""Seconds after which it lets others who wait take their turn."""

MEASURING = "measuring"

LEFT = "nobody follows it any more"


@dataclass(eq=False)
class Judging(WorkHere):
    """The claims on the model and task of a set-up: those at the start, then those on a study."""

    minutes: float = 0.0
    """The length of the study; 0 for none, which leaves the claims about training out."""
    found: dict[str, Finding] = field(default_factory=dict)
    """What was found by now, by the claim's name."""
    now: str = ""
    """The claim that is measured now."""
    known: Decision | None = None
    """What is known of the study; None before its plan."""
    steps: int = 0
    """Number of steps that its races have run."""
    began: float = 0.0
    """When its turn began, by the monotonic clock."""
    waits: bool = False
    """Whether it lets others take their turn."""

    @property
    def wanted(self) -> list[Claim]:
        """The claims that it judges."""
        return [its for its in CLAIMS.values() if self.minutes or not needs_study(its)]

    def evidence(self, study: Verdicts | None = None) -> ClaimEvidence:
        """Return what claims are judged on, with a visitor's own file by its path."""
        its = self.raced
        return ClaimEvidence(
            model=its.model, task=its.task, study=study, rank=its.lanes[0].r,
            batch_size=its.batch_size, max_length=its.max_length, device=its.device,
            progress=self.tell,
        )  # fmt: skip

    def run(self) -> bool:
        """Judge one claim after the other until the end, or until others take their turn."""
        self.began, self.waits = time.monotonic(), False
        evidence = self.evidence()
        for claim in self.wanted:
            if needs_study(claim) or claim.name in self.found:
                continue
            if self._gives_way():
                return self._rests()
            self._judge(claim, evidence)
        if self.minutes and not self.is_over():
            del evidence  # with its model, which the study loads for itself
            self._study()
            if self.waits:
                return self._rests()
        self.now = ""
        self.become(*(STOPPED, self.why) if self.is_over() else (FINISHED, ""))
        return False

    def _study(self) -> None:
        """Run the study, and judge the claims about training on all that has finished."""
        self.now = ""
        known = self.known
        left = self.minutes - (known.seconds / 60 if known else 0.0)
        road = study_within(
            max(0.1, left), self.folder, self.evidence(), plan=known.plan if known else None,
            watch=self._goes_on, threads=torch.get_num_threads(),
        )  # fmt: skip
        for known in road:
            self.known = known
            self.become(known.stage)
        if self.waits or known is None:
            return
        evidence = self.evidence(known.verdicts)
        for claim in self.wanted:
            if needs_study(claim):
                self._judge(claim, evidence)

    def _judge(self, claim: Claim, evidence: ClaimEvidence) -> None:
        """Judge one claim; what makes it impossible is its finding."""
        self.now = claim.name
        self.become(MEASURING)
        try:
            finding = claim.judge(evidence)
        except ValueError as error:
            finding = not_measured(self.words(error))
        self.found[claim.name] = replace(finding, words=self.sayable(finding.words))
        self.wake()

    def _goes_on(self, step: Step) -> bool:
        self.steps, self.note = self.steps + 1, ""
        if time.monotonic() - self.seen > self.grace:
            self.stop(LEFT)
        self.wake()
        return not self._gives_way() and not self.is_over()

    def _gives_way(self) -> bool:
        self.waits = time.monotonic() - self.began > TURN and self.others_wait()
        return self.waits

    def _rests(self) -> bool:
        self.now = ""
        self.become(WAITING)
        return True


def put(
    jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY
) -> Judging:
    """Put the claims on a set-up into the queue.

    Parameters
    ----------
    asked : model, task and minutes, as a page sent them.
    owner : who asks for it.

    Raises
    ------
    ValueError : a value breaks a rule, or the queue is full; the message is one sentence.
    """
    model, task, minutes = asked
    if isinstance(minutes, bool) or minutes not in minutes_within(limits):
        offered = ", ".join(map(str, minutes_within(limits)))
        raise ValueError(f"minutes must be one of {offered}, not {minutes!r:.40}")
    rank = min(ClaimEvidence.rank, limits.max_rank)
    config = checked_config(
        limits, model=model, task=task, steps=1,
        batch=min(ClaimEvidence.batch_size, limits.max_batch), files=files,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in (REFERENCE, OURS)],
    )  # fmt: skip
    name = new_key()
    styles = lane_styles(config.lanes)
    return jobs.put(
        Judging(name, config, jobs.folder / name, styles, minutes=float(minutes), owner=owner)
    )


def minutes_within(limits: Limits) -> list[int]:
    """Return the lengths of a study that a server offers; 0 is none."""
    return [one for one in MINUTES if 60 * one <= limits.max_seconds]
