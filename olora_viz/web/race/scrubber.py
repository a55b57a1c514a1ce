"""The slider below the charts: goes back to any step of a race, and replays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.views.race import RaceView
from olora_viz.web.race.card import Card, Desk


def scrubber() -> gr.HTML:
    """Make the slider; moving it triggers ``select`` with the step."""
    return gr.HTML(
        value={"steps": 0},
        elem_id="scrubber",
        html_template=(
            '<div class="scrub"><button type="button" class="quiet replay" title="Replay" '
            'aria-label="Replay the race">▶</button><span class="from">step 0</span>'
            '<input type="range" min="0" max="0" value="0" aria-label="Step, back through the '
            'race" disabled><span class="to"></span></div>'
        ),
        js_on_load=(Path(__file__).parent / "scrubber.js").read_text("utf-8"),
        apply_default_css=False,
    )


def position(shown: RaceView) -> dict[str, Any]:
    """Return the slider's value for a race that is shown up to a step."""
    seconds = round(shown.seconds, 1)
    return {"run": shown.id, "steps": shown.made, "at": shown.step, "seconds": seconds}


def _build(desk: Desk) -> list[Any]:
    desk.parts["scrubber"] = scrubber()
    return [desk.parts["scrubber"]]


CARD = Card(
    "scrubber", ("id", "made", "step", "seconds"), _build, lambda view: [position(view)], slim=True
)
