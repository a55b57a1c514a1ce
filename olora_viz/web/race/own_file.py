"""The visitor's own examples in the set-up: read in the browser, checked on the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.guard.visitor_files import FORMATS, Brought, VisitorFiles
from olora_viz.web.setup import SetUp

CHOICES = [(name.replace("-", " "), name) for name in TASKS]
"""The tasks offered to every visitor."""


def bring(limits_kib: int) -> gr.HTML:
    """Make the button; choosing a file triggers ``select`` with its name and text."""
    return gr.HTML(
        value="",
        elem_id="setup-file",
        html_template=(
            '<label class="own-file" tabindex="0" role="button" title="Alpaca as JSON or '
            'JSON lines, or prompt, answer and choices as CSV or JSON lines">Your own examples…'
            f'<input type="file" accept="{",".join(FORMATS)}" hidden></label>'
            '<div class="said" role="status">${value}</div>'
        ),
        js_on_load=(Path(__file__).parent / "own_file.js").read_text("utf-8"),
        apply_default_css=False,
        most_kib=limits_kib,
    )


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
    """Return the list of tasks with a visitor's file, and a sample of it.

    Parameters
    ----------
    setup : what the page shows; by default the file is chosen.
    """
    choices = [*CHOICES, (words(found), found.token)]
    return gr.Dropdown(choices, value=setup.task if setup else found.token), _sample(found)


def words(found: Brought) -> str:
    """Name a file in the list of tasks.

    The file's own name is not shown: the page may be projected.
    """
    return f"your file ({len(found.task.examples):,} examples)"


def _sample(found: Brought) -> Markup:
    example = found.task.held_out[0]
    prompt, answer = (
        text if len(text) <= 160 else f"{text[:160]}…"
        for text in (example.prompt.strip(), example.answer.strip())
    )
    held_out, test = len(found.task.held_out), len(found.task.test)
    return Markup(
        '<p class="hint">{} held out, {} for the test at the end. One held-out example: '
        "“{}” → “{}”</p>"
    ).format(held_out, test, prompt, answer)
