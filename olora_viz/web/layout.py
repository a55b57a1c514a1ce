"""The pages that share a set-up, laid out in one row: Race, Decide, Claims and Conditioning.

Their columns and cards have a class of the page that shows them, as ``race-only``, and their components are connected
to the controls of the one set-up.
"""

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
from olora_viz.web.parts.card import Board, Desk, element, held
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.parts.study import StudyBar, study_bar
from olora_viz.web.parts.tabs import tab_row
from olora_viz.web.race import ask, cards, events, next_steps, settings
from olora_viz.web.race.controls import CONTROLS, LINE, READERS, Buttons, make_buttons, make_line, pulse
from olora_viz.web.race.links import countdown, keep_current, share_button, show_run_button

COLUMNS = {
    "top": "top race-only",
    "middle": "middle race-only",
    "right": "side right race-only",
    "after": "after race-only",
}
"""Classes of the columns of cards, by their names in `Card.column`."""


class TopBar(NamedTuple):
    """The components of these pages in the top bar."""

    status: gr.HTML
    buttons: Buttons
    decide: StudyBar
    claims: StudyBar
    share: gr.HTML
    show: gr.HTML


def top_bar(limits: Limits) -> TopBar:
    """Make the components inside the top bar."""
    return TopBar(
        status=make_line(),
        buttons=make_buttons(),
        decide=study_bar("decide", "▶ Decide"),
        claims=study_bar("claims", "▶ Test on my model"),
        share=share_button(SetUp.first(limits)),
        show=show_run_button(),
    )


class Stage(NamedTuple):
    """The components through which other parts of the app show a race."""

    run: gr.HTML
    again: gr.HTML
    controls: Sequence[Any]
    """The controls of the `SetUp`."""


def build(demo: gr.Blocks, bar: TopBar, jobs: Jobs, limits: Limits) -> Stage:
    """Build the pages in `demo`, connect them to `jobs`, and return the `Stage`."""
    first, files = SetUp.first(limits), VisitorFiles(limits)
    blank = race_view(ready_race(first.to_config(limits)))
    desk, board = Desk(limits, jobs, held("run"), pulse(), blank), Board()
    board.add(LINE, [bar.status])
    board.add(CONTROLS, bar.buttons)
    board.add(READERS, [bar.show, element("", elem_id="whose")])
    desk.parts |= {
        "status": bar.status, "buttons": bar.buttons, "note": element("", elem_id="link-note"),
        "countdown": countdown(),
        "address": gr.JSON(visible=False),
    }  # fmt: skip
    _lay_out(board, desk, "top")
    with gr.Row(elem_classes="page", elem_id="race-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            setup = settings.build(desk, first)
            choices = decide.choices(limits)
            minutes = claims.choices(limits)
        for column in ("middle", "right", "after"):
            _lay_out(board, desk, column)
        conditioning_columns = conditioning.columns(blank.styles, first.steps)
        decide_page = decide.columns(jobs, bar.decide)
        claims_page = claims.columns(bar.claims)

    desk.parts["own"] = setup.own
    board.add(ask.FIELD, [desk.parts["ask"]])
    ask.connect(desk)
    board.add(conditioning.CURVED, [conditioning_columns.curved])
    controls = [*setup.controls, conditioning_columns.every, setup.settings]
    settings.connect(desk, setup, controls, files)
    next_steps.connect(limits, desk.parts["next"], controls, files)
    conditioning.connect(conditioning_columns, demo, jobs, limits, controls, desk.run, files)
    examples = [*setup.controls[:2], setup.settings]
    decide.connect(decide_page, choices, demo, jobs, limits, examples, files)
    claims.connect(claims_page, minutes, demo, jobs, limits, examples, files)
    keep_current(limits, controls, bar.share, files)
    events.connect(demo, desk, board, controls, files)
    return Stage(desk.run, desk.again, controls)


def _lay_out(board: Board, desk: Desk, column: str) -> None:
    """Build the cards of a column; in the middle the row of tabs stands before their cards."""
    own = [card for card in cards.CARDS if card.column == column]
    scale = 1 if column in ("middle", "after") else 0
    with gr.Column(elem_classes=COLUMNS[column], scale=scale, min_width=0):
        board.lay_out(desk, (card for card in own if not card.tab))
        if column == "middle":
            tab_row()
        board.lay_out(desk, (card for card in own if card.tab))
