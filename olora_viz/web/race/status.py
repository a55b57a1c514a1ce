"""The run's controls in the top bar: which of them can be pressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import PAUSED, READY
from olora_viz.web.race.card import Card

RACE, RESUME = "▶ Race", "▶ Resume"


class Buttons(NamedTuple):
    """The run's controls, or what they become."""

    race: Any
    pause: Any
    step: Any
    stop: Any
    reset: Any


def make_buttons() -> Buttons:
    """Make the controls of a page that shows no race of its own yet."""
    small: dict[str, Any] = {"scale": 0, "min_width": 0}
    return Buttons(
        race=gr.Button(RACE, elem_id="race-button", variant="primary", **small),
        pause=gr.Button("❚❚", elem_id="pause-button", interactive=False, **small),
        step=gr.Button("▶❚", elem_id="step-button", **small),
        stop=gr.Button("■", elem_id="stop-button", interactive=False, **small),
        reset=gr.Button("↺", elem_id="reset-button", **small),
    )


NAMES = {
    "pause-button": "Pause or resume",
    "step-button": "Run one step",
    "stop-button": "Stop",
    "reset-button": "Reset: clear the charts, keep the set-up",
}
"""Accessible names of the icon buttons, by id."""


def make_line() -> gr.HTML:
    """Make the status line. Its script also names the icon buttons, which Gradio cannot do."""
    return gr.HTML(
        fragments.status(READY),
        elem_id="status",
        apply_default_css=False,
        js_on_load=(Path(__file__).parent / "status.js").read_text("utf-8"),
        names=NAMES,
    )


def buttons(shown: RaceView) -> Buttons:
    """Return the controls for a race."""
    can, paused = shown.commands, shown.state == PAUSED
    return Buttons(
        race=gr.update(
            value=RESUME if paused else RACE, interactive=bool(can & {"start", "resume"})
        ),
        pause=gr.update(interactive=bool(can & {"pause", "resume"})),
        step=gr.update(interactive="step" in can),
        stop=gr.update(interactive="stop" in can),
        reset=gr.update(interactive=True),
    )


LINE = Card("status", ("status",), lambda desk: (), lambda view: [view.status])
"""The top bar's line."""

CONTROLS = Card(
    "controls", ("commands", "state"), lambda desk: (), lambda view: list(buttons(view))
)
"""The run's buttons."""
