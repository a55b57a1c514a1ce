"""The set-up cards of the Race page: task and own file, lanes, more settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.checks import trials
from olora_viz.figures.live.serving import HERE, installed, script
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import Lane
from olora_viz.learn.terms import term
from olora_viz.machine.checks import Problems
from olora_viz.machine.tables import folded, table
from olora_viz.models import MODELS
from olora_viz.models.loading import tokenizer_here
from olora_viz.races.config import Settings
from olora_viz.races.fields import FIELDS, RaceField
from olora_viz.studies.foresight import TaskRows
from olora_viz.tasks import TASKS, load_task
from olora_viz.tasks.files import FILE_FORMATS, read_text
from olora_viz.tasks.keep import text_to_keep
from olora_viz.views.html import problem
from olora_viz.views.runs import TO_DOWNLOAD, Mark, lane_marks, model_choices, preview, task_sample
from olora_viz.web.guard.config import checked_counts, checked_lanes, checked_settings, longest_example, problems
from olora_viz.web.guard.limits import Limits, visitor_of
from olora_viz.web.guard.visitor_files import EXAMPLES, TEXT, Brought, FileKind, VisitorFiles
from olora_viz.web.jobs.shared import version_of_task
from olora_viz.web.parts.background import OF_STUDIES
from olora_viz.web.parts.card import Desk, element, on_changes, on_picks
from olora_viz.web.parts.setup import SetUp, SetUpControls, rows_of
from olora_viz.web.race import presets


def task_choices(entries: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Return the words and the names of the tasks that every visitor may choose, as a list of a page offers them.

    Args:
        entries: the task of each entry of the list, by its name; by default the tasks.
    """
    entries = entries or {name: name for name in TASKS}
    here = {task: "" if version_of_task(task) else TO_DOWNLOAD for task in TASKS}
    return [(name.replace("-", " ") + here[task], name) for name, task in entries.items()]


def choices_of(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    """Return what the lists of models and tasks offer now, by the names of the controls."""
    return {"model": model_choices(limits.models), "task": task_choices()}


def bring(limits: Limits) -> gr.HTML:
    """Make the button for examples, with their formats."""
    entry = Markup("<dt>{} <code>{}</code></dt><dd><pre>{}</pre></dd>")
    formats = Markup(
        '<details class="formats"><summary>Formats</summary><dl>{}</dl><p class="hint">Any of them as JSON or JSON '
        "lines, all but chats as CSV, with optional <code>choices</code>. At most {:,} KiB and {:,} examples.</p>"
        "</details>"
    ).format(Markup("").join(entry.format(*each) for each in FILE_FORMATS), limits.max_upload_kib, limits.max_examples)
    return _own_file(limits, EXAMPLES, "setup-file", "Your own examples…", storage="olora-viz-file", more=formats)


def bring_text(limits: Limits) -> gr.HTML:
    """Make the button for a text to keep."""
    return _own_file(limits, TEXT, "setup-text", "Your own text to keep…", storage="olora-viz-text")


def _own_file(
    limits: Limits, kind: FileKind, elem_id: str, label: str, *, storage: str, more: str = ""
) -> gr.HTML:  # fmt: skip
    """Make a button; choosing a file triggers ``select`` with its name and text.

    Args:
        storage: the key under which the tab keeps the file, see arrive.js.
        more: shown below the button.
    """
    return element(
        "",
        elem_id=elem_id,
        html_template=(
            f'<button type="button" class="own-file">{label}</button>'
            f'<input type="file" accept="{",".join(kind.endings)}" hidden>{more}'
            '<div class="said" role="status">${value}</div>'
        ),
        script="race/own_file.js",
        most_kib=limits.max_upload_kib,
        storage=storage,
        words=kind.words,
    )


def offered(own: Brought, setup: SetUp | None = None) -> tuple[Any, Markup]:
    """Return the list of tasks with a visitor's file, by default chosen, and the sizes of its parts.

    The file's own name is not shown: the page may be projected.
    """
    assert own.task is not None
    choices = [*task_choices(), (f"your file ({len(own.task.examples):,} examples)", own.token)]
    parts = Markup('<p class="hint">{}</p>').format(TaskRows.of(own.task).words())
    return gr.Dropdown(choices, value=setup.task if setup else own.token), parts


def sample(
    limits: Limits, files: VisitorFiles, page: str | None, model: Any, task: Any, settings: Any = None
) -> Markup:
    """Return a task's sample: for a page's own file, some examples as the model reads them.

    Nothing is shown of the file of another page, or if this server offers no such model.

    Args:
        page: Gradio's session hash of the page.
        model, task, settings: what the page's controls sent.
    """
    if isinstance(task, str) and task in TASKS:
        return task_sample(TASKS[task])
    own = files.brought_by(page or "", task)
    if own is None or own.task is None or not isinstance(model, str) or model not in limits.models:
        return Markup("")
    values = settings if isinstance(settings, dict) else {}
    chat, truncate = (values.get(key) == "1" for key in ("chat", "truncate"))
    return preview(
        own.task.examples, tokenizer_here(model), model=model, longest=longest_example(model), chat=chat,
        truncate=truncate,
    )  # fmt: skip


def check_text(
    limits: Limits, files: VisitorFiles, page: str | None, model: Any, task: Any, seed: Any, path: Path
) -> None:
    """Check a page's text to keep for its set-up: the race will check it again, for its own.

    Args:
        model, task, seed: what the page's controls sent.
        path: of the text.

    Raises:
        ValueError: it is empty, too short for the model, or has all examples that the task trains on.
    """
    tokenizer = tokenizer_here(model) if isinstance(model, str) and model in limits.models else None
    if tokenizer is None:
        read_text(path, "a text to keep is a file")
        return
    own = files.brought_by(page or "", task)
    train = own.task.train if own and own.task else ()
    if isinstance(task, str) and task in TASKS and TASKS[task].offline:
        train = load_task(task, seed if isinstance(seed, int) else 0).train
    text_to_keep(str(path), model, tokenizer, context=MODELS[model].context, train=train)


def lane_table(limits: Limits, lanes: Sequence[Lane], *, elem_id: str) -> gr.HTML:
    """Make the table; as an event's input its value is a list of rows, see `checked_lanes`."""

    def seen(rows: list[Any]) -> list[Mark]:
        return marks(limits, rows)

    return element(
        value=rows_of(lanes),
        elem_id=elem_id,
        html_template='<div class="lane-line"></div><div class="lane-table"></div>',
        js_on_load=script(Path(__file__).parent / "mount_lane_table.js", module=installed(HERE / "lane_table.js")),
        server_functions=[seen],
        starts={name: label_of(name) for name in INITIALIZERS},
        meanings={name: method.summary for name, method in INITIALIZERS.items()},
        most=limits.max_lanes,
        blank=rows_of([Lane("olora")])[0],
    )


def table_of_starts() -> Markup:
    """Return the fold with what every start needs, costs and keeps, as it was when they were tried, and its filter."""
    rows = ((label_of(name), *cells) for name, *cells in trials.rows())
    words = Markup('<label>Filter <input type="search"></label> <output aria-live="polite"></output>{}')
    frame = Markup('<div class="starts-frame" tabindex="0">{}</div>').format(table(trials.COLUMNS, rows))
    return folded("Which start does what?", words.format(frame))


def marks(limits: Limits, rows: Any) -> list[Mark]:
    """Return the mark of every row, and its error.

    >>> marks(Limits(), [{"init": "olora", "r": "8", "lr": "1e-3", "seed": 0}])
    [{'init': 'olora', 'dash': 'solid', 'wrong': ''}]
    """
    rows = rows[: limits.max_lanes] if isinstance(rows, list) else []
    wrong = problems(limits, rows)
    return lane_marks([why or checked_lanes(limits, row) for row, why in zip(rows, wrong, strict=True)])


def more_settings(settings: Settings) -> gr.HTML:
    """Make the fold; as an event's input its value is the settings' text by name."""

    def seen(asked: Any) -> str:
        return problem_of(*asked) if isinstance(asked, list) and len(asked) == 2 else ""

    return element(
        value=settings.values(),
        elem_id="more-settings",
        html_template=Markup(
            '<details><summary>More settings<span class="changed"></span></summary>'
            '<div class="more">{}</div><p class="problem" role="alert" hidden></p></details>'
        ).format(Markup("").join(map(_input, FIELDS))),
        script="race/more_settings.js",
        server_functions=[seen],
        plain=Settings().values(),
    )


def problem_of(steps: Any, values: Any) -> str:
    """Return what is wrong with the settings, "" if nothing is.

    >>> problem_of("60", {"clip": "-1"})
    "gradient clipping must be a positive number, not '-1'"
    """
    wrong, number = Problems(), str(steps)[:9]
    checked_settings(int(number) if number.isascii() and number.isdecimal() else 1, values, wrong)
    return str(wrong)


def counts_problem(limits: Limits, steps: Any, batch: Any, seed: Any) -> Markup:
    """Return what is wrong with steps, prompts per step and seed; empty if nothing is."""
    wrong = Problems()
    checked_counts(limits, steps, batch, seed, wrong)
    return problem(f"{wrong}.") if str(wrong) else Markup("")


def _input(setting: RaceField) -> Markup:
    if setting.choices:
        option = Markup('<option value="{}">{}</option>')
        options = Markup("").join(option.format(*choice) for choice in setting.choices.items())
        control = Markup('<select name="{}">{}</select>').format(setting.name, options)
    else:
        control = Markup('<input name="{}" placeholder="{}" autocomplete="off" spellcheck="false">').format(
            setting.name, setting.empty
        )
    kind = "of-studies" if setting.name in OF_STUDIES else "of-races"
    return Markup('<label class="{}" title="{}"><span>{}</span>{}</label>').format(
        kind, setting.meaning, setting.label, control
    )


class SetUpCards(NamedTuple):
    """The components of the cards."""

    controls: SetUpControls
    """All but the curvature's, which is on the Conditioning page."""
    sample: gr.HTML
    wrong_counts: gr.HTML
    """What is wrong with the numbers above it."""
    own: gr.HTML
    own_text: gr.HTML
    presets: Sequence[gr.Button]


def in_sentence(words: str) -> None:
    """Make words between controls, of the sentence that they are on the first screen."""
    element(words, elem_classes="in-sentence")


def view_button() -> None:
    """Make the button that leads from the first screen to the workbench, and back."""
    element(
        '<button type="button" class="as-link" id="view-button">more</button>', script="race/view.js", elem_id="view"
    )


def build(desk: Desk, first: SetUp) -> SetUpCards:
    """Build the cards with their initial values."""
    limits = desk.limits
    with gr.Column(elem_classes="card", elem_id="setup-card"):
        element('<h2 class="else-decide">Set-up</h2><h2 class="decide-only">1 · Your data</h2>')
        view_button()
        in_sentence("Teach")
        model = gr.Dropdown(
            model_choices(limits.models), value=first.model, label="Model", filterable=False, elem_id="setup-model",
        )  # fmt: skip
        in_sentence("to finish")
        task = gr.Dropdown(task_choices(), value=first.task, label="Task", filterable=False, elem_id="setup-task")
        sample = element(task_sample(TASKS[first.task]), elem_id="setup-sample")
        own = bring(limits)
        with gr.Row(elem_classes="three counts"):
            numbers = {
                name: gr.Number(getattr(first, name), label=words, min_width=0, elem_id=f"setup-{name}")
                for name, words in (("steps", "Steps"), ("batch", "Prompts per step"), ("seed", "Seed"))
            }
        wrong_counts = element("", elem_id="wrong-counts")
        settings = more_settings(first.settings)
        own_text = bring_text(limits)
    with gr.Column(elem_classes="card", elem_id="lanes-card"):
        element(f"<h2>{term('lane', 'Lanes')}</h2>")
        in_sentence("starting from")
        lanes = lane_table(limits, first.lanes, elem_id="lanes")
        element(
            '<p class="hint">A row is raced from each of its seeds. Lanes with the same seed see the same batches.</p>'
        )
        element(table_of_starts(), elem_id="which-start", elem_classes="workbench-only", script="race/which_start.js")
    controls = SetUpControls(model=model, task=task, lanes=lanes, settings=settings, **numbers)
    return SetUpCards(controls, sample, wrong_counts, own, own_text, presets.build(limits))


def connect(desk: Desk, cards: SetUpCards, controls: SetUpControls, files: VisitorFiles) -> None:
    """Connect the cards to all controls of the set-up; a file becomes a task, or a text to keep, of its page alone."""
    model, task, settings = controls.model, controls.task, controls.settings

    def bring_in(request: gr.Request, event: gr.SelectData, **more: Any) -> Brought:
        sent = event.value if isinstance(event.value, dict) else {}
        return files.bring(request.session_hash, sent.get("name"), sent.get("text"), visitor_of(request), **more)

    def brought(request: gr.Request, event: gr.SelectData) -> tuple[Any, str]:
        try:
            return offered(bring_in(request, event))
        except ValueError as error:
            return gr.skip(), problem(str(error))

    def text_brought(request: gr.Request, event: gr.SelectData, settings: Any, *asked: Any) -> tuple[Any, str]:
        try:
            check = partial(check_text, desk.limits, files, request.session_hash, *asked)
            own = bring_in(request, event, kind=TEXT, check=check)
        except ValueError as error:
            return gr.skip(), problem(str(error))
        values = settings if isinstance(settings, dict) else Settings().values()
        return values | {"keep": own.token}, Markup('<p class="hint">Chosen as the text to keep.</p>')

    def sampled(request: gr.Request, *asked: Any) -> Markup:
        return sample(desk.limits, files, request.session_hash, *asked)

    on_picks([cards.own.select], brought, [], [task, cards.own])
    text = [settings, cards.own_text]
    on_picks([cards.own_text.select], text_brought, [settings, model, task, controls.seed], text)
    presets.connect(desk.limits, cards.presets, controls)
    shown = [model, task, settings]
    on_changes(shown, sampled, shown, cards.sample)

    def counted_wrong(_: gr.Request, *counts: Any) -> Markup:
        return counts_problem(desk.limits, *counts)

    counts = [controls.steps, controls.batch, controls.seed]
    on_changes(counts, counted_wrong, counts, cards.wrong_counts)
