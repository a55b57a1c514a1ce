"""Ids that the browser keeps until the tab is closed."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr


def held(key: str) -> gr.HTML:
    """Make an id that the tab keeps in its session storage, also after a reload.

    Its value, as an event's input and output, is the id or None.
    """
    return gr.HTML(
        value=None,
        elem_id=f"held-{key}",
        html_template="<span hidden></span>",
        js_on_load=(Path(__file__).parent / "held.js").read_text("utf-8"),
        apply_default_css=False,
        storage=stored(key),
    )


def stored(key: str) -> str:
    """Return the key of an id in the session storage."""
    return f"olora-viz-{key}"


def read(*keys: str) -> str:
    """Return JavaScript that reads these ids, for the event that runs after a reload."""
    names = json.dumps([stored(key) for key in keys])
    return f"() => {names}.map((name) => sessionStorage.getItem(name))"
