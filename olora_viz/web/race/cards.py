"""The cards of the Race page, in order: this list builds, draws and hides them, in tabs if need be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.learn.terms import term, with_terms
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.studies.story import WHICH_RESULT
from olora_viz.views.layers import LayerChoices, depth_view, gradients_view, measured_gradients, spectra_view
from olora_viz.views.results import LOSS_WORDS, rates_view
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import LATEST_ONLY, Card, Desk, chart, charts, element, moved, on_picks, picked, words
from olora_viz.web.parts.export import TAKE
from olora_viz.web.parts.guide import offer
from olora_viz.web.race import ask, bet, chain, copied, inside, presets, shelf
from olora_viz.web.race.controls import REFUSED, SCRUBBER


def in_tab(name: str, *needs: str, build: Callable[[Desk], Sequence[Any]]) -> Card:
    """Make a card with a tab of its own, which shows what the run has of its name and asks for it itself."""
    return Card(name, needs, build, only_with=name, tab=name, elem_id=f"run-{name}")


_IN_VIEW = (Path(__file__).parent / "gradients_in_view.js").read_text("utf-8")


def build_gradients(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    head = element(
        '<h2>Gradients of this run <span class="hint">'
        f"{term('gradient norm', 'norms of gradients')}, parameters and updates by layer</span>"
        "</h2>",
        script="race/gradients.js",
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
    step = gr.Slider(1, 2, value=1, step=1, label="Step, back through the run", elem_id="depth-step")
    with gr.Row(elem_classes="two charts"):
        of_A = live_figure(elem_id="layer-a-figure")
        of_B = live_figure(elem_id="layer-b-figure")
    seen = gr.Textbox("", visible=False)
    in_view = gr.Checkbox(True, visible=False)
    # What the card shows beside its step. It lives in the page, as the slider does, so that an event never sees one of
    # them without the other.
    shown = gr.Textbox("", visible=False)

    def show(*values: Any) -> dict[Any, Any]:
        drawn = _gradients(jobs, *values)
        return {outputs[name]: value for name, value in drawn.items()} if drawn else gr.skip()

    inputs = [in_view, run, lane, measure, layer, step, shown]
    outputs = {
        "lane": lane, "layer": layer, "map": over_steps, "depth": depth, "step": step, "of_A": of_A, "of_B": of_B,
        "shown": shown,
    }  # fmt: skip
    changes = [seen.change, head.select, lane.input, measure.input, layer.change, step.input]
    gr.on(changes, show, inputs, list(outputs.values()), js=_IN_VIEW, **LATEST_ONLY)
    on_picks([over_steps.select], picked, [], layer)
    return [seen]


def _gradients(
    jobs: Jobs, in_view: Any, name: Any, lane: Any, measure: Any, layer: Any, step: Any, shown: Any
) -> dict[str, Any] | None:
    """Return what the card's outputs show of a run and of what is chosen, by name; None if nothing is to be drawn.

    Args:
        in_view: whether a reader sees the card.
        shown: the text of what the card shows beside its step: the race, the latest step that the slider knows, and
            what is chosen.
    """
    record = jobs.shown(name)
    numbers, _ = measured_gradients(record) if record else ((), ())
    if record is None or not numbers:
        return None
    race, newest = _shown(shown)
    # Out of view only the first and the last measurement are drawn.
    if race == record.name and not in_view and (not record.complete or newest == numbers[-1]):
        return None
    numeric = isinstance(step, int | float)
    stays = numeric and shown == json.dumps([record.name, numbers[-1], lane, measure, layer])
    if stays and (depth := depth_view(record, measure, layer, step)):
        return {"depth": pack(depth)}
    follows = race != record.name or not numeric or step >= newest
    # A choice that does not exist in this run is replaced by the first one.
    view = gradients_view(record, lane=lane, measure=measure, layer=layer, step=None if follows else step)
    assert view is not None
    first, last = view.numbers[0], view.numbers[-1]
    every, value = record.config.gradients_every, moved(view.step, shown=step)
    lanes, layers = _menus(view.choices, lane, layer)
    return {
        "lane": lanes, "layer": layers, "map": pack(view.map), "depth": pack(view.depth),
        "step": gr.update(minimum=first, maximum=max(last, first + 1), step=every, **value),
        "of_A": pack(view.of_A), "of_B": pack(view.of_B),
        "shown": json.dumps([record.name, last, view.choices.label, measure, view.choices.layer]),
    }  # fmt: skip


def _shown(text: Any) -> tuple[Any, float]:
    """Return the race and the latest step that a text names; none and 0 if it names none."""
    try:
        race, newest, *_ = json.loads(text)
        return race, float(newest)
    except (TypeError, ValueError):
        return None, 0.0


def _menus(choices: LayerChoices, lane: Any, layer: Any) -> tuple[Any, Any]:
    """Return the updates of a card's menus, its lanes and its layers, which show `lane` and `layer`."""
    return (
        gr.update(choices=list(choices.labels), **moved(choices.label, shown=lane)),
        gr.update(choices=list(choices.layers), **moved(choices.layer, shown=layer)),
    )


def build_rates(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    measure = gr.Radio(
        [(LOSS_WORDS[key], key) for key in WHICH_RESULT], value="final", show_label=False,
        label="Held-out loss", elem_id="rates-measure", container=False,
    )  # fmt: skip
    figure = live_figure(elem_id="rates-figure")
    words = element("", elem_id="rates-words")
    seen = gr.Textbox("", visible=False)

    def show(name: Any, measure: Any) -> dict[Any, Any]:
        record = jobs.shown(name)
        view = rates_view(record, measure) if record else None
        return {figure: pack(view.figure), words: view.words} if view else gr.skip()

    gr.on([seen.change, measure.input], show, [run, measure], [figure, words], **LATEST_ONLY)
    return [seen]


def build_spectra(desk: Desk) -> list[Any]:
    """Make the card; return the component that its views follow."""
    jobs, run = desk.jobs, desk.run
    element(
        '<h2>Spectra of this run <span class="hint">how training changes the adapters: norm, '
        f"{term('effective rank')}, {term('principal angle', 'angles')}</span></h2>"
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

    def show(name: Any, lane: Any, measure: Any, layer: Any) -> Any:
        record = jobs.shown(name)
        # A choice that does not exist in this run is replaced by the first one.
        view = spectra_view(record, lane=lane, measure=measure, layer=layer) if record else None
        if view is None:
            return gr.skip()
        return *_menus(view.choices, lane, layer), pack(view.map), pack(view.growth)

    inputs, outputs = [run, lane, measure, layer], [lane, layer, over_layers, growth]
    gr.on([seen.change, lane.input, measure.input, layer.change], show, inputs, outputs, **LATEST_ONLY)
    on_picks([over_layers.select], picked, [], layer)
    return [seen]


ABOUT_LORA = Markup(
    "<p><b>A LoRA adapter fine-tunes a language model by a small add-on. How should it start?</b> Train several "
    "starts side by side on one small model: see which learns faster, and whether it is luck.</p>"
)
"""What the playground is, for whoever has never heard of LoRA."""


def build_verdict(desk: Desk) -> list[Any]:
    """Make the line, and the next steps, of which style.css shows the one that the line names."""
    with gr.Row(elem_id="verdict-row"):
        line = element(desk.blank.verdict, elem_id="verdict")
        with gr.Row(elem_id="next-row"):  # one row, also below the line where it is narrow
            presets.build_next_steps(desk)
            element(
                '<a class="quiet" href="#decide" title="The page Decide: which initialization and '
                'rate to take for your own data">Decide for my data</a>',
                elem_id="decide-link",
            )
    desk.parts["pending"] = element("", elem_id="pending")
    return [line]


def introduce(_: Desk) -> list[Any]:
    """Make the sentence, which no update changes."""
    element(ABOUT_LORA + offer(), elem_id="introduction")
    return []


CARDS = (
    Card("introduction", (), introduce, lambda view: [], column="top", frame=False, elem_id="introduction"),
    REFUSED,
    copied.CARD,
    Card("verdict", ("verdict",), build_verdict, lambda view: [with_terms(view.verdict)], column="top"),
    bet.CARD,
    chart("accuracy", "accuracy"),
    SCRUBBER,
    chart("loss", "loss", tab="loss"),
    chart("norms", "gradient", tab="gradients"),
    # The end is needed for a card that was out of view at the last measurement.
    in_tab("gradients", "name", "gradients", "complete", build=build_gradients),
    chart("ranks", "ranks_by_layer", "ranks", tab="spectra", only_with="ranks"),
    in_tab("spectra", "name", "spectra", build=build_spectra),
    chart("forgotten", "forgotten", "drift", below="forgotten_table", tab="forgotten", only_with="drift"),
    in_tab("rates", "name", "rates", "complete", build=build_rates),
    charts("measurements", '<h2>Measurements <span class="hint">one number per lane and step</span></h2>', tab="more"),
    chain.CARD,
    shelf.COMPARISON,
    shelf.CARD,
    inside.CARD,
    words("story", "story", "story", terms=True, column="after"),
    words("standing", "results", "results", column="right"),
    ask.CARD,
    TAKE,
)
"""Adding a card is a file that defines it, and a line here."""


class Tab(NamedTuple):
    """A tab."""

    title: str
    what: str
    empty: str = ""
    """What it says while it has no card to show."""


TABS = {
    "loss": Tab("Loss", "Training and held-out loss over the steps"),
    "gradients": Tab("Gradients", "Norms of the gradients, in all and by layer"),
    "spectra": Tab(
        "Spectra", "How training changes the adapters' singular values",
        "The spectra of the adapters come with the first evaluation.",
    ),
    "rates": Tab(
        "Rates", "Loss against learning rate, a curve for each start",
        "Race a start at several learning rates to see its curve of rates.",
    ),
    "forgotten": Tab(
        "Forgotten", "What the lanes learned against what they forgot",
        "Choose a text to keep under More settings, and race, to see what the lanes forget.",
    ),
    "more": Tab(
        "More", "Everything else with one number per lane and step",
        "Nothing else was measured in this race.",
    ),
    "chain": Tab("Chain", "What the lanes keep when they are trained on more tasks, one after the other"),
    "runs": Tab("Earlier runs", "The runs of this visit: name, compare and open them"),
    "words": Tab("In words", "What the results mean, in sentences"),
}  # fmt: skip
"""The tabs by name, in order; the first is open at first. The last is a tab on phones only, where the card that it
opens would be long."""


def tab_row() -> gr.HTML:
    """Make the row of tabs."""
    button = Markup('<button type="button" role="tab" data-tab-name="{}" title="{}">{}</button>')
    nothing = Markup('<p class="hint nothing" data-of="{}">{}</p>')
    row = Markup("").join(button.format(name, tab.what, tab.title) for name, tab in TABS.items())
    empty = Markup("").join(nothing.format(name, tab.empty) for name, tab in TABS.items() if tab.empty)
    return element(
        Markup('<div role="tablist" aria-label="Charts of this race">{}</div>{}').format(row, empty),
        elem_id="tabs",
        script="race/tabs.js",
    )


def tabs_css() -> str:
    """Return the rules that hide the cards of closed tabs, and tabs without a card."""
    framed = [card for card in CARDS if card.frame]  # the others belong to these
    rules = []
    for name in TABS:
        closed = f':root:not([data-tab="{name}"])'
        filled = f".middle:has(.tab-{name}:not(.away))"
        rules.append(f"{closed} .tab-{name} {{ display: none !important; }}")
        drawn = f".tab-{name}:not(.away):has(.main-svg)"  # charts draw when they are first seen
        rules.append(f"@media print {{ {drawn} {{ display: flex !important; }} }}")
        rules.append(f":is({closed}, {filled}) [data-of={name}] {{ display: none; }}")
        hidden = "".join(f'[data-hide~="{card.name}"]' for card in framed if card.tab == name)
        if hidden:
            rules.append(f"{hidden} [data-tab-name={name}] {{ display: none; }}")
    return "\n".join(rules)
