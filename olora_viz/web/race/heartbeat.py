"""A lost connection: the page notices that its race has gone quiet, and asks for it again."""

from __future__ import annotations

import gradio as gr

QUIET = 2.0
"""Seconds after which a page hears that its race still goes on, though nothing is new."""

_ON_LOAD = """
const LOST = 7000;
let heard = performance.now();
watch("value", () => { heard = performance.now(); });
setInterval(() => {
  if (!props.value?.going || performance.now() - heard < LOST || !navigator.onLine) return;
  heard = performance.now();
  trigger("select", { index: 0, value: "again" });
}, 1000);
"""


def heartbeat() -> gr.HTML:
    """Make the watch; its value is ``{"going", "beat"}``, its event ``select`` asks again."""
    return gr.HTML(
        value={"going": False, "beat": 0},
        elem_id="heartbeat",
        html_template="<span hidden></span>",
        js_on_load=_ON_LOAD,
        apply_default_css=False,
    )
