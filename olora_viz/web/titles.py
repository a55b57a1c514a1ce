"""Tooltips of Gradio's buttons, which have none of their own."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from olora_viz.figures.live.bundle import bundle
from olora_viz.initializers import INITIALIZERS

TITLES = bundle(Path(__file__).parent / "titles.js")
"""The script of a `gr.HTML` whose ``titles`` has a sentence for the id of each button."""

BUTTONS = {
    "race-button": "Train all lanes of the set-up side by side",
    "decide-button": "Find the start and the rate for this data, within the time limit",
    "decide-stop-button": "Stop, and keep what is known so far",
    "claims-button": "Repeat the measurements on the model and task of the set-up",
    "claims-stop-button": "Stop, and keep the claims that are judged",
    "permute-button": "Put the columns of W into a random order",
    "restore-button": "Put the columns of W back into their own order",
    "measure-button": "Measure gradient and curvature of every start, before the first step",
    "measure-stop-button": "Stop the measurement",
    "slice-button": "Draw the loss around two starts, on one scale",
    "fair-button": "Set up every start at plain LoRA's rate, and at its own fair one",
}
"""A line on each button of the pages, by its id."""


def build() -> None:
    """Give the buttons of all pages their tooltips, and the starts that boxes offer."""
    starts = {one.label: one.summary for one in INITIALIZERS.values()}
    gr.HTML(
        "", titles=BUTTONS, starts=starts, js_on_load=TITLES, elem_classes="unseen",
        apply_default_css=False,
    )  # fmt: skip
