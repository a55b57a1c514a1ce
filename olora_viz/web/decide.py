"""The page Decide: which recipe to take within some minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.background.record import FAILED, Wait
from olora_viz.background.study import BackgroundStudy, Deciding, asked_by
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.initializers import label_of
from olora_viz.machine.files import write_zip
from olora_viz.machine.wording import duration
from olora_viz.races.config import RaceConfig
from olora_viz.studies.budget import first_race
from olora_viz.studies.decide import RECIPE_FOLDER, Decision, asked_study
from olora_viz.studies.foresight import TaskRows, foreseen
from olora_viz.studies.method import METHODS
from olora_viz.studies.recipe_search import BATCH_SIZES, CHOICES, checked_search
from olora_viz.views import decision
from olora_viz.views.decision import FIRST_TEXTS
from olora_viz.views.html import problem
from olora_viz.views.reports import write_report
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.guard.visitor_files import DOWNLOADS, FilesOfPage, OwnFiles, VisitorFiles, own_name
from olora_viz.web.jobs.job import here
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import PageWork, StartButton, StudyBar, checked_study, put_study, study_status
from olora_viz.web.parts.card import element, held, in_card, on_changes, stored

DECIDE_MINUTES = (1, 2, 5, 10, 20)
"""The time limits that a page offers, as far as the server's own allows them."""

MOST_METHODS = 8

REFERENCE_METHOD = METHODS[0]


def put(jobs: Jobs, limits: Limits, files: OwnFiles, asked: Sequence[Any], owner: Visitor = NOBODY) -> BackgroundStudy:
    """Put a decision into the queue, see `put_study`.

    Args:
        asked: see `checked`.
    """
    return put_study(jobs, *checked(limits, files, asked), owner)


def checked(limits: Limits, files: OwnFiles, asked: Sequence[Any]) -> tuple[RaceConfig, Deciding, int]:
    """Return the set-up of a decision, what it is to find out, and in how many minutes.

    Args:
        asked: model, task, minutes, methods, rank and what is searched, as a page sent them, and perhaps the settings
            and the limit on what may be forgotten.

    Raises:
        ValueError: a value breaks a rule; the message is one sentence.
    """
    model, task, minutes, inits, rank, search, settings, forget, *_ = (*asked, None, None)
    if not isinstance(inits, list) or not 1 <= len(inits) <= MOST_METHODS:
        raise ValueError(f"choose 1 to {MOST_METHODS} starts to compare with plain LoRA")
    methods = [REFERENCE_METHOD, *(init for init in inits if init != REFERENCE_METHOD)]
    if len(methods) < 2:
        raise ValueError("choose a start to compare with plain LoRA")
    config = checked_study(
        limits, files, minutes_within(limits), model=model, task=task, minutes=minutes, inits=methods, rank=rank,
        settings=settings, forget=forget,
    )  # fmt: skip
    return config, Deciding({"search": checked_search(search)}, of_set_up=True), minutes


def ahead(jobs: Jobs, limits: Limits, files: OwnFiles, key: Any, asked: Sequence[Any]) -> Markup:
    """Say what is known of a decision before it starts; empty if it is the one that the page shows.

    Args:
        key: of the decision that the page shows, if any.
        asked: see `checked`.
    """
    try:
        config, question, minutes = checked(limits, files, asked)
        shown = jobs.find(key, BackgroundStudy)
        if shown and (shown.config, shown.question, shown.minutes) == (here(config), question, minutes):
            return Markup("")
        given = {"model": config.model, "task": config.task, **asked_by(config)}
        study, reading = asked_study(given), jobs.speeds.reading(config)
        parts = TaskRows(reading.train, reading.held_out, reading.test, reading.scored)
        lines = foreseen(
            study, parts, minutes, lambda sized: jobs.speeds.timing_of(first_race(sized)), given,
            question.settings["search"],
        )  # fmt: skip
    except ValueError as error:
        return problem(str(error))
    return decision.ahead(lines, instead=shown is not None)


def minutes_within(limits: Limits) -> list[int]:
    """Return the time limits that a server offers, at least the shortest one."""
    return [minutes for minutes in DECIDE_MINUTES if 60 * minutes <= limits.max_seconds] or [DECIDE_MINUTES[0]]


def download_of(jobs: Jobs, key: object, kind: object) -> dict[str, str]:
    """Return the URL of the report, or of the zipped adapter or recipe, which expires; or the reason why not.

    Args:
        key: of the decision, its owner's.
        kind: ``report``, ``recipe`` or ``adapter``.
    """
    work = jobs.find(key, BackgroundStudy)
    known = work.known if work else None
    if work is None or known is None or not work.complete:
        return {"problem": "there is nothing to take yet: the decision has not ended"}
    name = f"{known.plan.study.values('model')[0]}-decision"
    if kind == "report":
        path = work.folder / "report.html"
        name += ".html"
        if not path.exists() and known.taken is not None:
            names = {field: own_name(own) for field, own in work.own_files.items()}
            write_report(known, *(names.get(field, getattr(work.config, field)) for field in ("task", "keep")))
    elif kind == "recipe":
        path = work.folder / "recipe.zip"
        name += "-recipe.zip"
        if not path.exists() and known.recipe:
            write_zip(path, known.folder / RECIPE_FOLDER)
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


ONLY_DECIDE = "decide-only"
"""CSS class of the columns and cards that this page alone shows."""

OPENING_QUESTION = (
    "<p><b>Which recipe for your own data?</b> Target modules, batch size, rank and more are searched "
    "first, as far as there is time. Then every start gets the same rates and seeds; rates are chosen on validation "
    "examples, and the result is judged on test examples that were used for nothing else.</p>"
)


NO_RECIPE = Markup(
    '<h2>The recipe</h2><p class="hint">Files for PEFT and other tools, once there is a start to take.</p>'
)


class DecideView(NamedTuple):
    """What the page's outputs show, or their components."""

    key: Any = gr.skip()
    status: Any = gr.skip()
    headline: Any = gr.skip()
    take: Any = gr.skip()
    rates: Any = gr.skip()
    differences: Any = gr.skip()
    starts: Any = gr.skip()
    searched: Any = gr.skip()
    answers: Any = gr.skip()
    plan: Any = gr.skip()
    recipe: Any = gr.skip()
    decide: Any = gr.skip()
    stop: Any = gr.skip()
    minutes: Any = gr.skip()
    """The time limit, which a reload would otherwise set back."""


class DecideChoices(NamedTuple):
    """The controls in the left column, beside those of the set-up."""

    minutes: gr.Dropdown
    inits: gr.CheckboxGroup
    rank: gr.Slider
    search: gr.CheckboxGroup
    forget: gr.Textbox


def choices(limits: Limits) -> DecideChoices:
    """Lay out the cards below the set-up."""
    within = minutes_within(limits)
    with gr.Column(elem_classes=f"card {ONLY_DECIDE}"):
        element("<h2>2 · How long</h2>")
        minutes = gr.Dropdown(
            [(duration(60 * length), length) for length in within], label="Time limit",
            value=max(length for length in within if length <= 2), filterable=False,
            elem_id="decide-minutes",
        )  # fmt: skip
        element(
            '<p class="hint">Steps and prompts per step follow from it: a step takes '
            f"{BATCH_SIZES[0]} prompts, or {BATCH_SIZES[-1]} where that leaves at least half of the steps.</p>"
        )
    with gr.Column(elem_classes=f"card {ONLY_DECIDE}"):
        element("<h2>3 · What to choose from</h2>")
        inits = gr.CheckboxGroup(
            [(label_of(name), name) for name in decision.offered()],
            value=[name for name in METHODS if name != REFERENCE_METHOD],
            label="Compared with plain LoRA", elem_id="decide-inits",
        )  # fmt: skip
        more = len(decision.offered()) - len(METHODS) + 1
        element(f'<label class="more"><input type="checkbox" id="all-starts"> show {more} more</label>')
        search = gr.CheckboxGroup(
            [(choice.words, name) for name, choice in CHOICES.items()], value=list(CHOICES),
            label="Searched before that, if there is time", elem_id="decide-search",
        )  # fmt: skip
        rank = gr.Slider(
            1, min(64, limits.max_rank), value=8, step=1, label="Rank to begin with", elem_id="decide-rank"
        )
        forget = gr.Textbox(  # an empty field of numbers would send 0
            label="May forget at most (nats per token of the text to keep)", placeholder="any", max_lines=1,
            elem_id="decide-forget",
        )  # fmt: skip
    return DecideChoices(minutes, inits, rank, search, forget)


def columns(jobs: Jobs, bar: StudyBar) -> tuple[DecideView, gr.HTML]:
    """Lay out the middle and the right column, inside the row of the Race page.

    Returns:
        What an update fills, and the place of what is known before.
    """
    before = decision.figures_before()
    with gr.Column(elem_classes=f"middle {ONLY_DECIDE}", min_width=0):
        element(OPENING_QUESTION, elem_id="decide-question")
        with gr.Column(elem_classes="card"):
            headline = element(FIRST_TEXTS["headline"], elem_id="decide-headline")
            take = _take_card(jobs)
        rates = in_card(live_figure, before["rates"], elem_id="decide-rates")
        differences = in_card(live_figure, before["differences"], elem_id="decide-differences")
        recipe = in_card(element, NO_RECIPE, elem_id="decide-recipe", script="recipe.js")
    with gr.Column(elem_classes=f"side right {ONLY_DECIDE}", scale=0, min_width=0):
        starts = in_card(element, FIRST_TEXTS["table"], elem_id="decide-starts")
        searched = in_card(element, FIRST_TEXTS["searched"], elem_id="decide-searched")
        with gr.Column(elem_classes="card"):
            plan = element(FIRST_TEXTS["plan"], elem_id="decide-plan")
            lines = element("", elem_id="decide-ahead")
        answers = in_card(element, FIRST_TEXTS["answers"], elem_id="decide-answers")
    return DecideView(
        key=held("decision"), status=bar.status, headline=headline, take=take, rates=rates, differences=differences,
        starts=starts, searched=searched, answers=answers, plan=plan, recipe=recipe, decide=bar.start, stop=bar.stop,
    ), lines  # fmt: skip


def connect(
    page: DecideView,
    lines: gr.HTML,
    chosen: DecideChoices,
    demo: gr.Blocks,
    jobs: Jobs,
    limits: Limits,
    setup: Sequence[Any],
    files: VisitorFiles,
    pace: gr.HTML,
) -> None:
    """Connect the page to the model and the task of the set-up.

    Args:
        page, lines: see `columns`.
        chosen: the page's own controls.
        setup: the controls of the model and the task, and that of the settings.
        pace: changes when more is known of the pace of races.
    """
    *model_and_task, settings = setup
    *others, forget = chosen
    asked = [*model_and_task, *others, settings, forget]
    start = StartButton(page.decide, asked, partial(put, jobs, limits))

    def foretold(request: gr.Request, key: Any, *asked: Any) -> Markup:
        return ahead(jobs, limits, FilesOfPage(files, request.session_hash), key, asked)

    on_changes([pace, page.key, *asked], foretold, [page.key, *asked], lines)
    page = page._replace(minutes=chosen.minutes)
    PageWork({page.key: BackgroundStudy}, page, page.status, view).connect(demo, jobs, files, [start], page.stop)


def view(work: BackgroundStudy, ahead: Wait, last: bool) -> DecideView:
    """Show a decision, with what is `ahead` of it; the page's last update is `last`."""
    known = work.known
    shown = _drawn(known) if known else {}
    if work.state == FAILED:
        shown = shown | {"headline": problem(work.note) + shown.get("headline", Markup(""))}
    return DecideView(
        key=work.id,
        status=study_status(work, ahead, *(decision.progress(known) if known else ())),
        decide=gr.update(interactive=last),
        stop=gr.update(interactive=not work.ended),
        minutes=int(work.minutes),
        take={"ready": last and bool(known and known.taken), "adapter": last and bool(known and known.adapter)},
        **shown,
    )


_latest: deque[tuple[Decision, dict[str, Any]]] = deque(maxlen=16)
"""What pages last drew, and how: those that show equal decisions draw what is known once for all."""


def _drawn(known: Decision) -> dict[str, Any]:
    for other, drawn in list(_latest):
        if other is known:
            return drawn
    figures = decision.figures(known)
    drawn: dict[str, Any] = {
        "headline": decision.headline(known) + decision.merging(known), "starts": decision.starts(known),
        "searched": decision.searched(known) or FIRST_TEXTS["searched"],
        "plan": decision.plan(known), "recipe": decision.recipe(known, scripted=True) or NO_RECIPE,
        "rates": pack(figures["rates"]), "differences": pack(figures["differences"]),
    }  # fmt: skip
    drawn |= {"answers": decision.answers(known)} if known.answers else {}
    _latest.append((known, drawn))
    return drawn


def _take_card(jobs: Jobs) -> gr.HTML:
    def decided(asked: Any) -> dict[str, str]:
        key, kind = asked if isinstance(asked, list) and len(asked) == 2 else (None, None)
        return download_of(jobs, key, kind)

    return element(
        value={},
        elem_id="decide-take",
        html_template=(
            f'<div class="exports" data-held="{stored("decision")}">'
            '<button type="button" class="quiet" data-kind="adapter" disabled '
            'title="The adapter of the decision, in PEFT\'s format, zipped">'
            '★ Take this adapter</button><button type="button" class="quiet" data-kind="report" '
            'disabled title="What was run, and what the decision rests on">Report</button>'
            '<button type="button" class="quiet" data-kind="recipe" disabled title="Scripts and settings '
            'for PEFT, TRL, Axolotl, LLaMA-Factory and Unsloth, and the training rows, zipped">Recipe (zip)</button>'
            '<span class="hint" role="status"></span></div>'
        ),
        script="decide.js",
        server_functions=[decided],
    )
