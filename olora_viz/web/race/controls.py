"""The controls of a run and of the page: buttons, links to copy, shortcuts, scrubber, and what was refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.background.record import READY
from olora_viz.views.html import problem, status
from olora_viz.views.race import RaceView
from olora_viz.web.parts.card import Card, Desk, element, showing, small_button
from olora_viz.web.parts.setup import IN_QUERY, SetUp

OUTAGE = "The server does not answer. You see its last update; the page continues as soon as the server answers again."


def pulse() -> gr.HTML:
    """Make the component that starts the stream; its event is ``select``.

    Its value is `card.again` from an event, and ``{"going", "beat"}`` from the stream. If an active stream sends
    nothing, as after a lost connection, it requests the stream again.
    """
    return element(
        elem_id="pulse",
        html_template='<p class="problem" role="alert" hidden></p>',
        script="race/pulse.js",
        outage=OUTAGE,
    )


KEYS = (
    ("Space", "start a race; pause or resume a running one"),
    ("S", "one step"),
    ("?", "this help"),
    ("Esc", "close it"),
)
"""Keys and their descriptions in the help."""

WORDS = (
    "Each lane is one initialization of a LoRA adapter, with its own learning rate and rank. Press <b>Race</b>: all "
    "lanes train at once on one frozen model; those with the same seed see the same batches. Curves show the loss on "
    "the training batches and, as marks, on held-out prompts. Point at a chart to mark the same step in all charts of "
    "the race. Click a lane's name to hide it, <b>log</b> to change an axis, and drag to zoom. <b>Share</b> copies a "
    "link that opens the same set-up."
)


def help_button() -> gr.HTML:
    """Make the button with its dialog, and listen to the keys."""
    rows = "".join(f"<dt><kbd>{key}</kbd></dt><dd>{does}</dd>" for key, does in KEYS)
    return element(
        '<button type="button" class="quiet" id="help-button" aria-label="? Help and keys" '
        'aria-haspopup="dialog" title="Help and keys (?)">?</button>'
        '<dialog id="help" aria-labelledby="help-title"><h2 id="help-title">The playground in a '
        f"minute</h2><p>{WORDS}</p><dl>{rows}</dl>"
        '<p><a href="./about-this-server" target="_blank">About this server</a></p>'
        '<form method="dialog"><button class="quiet">Close</button></form></dialog>',
        elem_id="help-part",
        script="race/shortcuts.js",
    )


CPU_TITLE = (
    "Starts the same race anew, on this server's CPU: slower, and its numbers are not bit for bit those of a GPU. "
    "This one stays paused, among the runs of this visit."
)
PAUSED_WORDS = "The race is paused, with all its steps: resume it later, or race on the CPU from step 0."


def build_refused(desk: Desk) -> list[Any]:
    """Make the line that says why, and the button."""
    with gr.Row(elem_id="refused-row"):
        line = element("", elem_id="refused", titles={"cpu-button": CPU_TITLE}, script="parts/titles.js")
        desk.parts["cpu"] = small_button("Race on the CPU", "cpu-button", size="sm")
    return [line]


REFUSED = Card(
    "refused", ("refused",), build_refused, lambda view: [problem(f"{view.refused}. {PAUSED_WORDS}")],
    only_with="refused", column="top",
)  # fmt: skip


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
    return Buttons(
        race=small_button(RACE, "race-button", variant="primary"),
        pause=small_button("❚❚", "pause-button", interactive=False),
        step=small_button("▶❚", "step-button"),
        stop=small_button("■", "stop-button", interactive=False),
        reset=small_button("↺", "reset-button"),
    )


ICON_NAMES = {
    "pause-button": "Pause or resume", "step-button": "Run one step", "stop-button": "Stop",
    "reset-button": "Reset: clear the charts, keep the set-up",
}  # fmt: skip
"""Accessible names of the icon buttons, by id."""


def make_line() -> gr.HTML:
    """Make the status line. Its script also names the icon buttons, which Gradio cannot do."""
    return element(status(READY), elem_id="status", script="race/button_names.js", names=ICON_NAMES)


def buttons(shown: RaceView) -> Buttons:
    """Return the controls for a race."""
    can = shown.commands
    return Buttons(
        race=gr.update(value=RESUME if "resume" in can else RACE, interactive=bool(can & {"start", "resume"})),
        pause=gr.update(interactive=bool(can & {"pause", "resume"})),
        step=gr.update(interactive="step" in can),
        stop=gr.update(interactive="stop" in can),
        reset=gr.update(interactive=True),
    )


SCRUB = Markup(
    '<div class="scrub"><button type="button" class="quiet replay" title="Replay" aria-label="Replay the race">▶'
    '</button><span class="from">step 0</span><input type="range" min="0" max="0" value="0" '
    'aria-label="Step, back through the race" disabled><span class="to"></span></div>'
)
"""The slider that goes back through a race, and the replay button, for ``scrubber.js``."""


def build_scrubber(desk: Desk) -> list[Any]:
    """Make the slider below the charts; moving it triggers ``select`` with the step."""
    desk.parts["scrubber"] = element(
        value={"steps": 0}, elem_id="scrubber", html_template=SCRUB, script="race/scrubber.js"
    )
    return [desk.parts["scrubber"]]


def draw_scrubber(view: RaceView) -> list[Any]:
    """Set the slider to the step that is shown."""
    total = view.steps_done if view.complete else view.race.config.steps
    seconds = round(view.seconds, 1)
    return [{"run": view.name, "steps": view.steps_done, "total": total, "at": view.step, "seconds": seconds}]


LINE = showing("status", "status")

CONTROLS = Card("controls", ("commands", "state"), draw=buttons)

READERS = showing("readers", "readers_key", "whose")
"""The button that copies the link for others, and the line that they read."""

SCRUBBER = Card("scrubber", ("name", "steps_done", "step", "seconds"), build_scrubber, draw_scrubber, slim=True)
"""The slider: goes back to any step of a race, and replays it."""


def share_button(setup: SetUp) -> gr.HTML:
    """Make the button, inside the top bar; its value is the query of the set-up, at first of this one."""
    return element(
        value=setup.to_query(),
        elem_id="share",
        html_template='<button type="button" class="quiet" id="share-button" '
        'title="Copy a link that opens this page with the same set-up">Share</button>'
        '<span class="unseen" role="status"></span>',
        script="race/share.js",
        names=[*IN_QUERY, "lane", "run"],
    )


LATER = Markup('<span class="later" title="How long the race takes: the first steps are being timed">…</span>')
"""Stands where the time will, while the server times its first steps."""


def make_estimate(*, later: bool) -> gr.HTML:
    """Make the words beside Race that say how long the race will take.

    Args:
        later: whether the server is about to time its first steps: their place is held until a page knows them.
    """
    return element(LATER if later else "", elem_id="estimate", script="race/estimate.js")


def show_run_button() -> gr.HTML:
    """Make the button that copies a link to the run for others; its value is their key."""
    return element(
        value="",
        elem_id="show-run",
        html_template=(
            '<button type="button" class="quiet" id="show-run-button" hidden title="Copy a link '
            'with which others watch this run: they cannot pause, step or stop it">'
            'Share run</button><span class="unseen" role="status"></span>'
        ),
        script="race/show_run.js",
    )


COUNTDOWN = {"seconds": 5}
"""How long a page shows that it will start the race of its link."""


def countdown() -> gr.HTML:
    """Make the bar that counts down to the race of a link; its value is None or `COUNTDOWN`."""
    return element(
        value=None,
        elem_id="countdown",
        html_template='<div class="countdown" hidden><span class="ticking" aria-hidden="true">'
        '</span><button type="button" class="quiet">Start now</button>'
        '<button type="button" class="quiet" title="Cancel (Esc)">Cancel</button></div>'
        '<span class="unseen" role="status" aria-live="polite"></span>',
        script="race/start.js",
    )


def class_button() -> gr.HTML:
    """Make the button; `style.css` does the rest, with ``data-class`` of the document."""
    return element(
        '<button type="button" class="quiet" id="class-button" aria-pressed="false" '
        'title="Class mode: larger text and lines, fewer cards" aria-label="A+ Class mode">A+'
        "</button>",
        elem_id="class-part",
        script="race/class_mode.js",
    )


def menu_button() -> gr.HTML:
    """Make the button that shows those of the bar that the first screen has put away; see view.js."""
    return element(
        '<button type="button" class="quiet" id="menu-button" aria-expanded="false" title="More buttons" '
        'aria-label="More buttons">⋯</button>',
        elem_id="menu",
    )
