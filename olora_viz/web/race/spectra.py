"""The spectra of a run: what training has made of the adapters, by layer and step."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.figures.spectrum import block_and_module
from olora_viz.figures.update_spectra import MEASURES, growth_figure, spectra_map
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.cards import AWAY, SHOWN


def build(jobs: Jobs, job_id: gr.BrowserState) -> gr.Number:
    """Make the card; return what its views follow: set it to the number of spectra there are."""
    with gr.Column(elem_classes=AWAY, elem_id="run-spectra") as card:
        gr.HTML(
            '<h2>Spectra of this run <span class="hint">what training makes of the adapters'
            "</span></h2>",
            apply_default_css=False,
        )
        with gr.Row(elem_classes="three"):
            lane = gr.Dropdown([], label="Lane", min_width=0, elem_id="run-spectra-lane")
            measure = gr.Dropdown(
                [(name, key) for key, (name, _) in MEASURES.items()], value="norm",
                label="Measure", filterable=False, min_width=0,
            )  # fmt: skip
            layer = gr.Dropdown([], label="Layer", min_width=0, elem_id="run-spectra-layer")
        with gr.Row(elem_classes="two charts"):
            over_layers = live_figure(elem_id="spectra-map", picks=True)
            growth = live_figure(elem_id="growth-figure")
    seen = gr.Number(0, visible=False)

    def show(name: Any, lane: Any, measure: Any, layer: Any) -> tuple[Any, ...]:
        job = jobs.shown(name)
        steps = [s for s in list(job.steps) if s.update_spectra is not None] if job else []
        if job is None or not steps:
            return (gr.skip(),) * 5
        spectra = [step.update_spectra for step in steps if step.update_spectra is not None]
        labels = [style.label for style in job.styles]
        layers = spectra[0].layers
        # Whatever comes from a page that fits this run no more gives way to the first.
        k = labels.index(lane) if lane in labels else _first_olora(job.styles)
        layer = layer if layer in layers else layers[0]
        measure = measure if measure in MEASURES else "norm"
        numbers = [step.step for step in steps]
        of_map = spectra_map(
            numbers, spectra, job.styles[k], k, measure, run=f"{name} {k} {measure}"
        )
        of_layer = growth_figure(
            numbers, spectra, job.styles[k], k, layer, total=job.config.steps, run=f"{name} {layer}"
        )
        for figure in (of_map, of_layer):
            figure["layout"]["meta"]["race"] = job.id  # they show the same step as its other charts
        return (
            gr.update(choices=labels, value=labels[k]),
            gr.update(choices=[(_words(n), n) for n in layers], value=layer),
            pack(of_map),
            pack(of_layer),
            gr.update(elem_classes=SHOWN),
        )

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
        "trigger_mode": "always_last",
    }  # fmt: skip
    inputs, outputs = [job_id, lane, measure, layer], [lane, layer, over_layers, growth, card]
    seen.change(show, inputs, outputs, **quiet)
    for chosen in (lane, measure, layer):
        chosen.input(show, inputs, outputs, **quiet)

    def pick(event: gr.SelectData) -> Any:
        return event.value if isinstance(event.value, str) else gr.skip()

    over_layers.select(pick, None, layer, **quiet).then(show, inputs, outputs, **quiet)
    return seen


def _first_olora(styles: Any) -> int:
    return next((k for k, style in enumerate(styles) if style.init == "olora"), 0)


def _words(layer: str) -> str:
    return " · ".join(part for part in block_and_module(layer) if part)
