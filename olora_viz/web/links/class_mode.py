"""Class mode, for a projector: larger text and lines, fewer cards; ``?class=1`` opens it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from olora_viz.figures.live.bundle import bundle


def class_button() -> gr.HTML:
    """Make the button; `style.css` does the rest, with ``data-class`` of the document."""
    return gr.HTML(
        '<button type="button" class="quiet" id="class-button" aria-pressed="false" '
        'title="Class mode: larger text and lines, fewer cards" aria-label="A+ Class mode">A+'
        "</button>",
        elem_id="class-part",
        js_on_load=bundle(Path(__file__).parent / "class_mode.js"),
        apply_default_css=False,
    )
