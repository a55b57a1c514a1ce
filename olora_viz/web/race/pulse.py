"""Starts the stream of a page, and restarts a stream that was lost."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from olora_viz.figures.live.bundle import bundle

OUTAGE = (
    "The server does not answer. You see its last update; the page continues as soon as the server "
    "answers again."
)

AGAIN = "Press Race to run the set-up again."

GONE = (
    "This race is no longer on the server, which was restarted or made room for newer ones. You "
    f"see its last update. {AGAIN}"
)

CROWDED = (
    "More than {} pages from your network follow a race here, the maximum for one address. This "
    "page, the oldest, is no longer updated: close others and reload it."
)


def pulse() -> gr.HTML:
    """Make the component that starts the stream; its event is ``select``.

    Its value is `card.again` from an event, and ``{"going", "beat"}`` from the stream. If an active
    stream sends nothing, as after a lost connection, it requests the stream again.
    """
    return gr.HTML(
        value=None,
        elem_id="pulse",
        html_template='<p class="problem" role="alert" hidden></p>',
        js_on_load=bundle(Path(__file__).parent / "pulse.js"),
        apply_default_css=False,
        outage=OUTAGE,
    )
