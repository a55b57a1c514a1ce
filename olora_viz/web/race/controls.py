"""The run's controls: its line and buttons in the top bar, and the slider through its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures.live.bundle import bundle
from olora_viz.views import html as fragments
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import READY
from olora_viz.web.race.card import Card, Desk, showing

RACE, RESUME = "▶ Race", "▶ Resume"


class Buttons(NamedTuple):
    """The run's controls, or their updates."""

    race: Any
    pause: Any
    step: Any
    stop: Any
    reset: Any


def make_buttons() -> Buttons:
    """Make the controls of a page that has no race of its own yet."""
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
        js_on_load=bundle(Path(__file__).parent / "button_names.js"),
        names=NAMES,
    )


def buttons(shown: RaceView) -> Buttons:
    """Return the controls for a race."""
    can = shown.commands
    return Buttons(
        race=gr.update(
            value=RESUME if "resume" in can else RACE, interactive=bool(can & {"start", "resume"})
        ),
        pause=gr.update(interactive=bool(can & {"pause", "resume"})),
        step=gr.update(interactive="step" in can),
        stop=gr.update(interactive="stop" in can),
        reset=gr.update(interactive=True),
    )


def make_scrubber() -> gr.HTML:
    """Make the slider below the charts; moving it triggers ``select`` with the step."""
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
    return {"run": shown.name, "steps": shown.made, "at": shown.step, "seconds": seconds}


def _build_scrubber(desk: Desk) -> list[Any]:
    desk.parts["scrubber"] = make_scrubber()
    return [desk.parts["scrubber"]]


LINE = showing("status", "status")
"""The top bar's line."""

CONTROLS = Card("controls", ("commands", "state"), draw=buttons)
"""The run's buttons."""

READERS = showing("readers", "readers_key", "whose")
"""The button that copies the link for others, and the line that they read."""

SCRUBBER = Card(
    "scrubber", ("name", "made", "step", "seconds"), _build_scrubber,
    lambda view: [position(view)], slim=True,
)  # fmt: skip
"""The slider: goes back to any step of a race, and replays it."""
