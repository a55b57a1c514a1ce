"""The gradients of a run: by layer and step, of one layer, and against depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.learn.terms import term
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.views.gradients import depth_view, gradients_view, looks
from olora_viz.web.event_options import moved
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.card import QUIET, Card, Desk

_HERE = Path(__file__).parent
_IN_VIEW = (_HERE / "gradients_in_view.js").read_text("utf-8")


def build(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    head = gr.HTML(
        '<h2>Gradients of this run <span class="hint">'
        f"{term('gradient norm', 'norms of gradients')}, parameters and updates by layer</span>"
        "</h2>",
        apply_default_css=False,
        js_on_load=(_HERE / "gradients.js").read_text("utf-8"),
    )
    with gr.Row(elem_classes="three"):
        lane = gr.Dropdown([], label="Lane of the map", min_width=0)
        measure = gr.Dropdown(
            [(part.words, key) for key, part in GRADIENTS.parts.items()], value="input",
            label="Measure", filterable=False, min_width=0, elem_id="run-gradients-measure",
        )  # fmt: skip
        layer = gr.Dropdown([], label="Layer", min_width=0, elem_id="run-gradients-layer")
    over_steps = live_figure(elem_id="gradient-map", picks=True)
    depth = live_figure(elem_id="depth-figure")
    step = gr.Slider(
        1, 2, value=1, step=1, label="Step, back through the run", elem_id="depth-step"
    )
    with gr.Row(elem_classes="two charts"):
        of_A = live_figure(elem_id="layer-a-figure")
        of_B = live_figure(elem_id="layer-b-figure")
    seen = gr.Textbox("", visible=False)
    in_view = gr.Checkbox(True, visible=False)
    # The race that the card shows and its latest step, if the slider follows the race. They live
    # in the page, as the slider does, so that an event never sees one of them without the other.
    shown, newest = gr.Textbox("", visible=False), gr.Number(0, visible=False)

    def show(*values: Any) -> tuple[Any, ...]:
        return _drawn(jobs, *values) or (gr.skip(),) * len(outputs)

    def slide(name: Any, measure: Any, layer: Any, step: Any) -> Any:
        record = jobs.shown(name)
        if record is None or not isinstance(step, int | float):
            return gr.skip()
        figure = depth_view(record, measure, layer, step)
        return gr.skip() if figure is None else pack(figure)

    inputs = [run, lane, measure, layer, step, shown, newest, in_view]
    outputs = [lane, layer, over_steps, depth, step, of_A, of_B, shown, newest]
    for event in (seen.change, head.select, lane.input, measure.input, layer.input):
        event(show, inputs, outputs, js=_IN_VIEW, **QUIET)
    step.input(slide, [run, measure, layer, step], depth, **QUIET)

    def pick(event: gr.SelectData) -> Any:
        return event.value if isinstance(event.value, str) else gr.skip()

    over_steps.select(pick, None, layer, **QUIET).then(show, inputs, outputs, js=_IN_VIEW, **QUIET)
    return [seen]


def _drawn(
    jobs: Jobs,
    name: Any,
    lane: Any,
    measure: Any,
    layer: Any,
    step: Any,
    shown: Any,
    newest: Any,
    in_view: Any,
) -> tuple[Any, ...] | None:
    """Return what the card's outputs show; None if nothing is to be drawn.

    Parameters
    ----------
    name : key of the run.
    lane, measure, layer, step : as they are chosen.
    shown, newest : the race that the card shows, and the latest step that its slider knows.
    in_view : whether a reader sees the card.
    """
    record = jobs.shown(name)
    numbers, _ = looks(record) if record else ((), ())
    if record is None or not numbers:
        return None
    # Out of view only the first and the last measurement are drawn.
    if shown == record.name and not in_view and (not record.complete or newest == numbers[-1]):
        return None
    numeric = isinstance(step, int | float) and isinstance(newest, int | float)
    follows = shown != record.name or not numeric or step >= newest
    # A choice that does not exist in this run is replaced by the first one.
    view = gradients_view(
        record, lane=lane, measure=measure, layer=layer, step=None if follows else step
    )
    assert view is not None
    its, first, last = view.choices, view.numbers[0], view.numbers[-1]
    return (
        gr.update(choices=list(its.labels), value=its.label),
        gr.update(choices=list(its.layers), value=its.layer),
        pack(view.map),
        pack(view.depth),
        gr.update(
            minimum=first, maximum=max(last, first + 1), step=record.config.gradients_every,
            **moved(view.step, shown=step),
        ),
        pack(view.of_A),
        pack(view.of_B),
        record.name,
        last,
    )  # fmt: skip


CARD = Card(
    "gradients",
    # The end is needed for a card that was out of view at the last measurement.
    ("name", "gradients", "complete"),
    build,
    only_with="gradients",
    tab="gradients",
    elem_id="run-gradients",
)
