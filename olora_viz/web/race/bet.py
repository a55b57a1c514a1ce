"""The card of the bet: placed before a race, kept in the browser, and scored by the race's own verdict."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.views.bet import ask, question_of
from olora_viz.web.parts.card import Desk, element, showing


def button() -> gr.HTML:
    """Make the button beside Race, which opens the card."""
    return element(
        '<button type="button" class="quiet" id="bet-button" aria-expanded="false" aria-controls="bet-card" '
        'title="Bet on who is ahead in the end; nobody else sees it">Bet</button>',
        elem_id="bet-part",
    )


def build(desk: Desk) -> list[Any]:
    """Make the question of the set-up; return the component of the bets on the run that is shown."""
    config = desk.blank.race.config
    desk.parts["bet"] = element(ask(question_of(config.lanes, config.steps)), elem_id="bet-ask", script="race/bet.js")
    return [element("", elem_id="bet-score")]


CARD = showing("bet", "bet", build=build, column="below")
