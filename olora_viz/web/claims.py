"""The page Claims: what papers claim, with a measured verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.background.record import Wait
from olora_viz.background.study import BackgroundStudy, Judging
from olora_viz.learn.gallery.claims import RecordedClaims, recorded_claims
from olora_viz.machine.wording import and_, clock, duration
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import NOT_MEASURED, Claim
from olora_viz.studies.claims.commands import command_of_claim, setup_words
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.views.claims import ShownFinding, how, row, wins
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.guard.visitor_files import OwnFiles, VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import PageWork, StartButton, StudyBar, checked_study, put_study, study_status
from olora_viz.web.parts.card import element, held, in_card

CLAIM_MINUTES = (0, 1, 2, 5, 10, 20)
"""The lengths of a study that a page offers, as far as the server's own limit allows them."""


JUDGING = Judging()


def put(jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY) -> BackgroundStudy:
    """Put the claims on a set-up into the queue, see `put_study`.

    Args:
        asked: model, task and minutes, as a page sent them, and perhaps the settings.
    """
    model, task, minutes, *settings = asked
    config = checked_study(
        limits, files, minutes_within(limits), model=model, task=task, minutes=minutes,
        inits=(REFERENCE, OURS), rank=min(ClaimEvidence.rank, limits.max_rank),
        batch=min(ClaimEvidence.batch_size, limits.max_batch), settings=settings[0] if settings else None,
    )  # fmt: skip
    return put_study(jobs, config, JUDGING, minutes, owner)


def minutes_within(limits: Limits) -> list[int]:
    """Return the lengths of a study that a server offers; 0 is none."""
    return [minutes for minutes in CLAIM_MINUTES if 60 * minutes <= limits.max_seconds]


ONLY_CLAIMS = "claims-only"
"""CSS class of the columns and cards that this page alone shows."""


class ClaimsView(NamedTuple):
    """What the page's outputs show, or their components: the parts of the top bar, and a row for every claim."""

    key: Any = gr.skip()
    status: Any = gr.skip()
    test: Any = gr.skip()
    stop: Any = gr.skip()
    rows: tuple[Any, ...] = (gr.skip(),) * len(CLAIMS)

    @property
    def flat(self) -> list[Any]:
        """All of it, in order."""
        return [self.key, self.status, self.test, self.stop, *self.rows]


def choices(limits: Limits) -> gr.Dropdown:
    """Lay out the card below the set-up, and return the length of the study."""
    with gr.Column(elem_classes=f"card {ONLY_CLAIMS}"):
        element(
            '<h2>What is tested <span class="hint">claims about weights and the start are always tested</span></h2>'
        )
        minutes = gr.Dropdown(
            [(duration(60 * length) if length else "no study", length) for length in minutes_within(limits)],
            value=0, label="A study for the claims about training", filterable=False,
            elem_id="claims-minutes",
        )  # fmt: skip
    return minutes


def columns(bar: StudyBar) -> ClaimsView:
    """Lay out the list and the cards beside it, inside the row of the Race page."""
    known = recorded_claims()
    with gr.Column(elem_classes=f"intro {ONLY_CLAIMS}", min_width=0):
        element(intro(known), elem_id="claims-intro")
    middle = gr.Column(elem_classes=f"middle {ONLY_CLAIMS}", min_width=0)
    with middle, gr.Column(elem_classes="card", elem_id="claims-list"):
        rows = tuple(
            element(value, elem_id=f"claim-{name}", script="fold.js")
            for name, value in zip(CLAIMS, _rows(known), strict=True)
        )
    with gr.Column(elem_classes=f"side right {ONLY_CLAIMS}", scale=0, min_width=0):
        in_card(element, how(), elem_id="claims-how")
        in_card(element, wins(known.cells), elem_id="claims-wins")
    return ClaimsView(held("claims"), bar.status, bar.start, bar.stop, rows)


def intro(known: RecordedClaims, *, live: bool = True) -> Markup:
    """Return what the page shows; `live` offers to measure it here."""
    models = list(dict.fromkeys(finding.model for finding in known.findings))
    where = f"Recorded on {and_(models)}" if models else "Nothing is recorded yet"
    press = Markup("; press <b>Test on my model</b> to repeat on your own model and data") if live else ""
    return Markup(
        "<p><b>What the papers say, and what was measured.</b> Each line is a sentence of a paper with a verdict; "
        "it opens to the measurement and its numbers. {}{}.</p>"
    ).format(where, press)


def connect(
    page: ClaimsView,
    minutes: gr.Dropdown,
    demo: gr.Blocks,
    jobs: Jobs,
    limits: Limits,
    setup: Sequence[Any],
    files: VisitorFiles,
) -> None:
    """Connect the page to the model and the task of the set-up.

    Args:
        setup: the controls of the model and the task, and that of the settings.
    """
    *model_and_task, settings = setup
    start = StartButton(page.test, [*model_and_task, minutes, settings], partial(put, jobs, limits))
    work = PageWork(
        {page.key: BackgroundStudy}, page.flat, page.status, lambda work, ahead, last: view(work, ahead, last).flat
    )
    work.connect(demo, jobs, files, [start], page.stop)


def view(work: BackgroundStudy, ahead: Wait, last: bool) -> ClaimsView:
    """Show what was measured on a visitor's model, with what is `ahead` of it; the page's last update is `last`."""
    return ClaimsView(
        key=work.id,
        status=_status(work, ahead),
        test=gr.update(interactive=last),
        stop=gr.update(interactive=not work.ended),
        rows=_rows(recorded_claims(), work),
    )


def _rows(known: RecordedClaims, work: BackgroundStudy | None = None) -> tuple[Markup, ...]:
    """Return a row for every claim, with what is recorded and what was measured here."""
    now = work.measured_now if work and not work.ended else ""
    return tuple(
        row(
            claim,
            [ShownFinding.of(finding) for finding in known.of(claim.name)],
            _measured(claim, work) if work else None,
            now=claim.name == now,
        )
        for claim in CLAIMS.values()
    )


def _measured(claim: Claim, work: BackgroundStudy) -> ShownFinding | None:
    """Return what was measured here; a visitor's own files are shown by their names."""
    if claim.name not in work.findings:
        return None
    model, task, keep = work.config.model, work.config.task, work.config.keep
    study = work.known.verdicts if work.known and claim.needs_study else None
    evidence = replace(JUDGING.evidence(work), task=task, keep=keep, study=study)
    minutes = int(work.minutes) if claim.needs_study else None
    where = model if claim.of_weights else f"{model}, {task}"
    command = command_of_claim(claim, evidence, minutes=minutes)
    return ShownFinding(work.findings[claim.name], where, setup_words(claim, evidence), command)


def _status(work: BackgroundStudy, ahead: Wait) -> Markup:
    facts = []
    if work.known is not None and not work.ended:
        facts.append(f"{clock(work.known.seconds)} of {duration(60 * work.minutes)}")
        facts.append(f"{work.known.lanes} of {work.known.plan.lanes} lanes")
    facts.append(f"{len(work.findings)} of {len(JUDGING.wanted(work))} claims")
    if work.ended and not work.minutes:
        facts.append("those about training need a study")
    left = sum(finding.verdict == NOT_MEASURED for finding in work.findings.values())
    if work.ended and left:
        facts.append(f"{left} not measured: each says why")
    return study_status(work, ahead, *facts)
