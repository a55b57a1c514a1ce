"""A race as a sweep: held-out loss against the learning rate, and steps to reach LoRA's loss."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.studies.rate_sweep import MEASURES
from olora_viz.views.rates import WORDS, rates_view
from olora_viz.web.race.card import QUIET, Card, Desk


def build(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    measure = gr.Radio(
        [(WORDS[key], key) for key in MEASURES], value="final", show_label=False,
        label="Held-out loss", elem_id="rates-measure", container=False,
    )  # fmt: skip
    figure = live_figure(elem_id="rates-figure")
    words = gr.HTML("", elem_id="rates-words", apply_default_css=False)
    seen = gr.Textbox("", visible=False)

    def show(name: Any, measure: Any) -> tuple[Any, ...]:
        record = jobs.shown(name)
        view = rates_view(record, measure) if record else None
        if view is None:
            return gr.skip(), gr.skip()
        return pack(view.figure), view.words

    for event in (seen.change, measure.input):
        event(show, [run, measure], [figure, words], **QUIET)
    return [seen]


CARD = Card(
    "rates",
    ("name", "rates", "complete"),
    build,
    only_with="rates",
    tab="rates",
    elem_id="run-rates",
)
