"""A race as a sweep: held-out loss against the learning rate, and steps to reach LoRA's loss."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.studies.rate_sweep import MEASURES
from olora_viz.views.rates import WORDS, rates_view
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.cards import AWAY, SHOWN


def build(jobs: Jobs, job_id: gr.BrowserState) -> gr.Number:
    """Make the card; return what it follows: set it to what `news` says."""
    with gr.Column(elem_classes=AWAY, elem_id="run-rates") as card:
        measure = gr.Radio(
            [(WORDS[key], key) for key in MEASURES], value="final", show_label=False,
            label="Held-out loss", elem_id="rates-measure", container=False,
        )  # fmt: skip
        figure = live_figure(elem_id="rates-figure")
        words = gr.HTML("", elem_id="rates-words", apply_default_css=False)
    seen = gr.Number(0, visible=False)

    def show(name: Any, measure: Any) -> tuple[Any, ...]:
        record = jobs.shown(name)
        view = rates_view(record, measure) if record else None
        if view is None:
            return gr.skip(), gr.skip(), gr.update(elem_classes=AWAY)
        return pack(view.figure), view.words, gr.update(elem_classes=SHOWN)

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
        "trigger_mode": "always_last",
    }  # fmt: skip
    for event in (seen.change, measure.input):
        event(show, [job_id, measure], [figure, words, card], **quiet)
    return seen
