"""The visitor's own examples in the set-up: read in the browser, checked on the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from olora_viz.models.tokenizers import tokenizer_here
from olora_viz.tasks import TASKS
from olora_viz.tasks.file_formats import FILE_FORMATS
from olora_viz.views import html as fragments
from olora_viz.views.own_examples import preview
from olora_viz.views.task_sample import task_sample
from olora_viz.web.guard.config import longest_example
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.guard.visitor_files import FORMATS, Brought, VisitorFiles
from olora_viz.web.setup import SetUp

CHOICES = [(name.replace("-", " "), name) for name in TASKS]
"""The tasks offered to every visitor."""


def bring(limits: Limits) -> gr.HTML:
    """Make the button; choosing a file triggers ``select`` with its name and text."""
    return gr.HTML(
        value="",
        elem_id="setup-file",
        html_template=(
            '<button type="button" class="own-file">Your own examples…</button>'
            f'<input type="file" accept="{",".join(FORMATS)}" hidden>{_formats(limits)}'
            '<div class="said" role="status">${value}</div>'
        ),
        js_on_load=(Path(__file__).parent / "own_file.js").read_text("utf-8"),
        apply_default_css=False,
        most_kib=limits.max_upload_kib,
    )


def _formats(limits: Limits) -> Markup:
    shown = Markup("").join(
        Markup("<dt>{} <code>{}</code></dt><dd><pre>{}</pre></dd>").format(*one)
        for one in FILE_FORMATS
    )
    return Markup(
        '<details class="formats"><summary>Formats</summary><dl>{}</dl><p class="hint">Any of them '
        "as JSON or JSON lines, all but chats as CSV, with optional <code>choices</code>. At most "
        "{:,} KiB and {:,} examples.</p></details>"
    ).format(shown, limits.max_upload_kib, limits.max_examples)


def connect(button: gr.HTML, task: gr.Dropdown, files: VisitorFiles) -> None:
    """Turn a file into a task that only this page can choose."""

    def brought(request: gr.Request, event: gr.SelectData) -> tuple[Any, str]:
        try:
            asked = event.value
            if not isinstance(asked, dict):
                raise ValueError("a file must be sent as its name and its text")
            found = files.bring(
                request.session_hash, asked.get("name"), asked.get("text"), visitor_of(request)
            )
        except ValueError as error:
            return gr.skip(), fragments.problem(str(error))
        return offered(found)

    button.select(
        brought, None, [task, button], queue=False, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip


def offered(found: Brought, setup: SetUp | None = None) -> tuple[Any, Markup]:
    """Return the list of tasks with a visitor's file, and the sizes of its parts.

    Parameters
    ----------
    setup : what the page shows; by default the file is chosen.
    """
    choices = [*CHOICES, (words(found), found.token)]
    parts = Markup('<p class="hint">{:,} held out, {:,} for the test at the end.</p>').format(
        len(found.task.held_out), len(found.task.test)
    )
    return gr.Dropdown(choices, value=setup.task if setup else found.token), parts


def words(found: Brought) -> str:
    """Name a file in the list of tasks.

    The file's own name is not shown: the page may be projected.
    """
    return f"your file ({len(found.task.examples):,} examples)"


def sample(
    limits: Limits,
    files: VisitorFiles,
    page: str | None,
    model: Any,
    task: Any,
    settings: Any = None,
) -> Markup:
    """Return a task's sample: for a page's own file, some examples as the model reads them.

    Nothing is shown of the file of another page, or if this server offers no such model.

    Parameters
    ----------
    page : Gradio's session hash of the page.
    model, task, settings : what the page's controls sent.
    """
    if isinstance(task, str) and task in TASKS:
        return task_sample(TASKS[task])
    found = files.brought_by(page or "", task)
    if found is None or not isinstance(model, str) or model not in limits.models:
        return Markup("")
    tokenizer = tokenizer_here(model)
    switches = settings if isinstance(settings, dict) else {}
    chat, truncate = (switches.get(name) == "1" for name in ("chat", "truncate"))
    return preview(
        found.task.examples, tokenizer, model=model, longest=longest_example(model), chat=chat,
        truncate=truncate,
    )  # fmt: skip
