"""Claims judged on a visitor's model and task, as work for the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from olora_viz.figures.theme import lane_styles
from olora_viz.races.state import FINISHED, STOPPED
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Claim, Finding, not_measured
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.judging import needs_study, study_within
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views.race_record import WAITING
from olora_viz.web.decide.study_work import StudyWork, check_minutes, of_examples
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor
from olora_viz.web.jobs.job import new_key, study_folder
from olora_viz.web.jobs.queue import Jobs

MINUTES = (0, 1, 2, 5, 10, 20)
"""The lengths of a study that a page offers, as far as the server's own limit allows them."""

MEASURING = "measuring"


@dataclass(eq=False)
class Judging(StudyWork):
    """The claims on the model and task of a set-up: those at the start, then those on a study.

    No minutes are no study, which leaves the claims about training out.
    """

    found: dict[str, Finding] = field(default_factory=dict)
    """What was found by now, by the claim's name."""
    now: str = ""
    """The claim that is measured now."""

    @property
    def wanted(self) -> list[Claim]:
        """The claims that it judges."""
        return [its for its in CLAIMS.values() if self.minutes or not needs_study(its)]

    def evidence(self, study: Verdicts | None = None) -> ClaimEvidence:
        """Return what claims are judged on, with a visitor's own file by its path."""
        its = self.raced
        return ClaimEvidence(
            model=its.model, task=its.task, study=study, rank=its.lanes[0].r,
            batch_size=its.batch_size, max_length=its.max_length, truncate=its.truncate,
            chat=its.chat, device=its.device, progress=self.tell,
        )  # fmt: skip

    def run(self) -> bool:
        """Judge one claim after the other until the end, or until others take their turn."""
        self.begin_turn()
        evidence = self.evidence()
        for claim in self.wanted:
            if needs_study(claim) or claim.name in self.found:
                continue
            if self.gives_way():
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
        road = study_within(
            self.minutes_left, self.folder, self.evidence(), plan=known.plan if known else None,
            watch=self.goes_on, threads=torch.get_num_threads(),
        )  # fmt: skip
        self.learn(road)
        if self.waits or self.known is None:
            return
        evidence = self.evidence(self.known.verdicts)
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
    asked : model, task and minutes, as a page sent them, and perhaps the settings, of which those
        of the examples count.
    owner : who asks for it.

    Raises
    ------
    ValueError : a value breaks a rule, or the queue is full; the message is one sentence.
    """
    model, task, minutes, *settings = asked
    check_minutes(minutes, minutes_within(limits))
    rank = min(ClaimEvidence.rank, limits.max_rank)
    config = checked_config(
        limits, model=model, task=task, steps=1,
        batch=min(ClaimEvidence.batch_size, limits.max_batch), files=files,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in (REFERENCE, OURS)],
        settings=of_examples(*settings),
    )  # fmt: skip
    name = new_key()
    styles = lane_styles(config.lanes)
    return jobs.put(
        Judging(
            name, config, study_folder(jobs.folder / name), styles, minutes=float(minutes),
            owner=owner,
        )
    )  # fmt: skip


def minutes_within(limits: Limits) -> list[int]:
    """Return the lengths of a study that a server offers; 0 is none."""
    return [one for one in MINUTES if 60 * one <= limits.max_seconds]
