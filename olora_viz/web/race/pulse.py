"""Starts the stream of a page, and restarts a stream that was lost."""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def pulse() -> gr.HTML:
    """Make the component that starts the stream; its event is ``select``.

    Its value is `card.again` from an event, and ``{"going", "beat"}`` from the stream. If an active
    stream sends nothing, as after a lost connection, it requests the stream again.
    """
    return gr.HTML(
        value=None,
        elem_id="pulse",
        html_template="<span hidden></span>",
        js_on_load=(Path(__file__).parent / "pulse.js").read_text("utf-8"),
        apply_default_css=False,
    )
