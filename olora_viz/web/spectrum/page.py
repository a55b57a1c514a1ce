"""The Spectrum page: how a start approximates a weight, and whether the paper's claim holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures.live.gradio_figure import live_figure
from olora_viz.initializers import label_of
from olora_viz.learn.terms import term
from olora_viz.views import html as fragments
from olora_viz.views.lab import Lab
from olora_viz.views.model_words import model_words
from olora_viz.web.event_options import AT_ONCE, PRIVATE
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.spectrum.matrices import EXAMPLES, read_matrix
from olora_viz.web.spectrum.shown import (
    A_LAYER,
    A_MATRIX,
    Shown,
    compared,
    layer_map,
    layer_names,
    shown,
    whole,
)

CHOSEN = ["olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa"]


_AFTER_THE_FIRST_SCREEN = (Path(__file__).parent / "after_first_screen.js").read_text("utf-8")


class Controls(NamedTuple):
    """What a visitor sets on this page."""

    source: gr.Radio
    of_model: gr.Column
    model: gr.Dropdown
    layer: gr.Dropdown
    own: gr.Column
    example: gr.Dropdown
    text: gr.Textbox
    rank: gr.Slider
    starts: gr.CheckboxGroup
    permute: gr.Button
    restore: gr.Button
    permutation: gr.Number
    """It lives in the page, which the server may forget."""


class LayerMap(NamedTuple):
    """The map of a model's layers."""

    card: gr.Column
    figure: gr.HTML


def build(demo: gr.Blocks, limits: Limits) -> None:
    """Lay the page out in `demo`."""
    with gr.Row(elem_classes="page", elem_id="spectrum-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            its = _controls(limits)
        with gr.Column(elem_classes="middle", min_width=0):
            layers, charts = _charts()
        with gr.Column(elem_classes="side right", scale=0, min_width=0):
            words = _words()
    _connect(demo, limits, its, layers, Shown(*charts, *words, its.rank))


def _controls(limits: Limits) -> Controls:
    """Make the controls of the left column."""
    permutation = gr.Number(0, visible=False)
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>Matrix</h2>", apply_default_css=False)
        source = gr.Radio(
            [A_LAYER, A_MATRIX], value=A_LAYER, show_label=False, container=False,
            elem_id="matrix-source",
        )  # fmt: skip
        with gr.Column(elem_classes="group") as of_model:
            model = gr.Dropdown(
                [(model_words(name), name) for name in limits.models],
                value=limits.models[0], label="Model", filterable=False,
                elem_id="spectrum-model",
            )  # fmt: skip
            layer = gr.Dropdown([], label="Layer", elem_id="spectrum-layer")
        with gr.Column(elem_classes="group", visible=False) as own:
            example = gr.Dropdown(
                [(label, name) for name, (label, _) in EXAMPLES.items()],
                value="counterexample", label="Example", filterable=False,
            )  # fmt: skip
            text = gr.Textbox(
                _as_text("counterexample"), lines=6, max_lines=12, elem_id="own-matrix",
                label="Rows of numbers, yours or the example's",
            )  # fmt: skip
    with gr.Column(elem_classes="card"):
        rank = gr.Slider(1, 64, value=8, step=1, label="Rank", elem_id="spectrum-rank")
    with gr.Column(elem_classes="card"):
        starts = gr.CheckboxGroup(
            [(label_of(name), name) for name in compared()],
            value=CHOSEN,
            label="Starts",
            elem_id="spectrum-starts",
        )
    with gr.Column(elem_classes="card"):
        gr.HTML("<h2>Input features</h2>", apply_default_css=False)
        permute = gr.Button("⤨ Permute the columns of W", elem_id="permute-button")
        restore = gr.Button("↺ W's own order", elem_id="restore-button", interactive=False)
        gr.HTML(
            f'<p class="hint">The {term("singular value", "singular values")} of W do not '
            "change. OLoRA's start does, since "
            "it takes the first columns.</p>",
            apply_default_css=False,
        )
    return Controls(
        source, of_model, model, layer, own, example, text, rank, starts, permute, restore,
        permutation,
    )  # fmt: skip


def _charts() -> tuple[LayerMap, tuple[gr.HTML, gr.HTML, gr.HTML]]:
    """Make the charts of the middle column: the map, and what `Shown` fills, in its order."""
    with gr.Row(elem_classes="two charts"):
        with gr.Column(elem_classes="card", min_width=0):
            singular = live_figure(elem_id="spectrum-figure")
        with gr.Column(elem_classes="card", min_width=0):
            energy = live_figure(elem_id="energy-figure")
    with gr.Column(elem_classes="card") as map_card:
        layers = live_figure(elem_id="layer-map", picks=True)
    with gr.Column(elem_classes="card"):
        angles = live_figure(elem_id="angles-figure")
    return LayerMap(map_card, layers), (singular, energy, angles)


def _words() -> tuple[gr.HTML, gr.HTML, gr.HTML, gr.HTML]:
    """Make the right column, in the order of `Shown`."""
    with gr.Column(elem_classes="card"):
        verdict = gr.HTML(elem_id="spectrum-verdict", apply_default_css=False)
    with gr.Column(elem_classes="card"):
        table = gr.HTML(elem_id="spectrum-energies", apply_default_css=False)
    with gr.Column(elem_classes="card"):
        factors = gr.HTML(elem_id="spectrum-factors", apply_default_css=False)
    with gr.Column(elem_classes="card"):
        seeing = gr.HTML(elem_id="spectrum-story", apply_default_css=False)
    return verdict, table, factors, seeing


def _connect(
    demo: gr.Blocks, limits: Limits, its: Controls, layers: LayerMap, outputs: Shown
) -> None:
    """Draw the charts when the page is opened, and after every change of a control.

    Parameters
    ----------
    outputs : the components that a `Shown` fills.
    """
    lab, pool = Lab(), Pool(few("spectra"))
    inputs = [its.source, its.model, its.layer, its.text, its.rank, its.starts, its.permutation]

    async def show(request: gr.Request, *values: Any) -> Shown:
        try:
            return await pool.run(visitor_of(request), shown, lab, limits, *values)
        except ValueError as error:
            kept = Shown(*[gr.skip()] * len(outputs))
            return kept._replace(verdict=fragments.problem(str(error)))

    async def show_map(request: gr.Request, *values: Any) -> Any:
        return await in_turn(request, layer_map, lab, limits, *values)

    async def names_of(request: gr.Request, model: Any) -> Any:
        return await in_turn(request, layer_names, lab, limits, model)

    async def in_turn(request: gr.Request, compute: Callable[..., Any], *values: Any) -> Any:
        """Compute, or leave as it is what too many ask for; `show`, which follows, says so."""
        try:
            return await pool.run(visitor_of(request), compute, *values)
        except ValueError:
            return gr.skip()

    slow: dict[str, Any] = {
        **PRIVATE, "show_progress": "minimal", "show_progress_on": outputs.verdict,
    }  # fmt: skip
    drawn, map_of = list(outputs), [its.source, its.model, its.layer, its.rank, its.starts]

    demo.load(names_of, its.model, its.layer, js=_AFTER_THE_FIRST_SCREEN, **AT_ONCE).then(
        show, inputs, drawn, **AT_ONCE
    ).then(show_map, map_of, layers.figure, **AT_ONCE)
    its.model.input(names_of, its.model, its.layer, **slow).then(show, inputs, drawn, **slow).then(
        show_map, map_of, layers.figure, **slow
    )
    its.layer.input(show, inputs, drawn, **slow).then(show_map, map_of, layers.figure, **AT_ONCE)
    its.rank.input(show, inputs, drawn, trigger_mode="always_last", **AT_ONCE)
    its.rank.input(show_map, map_of, layers.figure, trigger_mode="always_last", **AT_ONCE)
    its.starts.input(show, inputs, drawn, trigger_mode="always_last", **AT_ONCE).then(
        show_map, map_of, layers.figure, **AT_ONCE
    )
    changed = [its.of_model, layers.card, its.own, its.permutation, its.restore, its.rank]
    its.source.input(_other_source, [its.source, its.text], changed, **AT_ONCE).then(
        show, inputs, drawn, **AT_ONCE
    ).then(show_map, map_of, layers.figure, **AT_ONCE)
    its.example.input(
        _example, its.example, [its.text, its.rank, its.permutation, its.restore], **AT_ONCE
    ).then(show, inputs, drawn, **AT_ONCE)
    its.text.change(show, inputs, drawn, trigger_mode="always_last", **AT_ONCE)
    its.permute.click(
        lambda number: (whole(number) + 1, gr.update(interactive=True)),
        its.permutation, [its.permutation, its.restore], **AT_ONCE,
    ).then(show, inputs, drawn, **AT_ONCE)  # fmt: skip
    its.restore.click(
        lambda: (0, gr.update(interactive=False)), None, [its.permutation, its.restore], **AT_ONCE
    ).then(show, inputs, drawn, **AT_ONCE)

    def pick(event: gr.SelectData) -> Any:
        return event.value if isinstance(event.value, str) else gr.skip()

    layers.figure.select(pick, None, its.layer, **AT_ONCE).then(
        show, inputs, drawn, **AT_ONCE
    ).then(show_map, map_of, layers.figure, **AT_ONCE)


def _other_source(source: Any, text: Any) -> tuple[Any, ...]:
    """Show the controls of the source, in its own order, at a suitable rank."""
    of_model = source == A_LAYER
    rank = 8 if of_model else _fitting_rank(str(text))
    shown, hidden = gr.update(visible=of_model), gr.update(visible=not of_model)
    return shown, shown, hidden, 0, gr.update(interactive=False), rank


def _example(name: Any) -> tuple[Any, ...]:
    """Write an example into the text, in its own order, at a suitable rank."""
    if name not in list(EXAMPLES):
        return (gr.skip(),) * 4
    text = _as_text(name)
    return text, _fitting_rank(text), 0, gr.update(interactive=False)


def _fitting_rank(text: str) -> int:
    try:
        return max(1, min(read_matrix(text).shape) // 4)
    except ValueError:
        return 1


def _as_text(name: str) -> str:
    rows = EXAMPLES[name][1]().tolist()
    return "\n".join(" ".join(f"{x:.4g}" for x in row) for row in rows)
