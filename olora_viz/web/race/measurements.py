"""The other measurements of a race: a chart for each that has none of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figures, pack_all
from olora_viz.views.race import RaceView
from olora_viz.web.race.card import AWAY, SHOWN, Card, Desk


def build(desk: Desk) -> list[Any]:
    """Make the card, hidden until something was measured."""
    with gr.Column(elem_classes=AWAY, elem_id="run-measurements") as card:
        gr.HTML(
            '<h2>Measurements <span class="hint">one number per lane and step</span></h2>',
            apply_default_css=False,
        )
        figures = live_figures(elem_id="measurement-figures")
    return [card, figures]


def draw(view: RaceView) -> list[Any]:
    """Draw every measurement, and show the card if there is one."""
    figures = view.measurements
    return [gr.update(elem_classes=SHOWN if figures else AWAY), pack_all(figures)]


CARD = Card(
    "measurements",
    ("id", "state", "step"),
    build,
    draw,
    column="after",
    frame=False,
    elem_id="run-measurements",
)
