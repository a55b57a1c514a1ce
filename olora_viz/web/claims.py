"""The page Claims: what papers claim, with a measured verdict on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from markupsafe import Markup

from olora_viz.background.record import READY, WAITING
from olora_viz.figures.theme import lane_styles
from olora_viz.learn.gallery.claims import RecordedClaims, recorded_claims
from olora_viz.machine.text import clock, duration
from olora_viz.races.state import FINISHED, STOPPED
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Claim, Finding, not_measured
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.claims.judging import command_of_claim, needs_study, setup_words, study_within
from olora_viz.studies.sentences import and_
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views import claims as view_of
from olora_viz.views import html as fragments
from olora_viz.views.claims import ShownFinding
from olora_viz.web.decide import StudyWork, check_minutes, of_examples
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor, visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import new_key, study_folder
from olora_viz.web.jobs.queue import Jobs, changes
from olora_viz.web.parts.card import AT_ONCE, PRIVATE, held, read

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
            chat=its.chat, device=its.device, progress=self.progress,
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
            finding = not_measured(self.sentence_on(error))
        self.found[claim.name] = replace(finding, words=self.without_paths(finding.words))
        self.wake()

    def _rests(self) -> bool:
        self.now = ""
        self.become(WAITING)
        return True


def put(jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY) -> Judging:
    """Put the claims on a set-up into the queue.

    Args:
        asked: model, task and minutes, as a page sent them, and perhaps the settings, of which those of the examples
            count.
        owner: who asks for it.

    Raises:
        ValueError: a value breaks a rule, or the queue is full; the message is one sentence.
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
        Judging(name, config, study_folder(jobs.folder / name), styles, minutes=float(minutes), owner=owner)
    )


def minutes_within(limits: Limits) -> list[int]:
    """Return the lengths of a study that a server offers; 0 is none."""
    return [one for one in MINUTES if 60 * one <= limits.max_seconds]


ONLY = "claims-only"
"""CSS class of the columns and cards that this page alone shows."""


class Controls(NamedTuple):
    """This page's components in the top bar."""

    status: gr.HTML
    test: gr.Button
    stop: gr.Button


class Outputs(NamedTuple):
    """What an event fills: a row for every claim, and the parts of the top bar."""

    key: Any
    status: Any
    test: Any
    stop: Any
    rows: tuple[Any, ...]

    @property
    def flat(self) -> list[Any]:
        """All of it, in order."""
        return [*self[:-1], *self.rows]


def controls() -> Controls:
    """Make the status and the buttons, inside the top bar."""
    small: dict[str, Any] = {"scale": 0, "min_width": 0, "elem_classes": ONLY}
    return Controls(
        status=gr.HTML(fragments.status(READY), elem_id="claims-status", elem_classes=ONLY, apply_default_css=False),
        test=gr.Button("▶ Test on my model", variant="primary", elem_id="claims-button", **small),
        stop=gr.Button("■ Stop", elem_id="claims-stop-button", interactive=False, **small),
    )


def choices(limits: Limits) -> gr.Dropdown:
    """Lay out the card below the set-up, and return the length of the study."""
    with gr.Column(elem_classes=f"card {ONLY}"):
        gr.HTML(
            '<h2>What is tested <span class="hint">claims about weights and the start are always tested</span></h2>',
            apply_default_css=False,
        )
        minutes = gr.Dropdown(
            [(duration(60 * one) if one else "no study", one) for one in minutes_within(limits)],
            value=0, label="A study for the claims about training", filterable=False,
            elem_id="claims-minutes",
        )  # fmt: skip
    return minutes


def columns(bar: Controls) -> Outputs:
    """Lay out the list and the cards beside it, inside the row of the Race page."""
    known = recorded_claims()
    with gr.Column(elem_classes=f"intro {ONLY}", min_width=0):
        gr.HTML(_intro(known), elem_id="claims-intro", apply_default_css=False)
    with gr.Column(elem_classes=f"middle {ONLY}", min_width=0), gr.Column(elem_classes="card", elem_id="claims-list"):
        rows = tuple(_row_part(claim, known) for claim in CLAIMS.values())
    with gr.Column(elem_classes=f"side right {ONLY}", scale=0, min_width=0):
        with gr.Column(elem_classes="card"):
            gr.HTML(view_of.how(), elem_id="claims-how", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            gr.HTML(view_of.wins(known.cells), elem_id="claims-wins", apply_default_css=False)
    return Outputs(held("claims"), bar.status, bar.test, bar.stop, rows)


def _row_part(claim: Claim, known: RecordedClaims) -> gr.HTML:
    return gr.HTML(
        view_of.row(claim, _recorded(claim, known)),
        elem_id=f"claim-{claim.name}",
        js_on_load=(Path(__file__).parent / "fold.js").read_text("utf-8"),
        apply_default_css=False,
    )


def _intro(known: RecordedClaims) -> Markup:
    models = list(dict.fromkeys(one.model for one in known.findings))
    where = f"Recorded on {and_(models)}; press" if models else "Press"
    return Markup(
        "<p><b>What the papers say, and what was measured.</b> Each line is a sentence of a paper, "
        "the measurement that decides it, and a verdict with its numbers. {} <b>Test on my model"
        "</b> to repeat on your own model and data.</p>"
    ).format(where)


def connect(
    page: Outputs, minutes: gr.Dropdown, demo: gr.Blocks, jobs: Jobs, limits: Limits, setup: Any, files: VisitorFiles
) -> None:
    """Connect the page to the model and the task of the set-up.

    Args:
        setup: the controls of the model and the task, and that of the settings.
        files: the visitors' own files.
    """

    async def start(request: gr.Request, *asked: Any) -> AsyncIterator[list[Any]]:
        try:
            mine = FilesOfPage(files, request.session_hash)
            work = put(jobs, limits, mine, asked, visitor_of(request))
        except ValueError as error:
            yield some(status=fragments.problem(str(error))).flat
            return
        async for shown in follow(work.id):
            yield shown

    async def go_on(key: Any) -> AsyncIterator[list[Any]]:
        """Show this browser's test again, after its page was closed or reloaded."""
        yield some().flat
        async for shown in follow(key):
            yield shown

    async def follow(key: Any) -> AsyncIterator[list[Any]]:
        drawn: list[Markup] = []
        of = partial(jobs.find, key, Judging)
        async for work, ahead, _ in changes(jobs, of, lambda work: (work.now, len(work.found), work.steps)):
            shown = view(work, ahead)
            yield shown._replace(rows=_changed(shown.rows, drawn)).flat
            drawn = list(shown.rows)

    def stop(key: Any) -> None:
        work = jobs.find(key, Judging)
        if work is not None:
            jobs.stop(work)

    *model_and_task, settings = setup
    asked = [*model_and_task, minutes, settings]
    page.test.click(start, asked, page.flat, concurrency_limit=None, **PRIVATE)
    page.stop.click(stop, page.key, None, **AT_ONCE)
    demo.load(go_on, page.key, page.flat, js=read("claims"), concurrency_limit=None, **PRIVATE)


def some(**shown: Any) -> Outputs:
    """Update the given outputs and leave the others unchanged."""
    kept: dict[str, Any] = {name: gr.skip() for name in Outputs._fields}
    return Outputs(**(kept | {"rows": (gr.skip(),) * len(CLAIMS)} | shown))


def view(work: Judging, ahead: int) -> Outputs:
    """Show what was found on a visitor's model.

    Args:
        ahead: number of jobs ahead of it.
    """
    known, now = recorded_claims(), None if work.ended else work.now
    return Outputs(
        key=work.id,
        status=_status(work, ahead),
        test=gr.update(interactive=work.complete),
        stop=gr.update(interactive=not work.ended),
        rows=tuple(
            view_of.row(claim, _recorded(claim, known), _measured(claim, work), now=claim.name == now)
            for claim in CLAIMS.values()
        ),
    )


def _recorded(claim: Claim, known: RecordedClaims) -> list[ShownFinding]:
    return [ShownFinding.of(one) for one in known.of(claim.name)]


def _measured(claim: Claim, work: Judging) -> ShownFinding | None:
    """Return what was found here; a visitor's own file is told by its name."""
    if claim.name not in work.found:
        return None
    its = work.config
    study = work.known.verdicts if work.known and needs_study(claim) else None
    evidence = replace(work.evidence(study), task=its.task)
    minutes = work.minutes if needs_study(claim) else None
    where = its.model if claim.of_weights else f"{its.model}, {its.task}"
    command = command_of_claim(claim, evidence, minutes=minutes)
    return ShownFinding(work.found[claim.name], where, setup_words(claim, evidence), command)


def _changed(rows: tuple[Any, ...], before: list[Markup]) -> tuple[Any, ...]:
    """Return the rows with those left out that the page shows already."""
    if not before:
        return rows
    pairs = zip(rows, before, strict=True)
    return tuple(gr.skip() if row == shown else row for row, shown in pairs)


def _status(work: Judging, ahead: int) -> Markup:
    if work.state == WAITING:
        return fragments.status(WAITING, f"{ahead} before you" if ahead else "starting")
    parts = [work.note] if work.note else []
    if work.known is not None and not work.ended:
        parts.append(f"{clock(work.known.seconds)} of {duration(60 * work.minutes)}")
        parts.append(f"{work.known.lanes} of {work.known.plan.lanes} lanes")
    parts.append(f"{len(work.found)} of {len(work.wanted)} claims")
    if work.ended and not work.minutes:
        parts.append("those about training need a study")
    return fragments.status(work.state, *parts)
