"""The first line of the page: what this is, who leads, how sure that is, and what to try next."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.web.race import next_steps
from olora_viz.web.race.card import Card, Desk, showing

WHAT = (
    "<p><b>A LoRA adapter fine-tunes a language model by a small add-on. How should it start?</b> "
    "Train several starts side by side on one small model: see which learns faster, and whether it "
    "is luck.</p>"
)
"""What the playground is, for whoever has never heard of LoRA."""


def build(desk: Desk) -> list[Any]:
    """Make the line, and the next steps, of which style.css shows the one that the line names."""
    with gr.Row(elem_id="verdict-row"):
        line = gr.HTML(desk.blank.verdict, elem_id="verdict", apply_default_css=False)
        with gr.Row(elem_id="next-row"):  # one row, also below the line where it is narrow
            next_steps.build(desk)
            gr.HTML(
                '<a class="quiet" href="#decide" title="The page Decide: which initialization and '
                'rate to take for your own data">Decide for my data</a>',
                elem_id="decide-link",
                apply_default_css=False,
            )
    return [line]


def introduce(_: Desk) -> list[Any]:
    """Make the sentence, which no update changes."""
    gr.HTML(WHAT, elem_id="introduction", apply_default_css=False)
    return []


INTRODUCTION = Card(
    "introduction", (), introduce, lambda view: [], column="top", frame=False,
    elem_id="introduction",
)  # fmt: skip

CARD = showing("verdict", "verdict", build=build, column="top", elem_id="verdict-card")
