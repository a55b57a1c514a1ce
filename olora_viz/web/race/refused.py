"""What a page offers where ZeroGPU lends no GPU: the reason, and the same race on the CPU."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.views.race import RaceView
from olora_viz.web.race.card import Card, Desk
from olora_viz.web.titles import TITLES

LABEL = "Race on the CPU"
TITLE = (
    "Starts the same race anew, on this server's CPU: slower, and its numbers are not bit for bit "
    "those of a GPU. This one stays paused, among the runs of this visit."
)
KEPT = "The race is paused, with all its steps: resume it later, or race on the CPU from step 0."


def build(desk: Desk) -> list[Any]:
    """Make the line and the button."""
    with gr.Row(elem_id="refused-row"):
        line = gr.HTML(
            "", elem_id="refused", apply_default_css=False, titles={"cpu-button": TITLE},
            js_on_load=TITLES,
        )  # fmt: skip
        desk.parts["cpu"] = gr.Button(LABEL, elem_id="cpu-button", size="sm", scale=0, min_width=0)
    return [line]


def draw(view: RaceView) -> list[Any]:
    """Say why."""
    return [fragments.problem(f"{view.refused}. {KEPT}")]


CARD = Card("refused", ("refused",), build, draw, only_with="refused", column="top")
