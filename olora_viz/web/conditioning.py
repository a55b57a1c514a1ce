"""The page Conditioning: gradients and curvature of every start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.background.measurement import BackgroundMeasurement, Slicing, rates_in_use, start_config
from olora_viz.background.record import Wait
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.figures.race import RaceCurves, gradient_figure, loss_figure
from olora_viz.figures.start import (
    comparison_figure,
    empty_slice,
    ntk_figure,
    reference,
    sharpness_figure,
    slice_figures,
    stability_figure,
)
from olora_viz.figures.theme import LaneStyle, start_styles
from olora_viz.learn.gallery.start import recorded_start
from olora_viz.learn.terms import term, with_terms
from olora_viz.machine.wording import counted
from olora_viz.measures.conditioning import KERNEL_BATCHES
from olora_viz.measures.curvature import TRACKED
from olora_viz.races.config import RaceConfig, start_key
from olora_viz.races.fair_rate import FairRate, fair_rate, reference_among, resolved, same_and_fair
from olora_viz.races.step import FINISHED
from olora_viz.tasks import TASKS
from olora_viz.views.conditioning import hero_of, numbers, rates, story_of
from olora_viz.views.html import problem, sentences, status
from olora_viz.views.layers import curvature_view
from olora_viz.views.race import race_view
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.guard.visitor_files import OwnFiles, VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.background import PageWork, StartButton, work_status
from olora_viz.web.parts.card import UNQUEUED, Card, element, held, in_card, small_button
from olora_viz.web.parts.setup import YOUR_FILE, SetUp, SetUpControls

HEADING = Markup("<h2>Fair rates</h2>")
FAIR_RATES_HINT = Markup(
    '<p class="hint">A rule of thumb, fitted to sweeps of two models: LoRA\'s rate divided by the '
    "cube root of the curvature ratio. It was off by a factor of 1.5 to 1.6, 2.4 at worst. It "
    "scales the rate of the first LoRA lane: tune that one.</p>"
)
BEFORE_MEASURING = (
    HEADING
    + Markup(
        '<p class="say">Is it the start, or only the rate? The button adds every start '
        "twice, at plain LoRA's rate and at its fair rate from the curvature: press Race to compare.</p>"
    )
    + FAIR_RATES_HINT
)
"""The card until rates are proposed."""


def proposed(setup: SetUp, work: BackgroundMeasurement | None, limits: Limits) -> tuple[SetUp, Markup]:
    """Return the set-up with same and fair rates, and the text of the card.

    Raises:
        ValueError: nothing was measured over all parameters, or another set-up was, there is no plain LoRA lane or
            only that one, a curvature is not positive, or there would be more lanes than a race takes.
    """
    if work is None or work.result is None or work.layer is not None:
        raise ValueError("measure the start first, over all parameters")
    measured = SetUp.of(work.config)
    starts = {start_key(lane): lane for lane in measured.lanes}
    tuned = reference_among(setup.lanes).lr
    keys = [(start_key(lane), lane.seed) for lane in setup.lanes]
    seeded = [replace(starts[key], seed=seed) for key, seed in keys if key in starts]
    lanes = same_and_fair(seeded or measured.lanes, tuned, limits.max_lanes)
    if _start(setup) != _start(measured):
        raise ValueError("the set-up has changed since the measurement: measure the start again")
    curvatures = dict(zip(starts, map(float, work.result.hessian.lambda_max), strict=True))
    base = next(curvatures[start_key(lane)] for lane in lanes if lane.init == "lora")
    fair = [(lane.init, curvatures[start_key(lane)]) for lane in lanes if lane.fair]
    rates = [FairRate(init, fair_rate(tuned, base, own), tuned, own, base) for init, own in fair]
    lanes = resolved(replace(work.config, lanes=lanes), [rate.rate for rate in rates]).lanes
    unique = dict.fromkeys(rate.sentence for rate in rates)  # seeds of a start may share one
    words = Markup("").join(Markup('<p class="say">{}</p>').format(sentence) for sentence in unique)
    return replace(setup, lanes=lanes), HEADING + words + FAIR_RATES_HINT


def _start(setup: SetUp) -> tuple[object, ...]:
    """Return what the curvature at the start depends on: every setting but the rates."""
    task = setup.task if setup.task in TASKS else YOUR_FILE
    starts = {start_key(lane) for lane in setup.lanes}
    return setup.model, task, setup.batch, setup.seed, setup.settings.targets, starts


MAX_NAME = 200
"""Maximum length of a layer's name, in characters."""


def measure(jobs: Jobs, config: RaceConfig, layer: Any = None, owner: Visitor = NOBODY) -> BackgroundMeasurement:
    """Put a measurement of a race's start into the queue.

    Lanes that have the same start, see `start_key`, share one measurement.

    Args:
        layer: name of a layer, or nothing for all parameters.

    Raises:
        ValueError: the queue is full, or `layer` is not a name.
    """
    if layer is not None and (not isinstance(layer, str) or len(layer) > MAX_NAME):
        raise ValueError(f"the layer must be a name of at most {MAX_NAME} characters")
    starts = start_config(config)
    return jobs.add(
        BackgroundMeasurement, starts, start_styles(starts.lanes), owner,
        rates=rates_in_use(config), lanes=len(config.lanes), layer=(layer or "").strip() or None,
    )  # fmt: skip


def cut(jobs: Jobs, source: BackgroundMeasurement | None, chosen: Sequence[Any], owner: Visitor = NOBODY) -> Slicing:
    """Put slices through some of the measured starts into the queue.

    Args:
        chosen: indices of lanes; duplicates count once.

    Raises:
        ValueError: there is no measurement, or no such lane, or the queue is full.
    """
    if source is None or source.result is None:
        raise ValueError("measure the start first: a slice uses the measured directions")
    if source.layer is not None:
        raise ValueError(
            f"only the layer {source.layer!r} was measured, but a slice needs all parameters: "
            "measure again without a layer"
        )
    for k in chosen:
        if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(source.styles):
            raise ValueError(f"a lane must be from 0 to {len(source.styles) - 1}, not {k!r:.40}")
    return jobs.add(Slicing, source.raced, source.styles, owner, measured=source, chosen=tuple(dict.fromkeys(chosen)))


class ConditioningView(NamedTuple):
    """What the page's outputs show, or their components."""

    measured: Any = gr.skip()
    sliced: Any = gr.skip()
    status: Any = gr.skip()
    comparison: Any = gr.skip()
    ntk: Any = gr.skip()
    story: Any = gr.skip()
    numbers: Any = gr.skip()
    rates: Any = gr.skip()
    left: Any = gr.skip()
    right: Any = gr.skip()
    left_slice: Any = gr.skip()
    right_slice: Any = gr.skip()
    measure: Any = gr.skip()
    slice: Any = gr.skip()
    stop: Any = gr.skip()


@singledispatch
def view(work: Any, ahead: Wait, last: bool) -> ConditioningView:
    """Show a measurement, or a slice, with what is `ahead` of it; the page's last update is `last`."""
    words = f"{counted(len(work.styles), 'start')} on {work.device}"
    if work.lanes > len(work.styles):
        words += f": {work.lanes} lanes start like these, whatever their learning rate"
    shown, measured = _top(work, ahead, last, words), work.result
    if measured is None or not work.complete:
        return shown._replace(measured=work.id, slice=gr.update(interactive=False))
    choices = [(style.label, i) for i, style in enumerate(work.styles)]
    return shown._replace(
        measured=work.id,
        slice=gr.update(interactive=last and work.layer is None),
        **{name: pack(figure) for name, figure in figures_of(work).items()},
        **words_of(work),
        left=gr.update(choices=choices, value=reference(work.styles)),
        right=gr.update(choices=choices, value=hero_of(work.styles, measured)),
        left_slice=pack(empty_slice()),
        right_slice=pack(empty_slice()),
    )


def figures_of(work: BackgroundMeasurement) -> dict[str, Figure]:
    """Return the charts of a finished measurement, by their places in a `ConditioningView`."""
    drawn = {
        "comparison": comparison_figure(work.styles, work.result, run=work.name),
        "ntk": ntk_figure(work.styles, work.result, run=work.name),
    }
    for figure in drawn.values() if work.recorded else ():
        figure["layout"]["meta"]["unit"] += f" · recorded: {work.config.model}, {work.config.task}"
    return drawn


def words_of(work: BackgroundMeasurement) -> dict[str, Markup]:
    """Return the sentences and tables of a finished measurement, by their places in a `ConditioningView`."""
    styles, measured = work.styles, work.result
    assert measured is not None
    scope = (
        f"{f'For the layer {work.layer} only. ' if work.layer else ''}Gradient and curvature on the first batch, the "
        f"condition of the tangent kernel on {KERNEL_BATCHES} batches, in one order of the data."
    )
    if work.recorded:
        scope += f" R{work.recorded[1:]} with {work.config.model} on {work.config.task}: measure your set-up's own."
    return {
        "story": with_terms(sentences(story_of(styles, measured), scope)),
        "numbers": numbers(styles, measured),
        "rates": rates(styles, measured, work.rates),
    }


@view.register(Slicing)
def _(work: Slicing, ahead: Wait, last: bool) -> ConditioningView:
    shown = _top(work, ahead, last, " and ".join(work.styles[k].label for k in work.chosen) + " on one scale")
    shown = shown._replace(sliced=work.id, slice=gr.update(interactive=last))
    if not work.slices:
        return shown
    plain_text = bool(work.measured and work.measured.plain_text)
    drawn = slice_figures(work.styles, work.slices, plain_text=plain_text, run=work.name)
    left, right = (*drawn, empty_slice())[:2]
    return shown._replace(left_slice=pack(left), right_slice=pack(right))


def _top(work: BackgroundWork, ahead: Wait, last: bool, found: str) -> ConditioningView:
    """Show the status and the buttons, given what to say of work that has finished."""
    return ConditioningView(
        status=work_status(work, ahead, found if work.state == FINISHED else work.note),
        measure=gr.update(interactive=last), stop=gr.update(interactive=not work.ended),
    )  # fmt: skip


PURPOSE = Markup(
    "<p><b>How steep and how curved the loss is where each start begins</b>, and what that means for its learning "
    "rate.</p>"
)
"""What the page is for."""

ONLY_CONDITIONING = "conditioning-only"
"""CSS class of the columns that this page alone shows."""


CURVED = Card("curved", ("name", "curvature", "complete"))
"""The curvature of the run that the page shows: drawn at every measurement of it, and once more at the end."""


class Columns(NamedTuple):
    """The components of the page's columns."""

    outputs: ConditioningView
    layer: gr.Textbox
    every: gr.Number
    curved: gr.Textbox
    race_figures: tuple[gr.HTML, ...]
    fair: gr.Button
    fair_words: gr.HTML


def columns(styles: Sequence[LaneStyle], total: int) -> Columns:
    """Lay out the middle and the right column, inside the row of the Race page.

    Args:
        styles: of the lanes of the race that the page opens with; `total` is the number of its steps.
    """
    measured, sliced, recorded = held("measured"), held("sliced"), recorded_start()
    figures, told, raced = figures_of(recorded), words_of(recorded), recorded.config
    with gr.Column(elem_classes=f"middle {ONLY_CONDITIONING}", min_width=0):
        with gr.Column(elem_classes="card"):
            with gr.Row(elem_classes="measuring"):
                measure_button = small_button("Measure the start", "measure-button", variant="primary")
                stop = small_button("■ Stop", "measure-stop-button", interactive=False)
                layer = gr.Textbox(
                    label="One layer only (empty: all parameters)", elem_id="measure-layer",
                    placeholder="model.layers.3.mlp.down_proj", min_width=0, max_length=200,
                )  # fmt: skip
            status_line = element(
                status("recorded", f"{raced.model}, {raced.task}", "the button measures the set-up's own"),
                elem_id="conditioning-status",
            )  # fmt: skip
        comparison = in_card(live_figure, figures["comparison"], elem_id="conditioning-figure")
        ntk = in_card(live_figure, figures["ntk"], elem_id="ntk-figure")
        with gr.Column(elem_classes="card"):
            with gr.Row(elem_classes="measuring"):
                slice_button = small_button("Slice the loss", "slice-button", interactive=False)
                left = gr.Dropdown([], label="Left", elem_id="slice-left", min_width=0)
                right = gr.Dropdown([], label="Right", elem_id="slice-right", min_width=0)
            with gr.Row(elem_classes="two charts"):
                left_slice = live_figure(empty_slice(), elem_id="slice-left-figure")
                right_slice = live_figure(empty_slice(), elem_id="slice-right-figure")
        with gr.Column(elem_classes="card"):
            every, race_figures = _during_a_race(styles, total)
    with gr.Column(elem_classes=f"side right {ONLY_CONDITIONING}", scale=0, min_width=0):
        story, numbers, rates = (
            in_card(element, value, elem_id=f"conditioning-{name}") for name, value in told.items()
        )
        with gr.Column(elem_classes="card"):
            fair_words = element(BEFORE_MEASURING, elem_id="fair-rates")
            fair = gr.Button("Set same and fair rates", elem_id="fair-button")
    curved = gr.Textbox("", visible=False)
    outputs = ConditioningView(
        measured=measured, sliced=sliced, status=status_line, comparison=comparison, ntk=ntk, story=story,
        numbers=numbers, rates=rates, left=left, right=right, left_slice=left_slice, right_slice=right_slice,
        measure=measure_button, slice=slice_button, stop=stop,
    )  # fmt: skip
    return Columns(outputs, layer, every, curved, race_figures, fair, fair_words)


def _during_a_race(styles: Sequence[LaneStyle], total: int) -> tuple[gr.Number, tuple[gr.HTML, ...]]:
    """Make the card of the curvature during a race: how often, and its charts."""
    element(
        '<h2>During a race <span class="hint">press Race: the '
        f"{term('Hessian eigenvalue', 'curvature')} is measured on "
        f"the first batch, at the cost of up to about {TRACKED} steps</span></h2>"
    )
    with gr.Row(elem_classes="measuring"):
        every = gr.Number(
            0, label="Measure the curvature every E updates (0: never)", elem_id="curvature-every", min_width=0
        )
    unraced = RaceCurves(styles, [], total)
    with gr.Row(elem_classes="two charts"):
        sharpness = live_figure(sharpness_figure(unraced), elem_id="sharpness-figure")
        stability = live_figure(stability_figure(unraced), elem_id="stability-figure")
    with gr.Row(elem_classes="two charts"):
        loss = live_figure(loss_figure(unraced), elem_id="conditioning-loss-figure")
        gradient = live_figure(gradient_figure(unraced), elem_id="conditioning-gradient-figure")
    return every, (sharpness, stability, loss, gradient)


def connect(
    columns: Columns,
    demo: gr.Blocks,
    jobs: Jobs,
    limits: Limits,
    controls: SetUpControls,
    run: gr.HTML,
    files: VisitorFiles,
) -> None:
    """Connect the columns to the set-up and the race that they share with the Race page.

    Args:
        controls: of the set-up.
        run: the id of the run that the page shows.
    """
    page = columns.outputs

    def put(own: OwnFiles, asked: Sequence[Any], owner: Visitor) -> BackgroundMeasurement:
        *setup, layer = asked
        config = SetUp.from_controls(limits, setup, own).to_config(limits, own)
        return measure(jobs, replace(config, curvature_every=0), layer, owner)

    def put_slicing(_: OwnFiles, asked: Sequence[Any], owner: Visitor) -> Slicing:
        measured, *chosen = asked
        return cut(jobs, jobs.find(measured, BackgroundMeasurement), chosen, owner)

    def propose(measured: Any, *values: Any) -> dict[Any, Any]:
        """Put every start into the set-up at plain LoRA's rate and at its fair rate."""
        try:
            setup = SetUp.from_controls(limits, values, files)
            setup, words = proposed(setup, jobs.find(measured, BackgroundMeasurement) or recorded_start(), limits)
        except ValueError as error:
            return {columns.fair_words: HEADING + problem(str(error)) + FAIR_RATES_HINT}
        return dict(zip(controls, setup.to_controls(), strict=True)) | {columns.fair_words: words}

    def track(name: Any) -> Any:
        """Draw the curvature of the current race, with its loss and its gradients."""
        record = jobs.shown(name)
        if record is None:
            return gr.skip()
        curvature, race = curvature_view(record), race_view(record)
        return tuple(map(pack, (curvature.sharpness, curvature.stability, race.loss, race.gradient)))

    starts: list[StartButton[BackgroundMeasurement | Slicing]] = [
        StartButton(page.measure, [*controls, columns.layer], put),
        StartButton(page.slice, [page.measured, page.left, page.right], put_slicing),
    ]
    kinds = {page.measured: BackgroundMeasurement, page.sliced: Slicing}
    shown = PageWork(kinds, page, page.status, lambda work, ahead, last: view(work, ahead, last), pace=0.2)
    shown.connect(demo, jobs, files, starts, page.stop)
    columns.fair.click(propose, [page.measured, *controls], [*controls, columns.fair_words], **UNQUEUED)
    columns.curved.change(track, run, list(columns.race_figures), trigger_mode="always_last", **UNQUEUED)
