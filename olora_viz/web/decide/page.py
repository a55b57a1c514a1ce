"""The page Decide: the data of the set-up, a time limit, and at the end one recommendation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.initializers import label_of
from olora_viz.machine.numbers import duration
from olora_viz.studies.budget import METHODS
from olora_viz.views import decision
from olora_viz.views import html as fragments
from olora_viz.views.decision import BEFORE
from olora_viz.views.race_record import READY, WAITING
from olora_viz.web.decide.work import REFERENCE, Deciding, minutes_within, put, take_home
from olora_viz.web.event_options import AT_ONCE, PRIVATE
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.changes import changes
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.held import held, read, stored

ONLY = "decide-only"
"""CSS class of the columns and cards that this page alone shows."""

QUESTION = (
    "<p><b>Which start, which learning rate, for your own data?</b> Every start gets the same "
    "rates and seeds; rates are chosen on validation examples, and the result is judged on test "
    "examples that were used for nothing else.</p>"
)


class Shown(NamedTuple):
    """What the page's outputs show, in their order."""

    key: Any
    status: Any
    headline: Any
    take: Any
    rates: Any
    differences: Any
    starts: Any
    answers: Any
    plan: Any
    decide: Any
    stop: Any


class Controls(NamedTuple):
    """This page's components in the top bar."""

    status: gr.HTML
    decide: gr.Button
    stop: gr.Button


class Choices(NamedTuple):
    """The controls in the left column, beside those of the set-up."""

    minutes: gr.Dropdown
    inits: gr.CheckboxGroup
    rank: gr.Slider


def controls() -> Controls:
    """Make the status and the buttons, inside the top bar."""
    small: dict[str, Any] = {"scale": 0, "min_width": 0, "elem_classes": ONLY}
    return Controls(
        status=gr.HTML(
            fragments.status(READY), elem_id="decide-status", elem_classes=ONLY,
            apply_default_css=False,
        ),
        decide=gr.Button("▶ Decide", variant="primary", elem_id="decide-button", **small),
        stop=gr.Button("■ Stop", elem_id="decide-stop-button", interactive=False, **small),
    )  # fmt: skip


def choices(limits: Limits) -> Choices:
    """Lay out the cards below the set-up."""
    within = minutes_within(limits)
    with gr.Column(elem_classes=f"card {ONLY}"):
        gr.HTML("<h2>2 · How long</h2>", apply_default_css=False)
        minutes = gr.Dropdown(
            [(duration(60 * one), one) for one in within], label="Time limit",
            value=max(one for one in within if one <= 2), filterable=False,
            elem_id="decide-minutes",
        )  # fmt: skip
    with gr.Column(elem_classes=f"card {ONLY}"):
        gr.HTML("<h2>3 · Which starts to compare</h2>", apply_default_css=False)
        inits = gr.CheckboxGroup(
            [(label_of(name), name) for name in decision.offered()],
            value=[name for name in METHODS if name != REFERENCE],
            label="Compared with plain LoRA", elem_id="decide-inits",
        )  # fmt: skip
        more = len(decision.offered()) - len(METHODS) + 1
        gr.HTML(
            f'<label class="more"><input type="checkbox" id="all-starts"> show {more} more</label>',
            apply_default_css=False,
        )
        rank = gr.Slider(
            1, min(64, limits.max_rank), value=8, step=1, label="Rank", elem_id="decide-rank"
        )
    return Choices(minutes, inits, rank)


def columns(jobs: Jobs, bar: Controls) -> Shown:
    """Lay out the middle and the right column, inside the row of the Race page."""
    before = decision.figures_before()
    with gr.Column(elem_classes=f"middle {ONLY}", min_width=0):
        gr.HTML(QUESTION, elem_id="decide-question", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            headline = gr.HTML(
                BEFORE["headline"], elem_id="decide-headline", apply_default_css=False,
            )  # fmt: skip
            take = _take_card(jobs)
        with gr.Column(elem_classes="card"):
            rates = live_figure(before["rates"], elem_id="decide-rates")
        with gr.Column(elem_classes="card"):
            differences = live_figure(before["differences"], elem_id="decide-differences")
    with gr.Column(elem_classes=f"side right {ONLY}", scale=0, min_width=0):
        with gr.Column(elem_classes="card"):
            starts = gr.HTML(
                BEFORE["table"], elem_id="decide-starts", apply_default_css=False,
            )  # fmt: skip
        with gr.Column(elem_classes="card"):
            plan = gr.HTML(
                BEFORE["plan"], elem_id="decide-plan", apply_default_css=False,
            )  # fmt: skip
        with gr.Column(elem_classes="card"):
            answers = gr.HTML(
                BEFORE["answers"], elem_id="decide-answers", apply_default_css=False,
            )  # fmt: skip
    return Shown(
        held("decision"), bar.status, headline, take, rates, differences, starts, answers, plan,
        bar.decide, bar.stop,
    )  # fmt: skip


def connect(
    page: Shown, its: Choices, demo: gr.Blocks, jobs: Jobs, limits: Limits, setup: Any,
    files: VisitorFiles,
) -> None:  # fmt: skip
    """Connect the page to the model and the task of the set-up.

    Parameters
    ----------
    setup : the controls of the model and the task, and that of the settings.
    files : the visitors' own files.
    """

    async def start(request: gr.Request, *asked: Any) -> AsyncIterator[Shown]:
        try:
            mine = FilesOfPage(files, request.session_hash)
            work = put(jobs, limits, mine, asked, visitor_of(request))
        except ValueError as error:
            yield some(status=fragments.problem(str(error)))
            return
        async for shown in follow(work.id):
            yield shown

    async def go_on(key: Any) -> AsyncIterator[Shown]:
        """Show this browser's decision again, after its page was closed or reloaded."""
        yield some()
        async for shown in follow(key):
            yield shown

    async def follow(key: Any) -> AsyncIterator[Shown]:
        drawn: Any = None
        of = partial(jobs.find, key, Deciding)
        async for work, ahead, complete in changes(jobs, of, lambda work: (work.steps,)):
            last, drawn = drawn, (work.known, complete)
            yield await asyncio.to_thread(view, work, ahead, draw=drawn != last)

    def stop(key: Any) -> None:
        work = jobs.find(key, Deciding)
        if work is not None:
            jobs.stop(work)

    *model_and_task, settings = setup
    asked = [*model_and_task, *its, settings]
    page.decide.click(start, asked, list(page), concurrency_limit=None, **PRIVATE)
    page.stop.click(stop, page.key, None, **AT_ONCE)
    demo.load(go_on, page.key, list(page), js=read("decision"), concurrency_limit=None, **PRIVATE)


def some(**shown: Any) -> Shown:
    """Update the given outputs and leave the others unchanged."""
    kept: dict[str, Any] = {name: gr.skip() for name in Shown._fields}
    return Shown(**(kept | shown))


def view(work: Deciding, ahead: int, *, draw: bool) -> Shown:
    """Show a decision.

    Parameters
    ----------
    ahead : number of jobs ahead of it.
    draw : whether more is known than at the last update.
    """
    known, ended = work.known, work.complete
    shown: dict[str, Any] = {
        "key": work.id,
        "status": _status(work, ahead),
        "decide": gr.update(interactive=ended),
        "stop": gr.update(interactive=not work.ended),
    }
    if draw:
        shown["take"] = {
            "ready": ended and bool(known and known.taken),
            "adapter": ended and bool(known and known.adapter),
        }
    if draw and known is not None:
        figures = decision.figures(known)
        shown |= {
            "headline": decision.headline(known), "starts": decision.starts(known),
            "plan": decision.plan(known), "rates": pack(figures["rates"]),
            "differences": pack(figures["differences"]),
        }  # fmt: skip
        if known.answers:
            shown["answers"] = decision.answers(known)
    return some(**shown)


def _status(work: Deciding, ahead: int) -> Markup:
    if work.state == WAITING:
        return fragments.status(WAITING, f"{ahead} before you" if ahead else "starting")
    parts = [work.note] if work.note else []
    parts += decision.progress(work.known) if work.known else ()
    return fragments.status(work.state, *parts)


def _take_card(jobs: Jobs) -> gr.HTML:
    def decided(asked: Any) -> dict[str, str]:
        key, kind = asked if isinstance(asked, list) and len(asked) == 2 else (None, None)
        return take_home(jobs, key, kind)

    return gr.HTML(
        value={},
        elem_id="decide-take",
        html_template=(
            f'<div class="exports" data-held="{stored("decision")}">'
            '<button type="button" class="quiet" data-kind="adapter" disabled '
            'title="The adapter of the decision, in PEFT\'s format, zipped">'
            '★ Take this adapter</button><button type="button" class="quiet" data-kind="report" '
            'disabled title="What was run, and what the decision rests on">Report</button>'
            '<span class="hint" role="status"></span></div>'
        ),
        js_on_load=bundle(Path(__file__).parent / "take.js"),
        apply_default_css=False,
        server_functions=[decided],
    )
