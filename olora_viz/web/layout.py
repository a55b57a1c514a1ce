"""The Race page: set up a race, run it, read the results, download the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.background.record import ready_race
from olora_viz.views.race import race_view
from olora_viz.web import claims, conditioning, decide
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts import tabs
from olora_viz.web.parts.card import Board, Desk, held
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.race import ask, cards, events, next_steps
from olora_viz.web.race import settings as setup_cards
from olora_viz.web.race.controls import CONTROLS, LINE, READERS, Buttons, make_buttons, make_line, pulse
from olora_viz.web.race.links import button, countdown, follow, note, show_button

COLUMNS = {
    "top": "top race-only",
    "middle": "middle race-only",
    "right": "side right race-only",
    "after": "after race-only",
}
"""Classes of the columns of cards, by their names in `Card.column`."""


class Controls(NamedTuple):
    """This page's components in the top bar."""

    status: gr.HTML
    buttons: Buttons
    decide: decide.Controls
    claims: claims.Controls
    share: gr.HTML
    show: gr.HTML


def controls(limits: Limits) -> Controls:
    """Make the run's controls, inside the top bar."""
    return Controls(
        status=make_line(),
        buttons=make_buttons(),
        decide=decide.controls(),
        claims=claims.controls(),
        share=button(SetUp.first(limits)),
        show=show_button(),
    )


class Stage(NamedTuple):
    """The components through which other parts of the app show a race."""

    run: gr.HTML
    again: gr.HTML
    controls: Sequence[Any]
    """The controls of the `SetUp`."""


def build(demo: gr.Blocks, bar: Controls, jobs: Jobs, limits: Limits) -> Stage:
    """Build the page in `demo`, connect it to `jobs`, and return its `Stage`."""
    first, files = SetUp.first(limits), VisitorFiles(limits)
    blank = race_view(ready_race(first.to_config(limits)))
    desk, board = Desk(limits, jobs, held("run"), pulse(), blank), Board()
    board.add(LINE, [bar.status])
    board.add(CONTROLS, bar.buttons)
    whose = gr.HTML("", elem_id="whose", apply_default_css=False)
    board.add(READERS, [bar.show, whose])
    desk.parts |= {
        "status": bar.status, "buttons": bar.buttons, "note": note(),
        "countdown": countdown(),
        "address": gr.JSON(visible=False),
    }  # fmt: skip
    _lay_out(board, desk, "top")
    with gr.Row(elem_classes="page", elem_id="race-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            shared = setup_cards.build(desk, first)
            asked = decide.choices(limits)
            minutes = claims.choices(limits)
        for column in ("middle", "right", "after"):
            _lay_out(board, desk, column)
        its = conditioning.columns(blank.styles, first.steps)
        decided = decide.columns(jobs, bar.decide)
        claimed = claims.columns(bar.claims)

    desk.parts["own"] = shared.own
    board.add(ask.FIELD, [desk.parts["ask"].field])
    ask.connect(desk)
    board.add(conditioning.CURVED, [its.curved])
    controls = [*shared.controls, its.every, shared.settings]
    setup_cards.connect(desk, shared, controls, files)
    next_steps.connect(limits, desk.parts["next"], controls, files)
    conditioning.connect(its, demo, jobs, limits, controls, desk.run, files)
    examples = [*shared.controls[:2], shared.settings]
    decide.connect(decided, asked, demo, jobs, limits, examples, files)
    claims.connect(claimed, minutes, demo, jobs, limits, examples, files)
    follow(limits, controls, bar.share, files)
    events.connect(demo, desk, board, controls, files)
    return Stage(desk.run, desk.again, controls)


def _lay_out(board: Board, desk: Desk, column: str) -> None:
    """Build the cards of a column; in the middle the row of tabs stands before their cards."""
    its = [card for card in cards.CARDS if card.column == column]
    scale = 1 if column in ("middle", "after") else 0
    with gr.Column(elem_classes=COLUMNS[column], scale=scale, min_width=0):
        board.lay_out(desk, (card for card in its if not card.tab))
        if column == "middle":
            tabs.tab_row()
        board.lay_out(desk, (card for card in its if card.tab))
