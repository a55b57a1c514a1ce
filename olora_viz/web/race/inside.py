"""The card in which the adapters themselves are looked at: W, and of each start B, A and what it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from olora_viz.views.inside import inside_view, layers_inside
from olora_viz.web.parts.card import LATEST_ONLY, Card, Desk, element, moved

INSIDE_HEADING = Markup(
    '<h2>Inside the adapter <span class="hint" title="Blue is below zero, red above. Point at a row of A '
    'or a column of B: its part of ΔW is drawn alone.">small B and A train beside the frozen W</span></h2>'
)


def build(desk: Desk) -> Sequence[Any]:
    """Make the card; return the component that it follows."""
    jobs, run = desk.jobs, desk.run
    with gr.Row(elem_classes="head"):
        element(INSIDE_HEADING)
        layer = gr.Dropdown(
            [], label="Layer", container=False, min_width=130, scale=0, filterable=False, elem_id="adapter-layer"
        )
    figure = element(elem_id="adapter-figure", html_template='<div class="inside"></div>', script="race/inside.js")
    seen = gr.Textbox("", visible=False)

    def show(name: Any, layer: Any, seen: Any) -> tuple[Any, Any]:
        record = jobs.shown(name)
        at = str(seen).rpartition(" ")[2]
        view = inside_view(record, layer, int(at) if at.isdigit() else None) if record else None
        if record is None or view is None:
            return gr.skip(), gr.skip()
        return gr.update(choices=layers_inside(record), **moved(view["layer"], shown=layer)), view

    gr.on([seen.change, layer.input], show, [run, layer, seen], [layer, figure], **LATEST_ONLY)
    return [seen]


CARD = Card("inside", ("name", "factors", "inside_at"), build, only_with="factors", column="after")
