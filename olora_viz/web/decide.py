"""The page Decide: which initialization and rate to take within some minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from markupsafe import Markup

from olora_viz.background.decision import PLANNING, end_of
from olora_viz.background.record import READY, WAITING
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.figures.theme import lane_styles
from olora_viz.initializers import label_of
from olora_viz.machine.files import write_zip
from olora_viz.machine.text import duration
from olora_viz.races.step import Step
from olora_viz.studies.budget import METHODS
from olora_viz.studies.decide import Decision, decide
from olora_viz.studies.study import Study
from olora_viz.views import decision
from olora_viz.views import html as fragments
from olora_viz.views.decision import BEFORE
from olora_viz.views.reports import write_report
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor, visitor_of
from olora_viz.web.guard.visitor_files import DOWNLOADS, FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import Work, new_key, study_folder
from olora_viz.web.jobs.queue import Jobs, changes
from olora_viz.web.parts.card import AT_ONCE, PRIVATE, held, read, stored

TURN = 10.0
"""Seconds after which it lets others who wait take their turn."""

OF_EXAMPLES = ("chat", "truncate")
"""The settings of a race that decisions and claims have as well."""

LEFT = "nobody follows it any more"


@dataclass(eq=False)
class StudyWork(Work):
    """A decision, or claims about training: a study on the model and task of a set-up."""

    minutes: float = 0.0
    """The time limit of the study."""
    known: Decision | None = None
    """What is known of the study; None before its plan."""
    steps: int = 0
    """Number of steps that its races have run."""
    began: float = 0.0
    """When its turn began, by the monotonic clock."""
    waits: bool = False
    """Whether it lets others take their turn."""

    @property
    def minutes_left(self) -> float:
        """The minutes that earlier turns have left of the limit, a few seconds at least."""
        return max(0.1, self.minutes - (self.known.seconds / 60 if self.known else 0.0))

    def begin_turn(self) -> None:
        """Begin a turn, the first one or another."""
        self.began, self.waits = time.monotonic(), False

    def learn(self, road: Iterable[Decision]) -> None:
        """Go a study's road to its end, or until others take their turn."""
        for known in road:
            self.known = known
            self.become(known.stage)

    def goes_on(self, step: Step) -> bool:
        """Return after a step of its races whether to go on."""
        self.steps, self.note = self.steps + 1, ""
        if time.monotonic() - self.seen > self.grace:
            self.stop(LEFT)
        self.wake()
        return not self.gives_way() and not self.is_over()

    def gives_way(self) -> bool:
        """Return whether its turn is over and others wait."""
        self.waits = time.monotonic() - self.began > TURN and self.others_wait()
        return self.waits


def check_minutes(minutes: object, offered: Sequence[int]) -> None:
    """Check a time limit that a page sent.

    Raises:
        ValueError: it is not among those offered.
    """
    if isinstance(minutes, bool) or minutes not in offered:
        raise ValueError(f"minutes must be one of {', '.join(map(str, offered))}, not {minutes!r:.40}")


def of_examples(settings: Any = None) -> dict[str, Any]:
    """Return those settings, as a page sent them, that say how examples are read."""
    said = settings if isinstance(settings, dict) else {}
    return {name: said[name] for name in OF_EXAMPLES if name in said}


MINUTES = (1, 2, 5, 10, 20)
"""The time limits that a page offers, as far as the server's own allows them."""

MOST_METHODS = 8
"""Maximum methods of a decision."""

REFERENCE = Study.reference


@dataclass(eq=False)
class Deciding(StudyWork):
    """A decision on the model and task of a set-up; its lanes are the methods, at no rate yet."""

    def run(self) -> bool:
        """Go the road to its end, or until others take their turn.

        What is known stays when it is stopped.
        """
        self.begin_turn()
        self.become(PLANNING if self.known is None else self.known.stage)
        its, known = self.raced, self.known
        road = decide(
            self.folder, minutes=self.minutes_left, plan=known.plan if known else None,
            model=its.model, task=its.task, inits=[lane.init for lane in its.lanes],
            ranks=(its.lanes[0].r,), device=its.device, max_length=its.max_length,
            truncate=its.truncate, chat=its.chat,
            threads=torch.get_num_threads(), watch=self.goes_on, progress=self.progress,
        )  # fmt: skip
        self.learn(road)
        self.become(*((WAITING,) if self.waits else end_of(self, self.known)))
        return self.waits


def put(jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY) -> Deciding:
    """Put a decision into the queue.

    Args:
        asked: model, task, minutes, methods and rank, as a page sent them, and perhaps the settings, of which those of
            the examples count.
        owner: who asks for it.

    Raises:
        ValueError: a value breaks a rule, or the queue is full; the message is one sentence.
    """
    model, task, minutes, inits, rank, *settings = asked
    check_minutes(minutes, minutes_within(limits))
    if not isinstance(inits, list) or not 1 <= len(inits) <= MOST_METHODS:
        raise ValueError(f"choose 1 to {MOST_METHODS} starts to compare with plain LoRA")
    methods = [REFERENCE, *(init for init in inits if init != REFERENCE)]
    if len(methods) < 2:
        raise ValueError("choose a start to compare with plain LoRA")
    config = checked_config(
        limits, model=model, task=task, steps=1, batch=1,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in methods], files=files,
        settings=of_examples(*settings),
    )  # fmt: skip
    name = new_key()
    styles = lane_styles(config.lanes)
    return jobs.put(
        Deciding(name, config, study_folder(jobs.folder / name), styles, minutes=float(minutes), owner=owner)
    )


def minutes_within(limits: Limits) -> list[int]:
    """Return the time limits that a server offers, at least the shortest one."""
    return [one for one in MINUTES if 60 * one <= limits.max_seconds] or [MINUTES[0]]


def take_home(jobs: Jobs, key: object, kind: object) -> dict[str, str]:
    """Return the URL of the report or of the zipped adapter, which expires; or the reason why not.

    Args:
        key: of the decision, its owner's.
        kind: ``report`` or ``adapter``.
    """
    work = jobs.find(key, Deciding)
    known = work.known if work else None
    if work is None or known is None or not work.complete:
        return {"problem": "there is nothing to take yet: the decision has not ended"}
    name = f"{known.plan.study.models[0]}-decision"
    if kind == "report":
        path = work.folder / "report.html"
        name += ".html"
        if not path.exists() and known.taken is not None:
            write_report(known, work.config.task)
    elif known.adapter is None:
        return {"problem": "it ended before the adapter was trained"}
    else:
        path = work.folder / "adapter.zip"
        name += ".zip"
        if not path.exists():
            write_zip(path, known.adapter)
    if not path.exists():
        return {"problem": "it ended before anything was known"}
    return {"url": DOWNLOADS.offer(path), "name": name}


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
        status=gr.HTML(fragments.status(READY), elem_id="decide-status", elem_classes=ONLY, apply_default_css=False),
        decide=gr.Button("▶ Decide", variant="primary", elem_id="decide-button", **small),
        stop=gr.Button("■ Stop", elem_id="decide-stop-button", interactive=False, **small),
    )


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
        rank = gr.Slider(1, min(64, limits.max_rank), value=8, step=1, label="Rank", elem_id="decide-rank")
    return Choices(minutes, inits, rank)


def columns(jobs: Jobs, bar: Controls) -> Shown:
    """Lay out the middle and the right column, inside the row of the Race page."""
    before = decision.figures_before()
    with gr.Column(elem_classes=f"middle {ONLY}", min_width=0):
        gr.HTML(QUESTION, elem_id="decide-question", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            headline = gr.HTML(BEFORE["headline"], elem_id="decide-headline", apply_default_css=False)
            take = _take_card(jobs)
        with gr.Column(elem_classes="card"):
            rates = live_figure(before["rates"], elem_id="decide-rates")
        with gr.Column(elem_classes="card"):
            differences = live_figure(before["differences"], elem_id="decide-differences")
    with gr.Column(elem_classes=f"side right {ONLY}", scale=0, min_width=0):
        with gr.Column(elem_classes="card"):
            starts = gr.HTML(BEFORE["table"], elem_id="decide-starts", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            plan = gr.HTML(BEFORE["plan"], elem_id="decide-plan", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            answers = gr.HTML(BEFORE["answers"], elem_id="decide-answers", apply_default_css=False)
    return Shown(
        held("decision"), bar.status, headline, take, rates, differences, starts, answers, plan, bar.decide, bar.stop
    )


def connect(
    page: Shown, its: Choices, demo: gr.Blocks, jobs: Jobs, limits: Limits, setup: Any, files: VisitorFiles
) -> None:
    """Connect the page to the model and the task of the set-up.

    Args:
        setup: the controls of the model and the task, and that of the settings.
        files: the visitors' own files.
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

    Args:
        ahead: number of jobs ahead of it.
        draw: whether more is known than at the last update.
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
        js_on_load=bundle(Path(__file__).parent / "decide.js"),
        apply_default_css=False,
        server_functions=[decided],
    )
