"""The update spectra of a run, by layer and step."""

from __future__ import annotations

from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.learn.terms import term
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.views.update_spectra import spectra_view
from olora_viz.web.race.card import QUIET, Card, Desk


def build(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    gr.HTML(
        '<h2>Spectra of this run <span class="hint">how training changes the adapters: norm, '
        f"{term('effective rank')}, {term('principal angle', 'angles')}</span></h2>",
        apply_default_css=False,
    )
    with gr.Row(elem_classes="three"):
        lane = gr.Dropdown([], label="Lane", min_width=0, elem_id="run-spectra-lane")
        measure = gr.Dropdown(
            [(part.words, key) for key, part in UPDATE_SPECTRA.parts.items()], value="norm",
            label="Measure", filterable=False, min_width=0,
        )  # fmt: skip
        layer = gr.Dropdown([], label="Layer", min_width=0, elem_id="run-spectra-layer")
    with gr.Row(elem_classes="two charts"):
        over_layers = live_figure(elem_id="spectra-map", picks=True)
        growth = live_figure(elem_id="growth-figure")
    seen = gr.Textbox("", visible=False)

    def show(name: Any, lane: Any, measure: Any, layer: Any) -> tuple[Any, ...]:
        record = jobs.shown(name)
        # A choice that does not exist in this run is replaced by the first one.
        view = spectra_view(record, lane=lane, measure=measure, layer=layer) if record else None
        if view is None:
            return (gr.skip(),) * 4
        its = view.choices
        return (
            gr.update(choices=list(its.labels), value=its.label),
            gr.update(choices=list(its.layers), value=its.layer),
            pack(view.map),
            pack(view.growth),
        )

    inputs, outputs = [run, lane, measure, layer], [lane, layer, over_layers, growth]
    seen.change(show, inputs, outputs, **QUIET)
    for chosen in (lane, measure, layer):
        chosen.input(show, inputs, outputs, **QUIET)

    def pick(event: gr.SelectData) -> Any:
        return event.value if isinstance(event.value, str) else gr.skip()

    over_layers.select(pick, None, layer, **QUIET).then(show, inputs, outputs, **QUIET)
    return [seen]


CARD = Card(
    "spectra",
    ("name", "spectra"),
    build,
    only_with="spectra",
    tab="spectra",
    elem_id="run-spectra",
)
