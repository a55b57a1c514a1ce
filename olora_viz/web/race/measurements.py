"""The other measurements of a race: a chart for each that has none of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figures, pack_all
from olora_viz.web.race.card import Card, Desk


def build(desk: Desk) -> list[Any]:
    """Make the card."""
    gr.HTML(
        '<h2>Measurements <span class="hint">one number per lane and step</span></h2>',
        apply_default_css=False,
    )
    return [live_figures(elem_id="measurement-figures")]


CARD = Card(
    "measurements",
    ("id", "state", "step"),
    build,
    lambda view: [pack_all(view.measurements)],
    only_with="measurements",
    column="after",
    elem_id="run-measurements",
)
