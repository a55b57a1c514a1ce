"""What starts the stream of a page, and notices that it has gone quiet."""

from __future__ import annotations

import secrets
from pathlib import Path

import gradio as gr


def again() -> dict[str, str]:
    """Return the value that lets a page follow the run that it shows, from the start."""
    return {"again": secrets.token_hex(4)}


def pulse() -> gr.HTML:
    """Make what starts the stream: its event is ``select``.

    Its value is `again` from an event, and ``{"going", "beat"}`` from the stream. When a stream
    that should go on says nothing, as after a lost connection, it asks for the stream once more.
    """
    return gr.HTML(
        value=None,
        elem_id="pulse",
        html_template="<span hidden></span>",
        js_on_load=(Path(__file__).parent / "pulse.js").read_text("utf-8"),
        apply_default_css=False,
    )
