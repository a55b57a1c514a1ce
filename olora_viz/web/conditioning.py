"""The page Conditioning: gradients and curvature of every start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.background.measurement import BackgroundMeasurement, at_its_start, start_config
from olora_viz.background.record import FAILED, READY, WAITING
from olora_viz.figures import race as figures
from olora_viz.figures.live.serving import live_figure, pack
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
from olora_viz.learn.terms import term, with_terms
from olora_viz.measures.conditioning import BATCHES, COST_IN_STEPS, LossSlice, slices
from olora_viz.races.config import RaceConfig, start_key
from olora_viz.races.fair_rate import FairRate, fair_rate, reference_among, resolved, same_and_fair
from olora_viz.races.state import FINISHED
from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.views.conditioning import hero_of, numbers, numbers_before, rates, rates_before, story_before, tell
from olora_viz.views.html import problem
from olora_viz.views.layers import curvature_view
from olora_viz.views.race import race_view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import NOBODY, Visitor, visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import Work, new_key
from olora_viz.web.jobs.queue import Jobs, changes
from olora_viz.web.parts.card import AT_ONCE, PRIVATE, Card, held, read
from olora_viz.web.parts.setup import YOUR_FILE, SetUp

HEAD = Markup("<h2>Fair rates</h2>")

HINT = Markup(
    '<p class="hint">A rule of thumb, fitted to sweeps of two models: LoRA\'s rate divided by the '
    "cube root of the curvature ratio. It was off by a factor of 1.5 to 1.6, 2.4 at worst. It "
    "scales the rate of the first LoRA lane: tune that one.</p>"
)


def before() -> Markup:
    """Return the placeholder of the card, until rates are proposed."""
    words = Markup(
        '<p class="say">Is it the start, or only the rate? The button adds every start '
        "twice, at plain LoRA's rate and at its fair rate from the curvature: press Race to "
        "compare.</p>"
    )
    return HEAD + words + HINT


def proposed(setup: SetUp, work: Measurement | None, limits: Limits) -> tuple[SetUp, Markup]:
    """Return the set-up with same and fair rates, and the text of the card.

    Args:
        setup: of the page; its lanes are replaced.
        work: the measurement; its lanes are the starts.

    Raises:
        ValueError: nothing was measured over all parameters, or another set-up was, there is no plain LoRA lane or
            only that one, a curvature is not positive, or there would be more lanes than a race takes.
    """
    if work is None or work.result is None or work.layer is not None:
        raise ValueError("measure the start first, over all parameters")
    measured = SetUp.of(work.config)
    starts, found = measured.lanes, work.result.hessian.lambda_max
    tuned, of_key = reference_among(setup.lanes).lr, {start_key(lane): lane for lane in starts}
    keys = [(start_key(lane), lane.seed) for lane in setup.lanes]
    seeded = [replace(of_key[key], seed=seed) for key, seed in keys if key in of_key]
    lanes = same_and_fair(seeded or starts, tuned, limits.max_lanes)
    if _start(setup) != _start(measured):
        raise ValueError("the set-up has changed since the measurement: measure the start again")
    known = {start_key(lane): float(its) for lane, its in zip(starts, found, strict=True)}
    base = next(known[start_key(lane)] for lane in lanes if lane.init == "lora")
    rates = [
        FairRate(lane.init, fair_rate(tuned, base, its), tuned, its, base)
        for lane, its in ((lane, known[start_key(lane)]) for lane in lanes if lane.fair)
    ]
    lanes = resolved(replace(work.config, lanes=lanes), [rate.rate for rate in rates]).lanes
    said = dict.fromkeys(rate.sentence for rate in rates)  # seeds of a start may share one
    words = Markup("").join(Markup('<p class="say">{}</p>').format(sentence) for sentence in said)
    return replace(setup, lanes=lanes), HEAD + words + HINT


def _start(setup: SetUp) -> tuple[object, ...]:
    """Return what the curvature at the start depends on: every setting but the rates."""
    task = setup.task if setup.task in TASKS else YOUR_FILE
    starts = {start_key(lane) for lane in setup.lanes}
    return setup.model, task, setup.batch, setup.seed, setup.settings.targets, starts


def refused(sentence: str) -> Markup:
    """Return the card, with the reason why there are no rates."""
    return HEAD + problem(sentence) + HINT


MAX_NAME = 200
"""Maximum length of a layer's name, in characters."""


@dataclass(eq=False)
class Measurement(Work, BackgroundMeasurement):
    """A measurement of a race's start in the queue."""

    rates: tuple[tuple[float, ...], ...] = ()
    """The learning rates that the race would use, for each start."""
    lanes: int = 0
    """Number of lanes of the race."""


@dataclass(eq=False)
class Slicing(Work):
    """The loss on a plane through some starts."""

    source: Measurement | None = None
    """The measurement of the same starts."""
    chosen: tuple[int, ...] = ()
    """Indices of its lanes."""
    slices: list[LossSlice] = field(default_factory=list)

    def run(self) -> None:
        """Build the same race again, and slice it before its first step."""
        assert self.source is not None
        assert self.source.result is not None
        with at_its_start(self) as racing:
            self.become("slicing")
            self.slices = slices(
                racing.lanes, racing.batch(1), self.source.result, self.chosen, progress=self.progress
            )
            self.become(FINISHED)


def measure(jobs: Jobs, config: RaceConfig, layer: Any = None, owner: Visitor = NOBODY) -> Measurement:
    """Put a measurement of a race's start into the queue.

    Lanes that have the same start, see `start_key`, share one measurement.

    Args:
        layer: name of a layer, or nothing for all parameters.
        owner: who asks for it.

    Raises:
        ValueError: the queue is full, or `layer` is not a name.
    """
    if layer is not None and (not isinstance(layer, str) or len(layer) > MAX_NAME):
        raise ValueError(f"the layer must be a name of at most {MAX_NAME} characters")
    starts = start_config(config)
    name = new_key()
    return jobs.put(
        Measurement(
            name, starts, jobs.folder / name, start_styles(starts.lanes),
            rates=tuple(
                tuple(dict.fromkeys(lane.lr for lane in lanes if not lane.fair))
                for lanes in config.starts()
            ),
            lanes=len(config.lanes), layer=(layer or "").strip() or None, owner=owner,
        )
    )  # fmt: skip


def cut(jobs: Jobs, source: Measurement, chosen: list[Any], owner: Visitor = NOBODY) -> Slicing:
    """Put slices through some of the measured starts into the queue.

    Args:
        chosen: indices of lanes; duplicates count once.
        owner: who asks for them.

    Raises:
        ValueError: there is no measurement, or no such lane, or the queue is full.
    """
    if source.result is None:
        raise ValueError("measure the start first: a slice uses the measured directions")
    if source.layer is not None:
        raise ValueError(
            f"only the layer {source.layer!r} was measured, but a slice needs all parameters: "
            "measure again without a layer"
        )
    for k in chosen:
        if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(source.styles):
            raise ValueError(f"a lane must be from 0 to {len(source.styles) - 1}, not {k!r:.40}")
    name = new_key()
    return jobs.put(
        Slicing(
            name, source.raced, jobs.folder / name, source.styles, source=source,
            chosen=tuple(dict.fromkeys(chosen)), owner=owner,
        )
    )  # fmt: skip


class View(NamedTuple):
    """What the page's outputs show, in their order."""

    measured: Any
    sliced: Any
    status: Any
    comparison: Any
    ntk: Any
    story: Any
    numbers: Any
    rates: Any
    left: Any
    right: Any
    left_slice: Any
    right_slice: Any
    measure: Any
    slice: Any
    stop: Any


def some(**shown: Any) -> View:
    """Update the given outputs and leave the others unchanged."""
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    return View(**(kept | shown))


def problem_view(sentence: str) -> View:
    """Say why nothing could be measured."""
    return some(status=fragments.problem(sentence))


def view(work: Measurement | Slicing, before: int, *, last: bool) -> View:
    """Show the progress of a measurement or a slice.

    Args:
        before: number of jobs ahead of it.
        last: whether this is the last update of the page.
    """
    free = last and work.complete
    shown: dict[str, Any] = {
        "status": _status(work, before),
        "measure": gr.update(interactive=free),
        "stop": gr.update(interactive=not work.ended),
    }
    if isinstance(work, Slicing):
        shown |= {"sliced": work.id, "slice": gr.update(interactive=free)}
        if work.slices:
            shown |= _slices(work)
        return some(**shown)
    shown["measured"] = work.id
    found = work.result
    if found is None or not work.complete:
        return some(**shown, slice=gr.update(interactive=False))
    k, hero = reference(work.styles), hero_of(work.styles, found)
    choices = [(style.label, i) for i, style in enumerate(work.styles)]
    return some(
        **shown,
        slice=gr.update(interactive=free and work.layer is None),
        comparison=pack(comparison_figure(work.styles, found, run=work.name)),
        ntk=pack(ntk_figure(work.styles, found, run=work.name)),
        story=with_terms(fragments.sentences(tell(work.styles, found), _scope(work))),
        numbers=numbers(work.styles, found),
        rates=rates(work.styles, found, work.rates),
        left=gr.update(choices=choices, value=k),
        right=gr.update(choices=choices, value=hero),
        left_slice=pack(empty_slice()),
        right_slice=pack(empty_slice()),
    )


def _status(work: Work, before: int) -> Markup:
    if work.state == FAILED:
        return fragments.problem(work.note)
    if work.state == WAITING:
        return fragments.status(WAITING, f"{before} before yours")
    words = work.note
    if work.state == FINISHED and isinstance(work, Measurement):
        starts = len(work.styles)
        words = f"{starts} start{'s' * (starts > 1)} on {work.device}"
        if work.lanes > starts:
            words += f": {work.lanes} lanes start like these, whatever their learning rate"
    if work.state == FINISHED and isinstance(work, Slicing):
        words = " and ".join(work.styles[k].label for k in work.chosen) + " on one scale"
    line = fragments.status(work.state, *([words] if words else []))
    if work.ended:
        return line
    return line + Markup(
        '<div class="bar" role="progressbar" aria-label="{state}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.0f}%"></i>'
        "</div>"
    ).format(state=work.state, percent=100 * work.part)


def _slices(work: Slicing) -> dict[str, Any]:
    plain_text = bool(work.source and work.source.plain_text)
    made = slice_figures(work.styles, work.slices, plain_text=plain_text, run=work.name)
    made += [empty_slice()] * (2 - len(made))
    return {"left_slice": pack(made[0]), "right_slice": pack(made[1])}


def _scope(work: Measurement) -> str:
    where = f"For the layer {work.layer} only. " if work.layer else ""
    return (
        f"{where}Gradient and curvature on the first batch, the condition of the tangent kernel on "
        f"{BATCHES} batches, in one order of the data."
    )


PACE = 0.2
"""Seconds between two updates of a page."""

ONLY = "conditioning-only"
"""CSS class of the columns that this page alone shows."""


CURVED = Card(
    # It draws at every measurement of the curvature, and once more at the end.
    "curved",
    ("name", "curvature", "complete"),
)
"""The curvature of the run that the page shows."""


class Columns(NamedTuple):
    """The components of the page's columns."""

    outputs: View
    """The components that a `View` fills, in its order."""
    layer: gr.Textbox
    every: gr.Number
    curved: gr.Textbox
    race_figures: tuple[gr.HTML, ...]
    fair: gr.Button
    fair_words: gr.HTML


def columns(styles: Sequence[LaneStyle], total: int) -> Columns:
    """Lay out the middle and the right column, inside the row of the Race page.

    Args:
        styles: lanes and steps of the race that the page opens with.
        total: see `styles`.
    """
    measured, sliced = held("measured"), held("sliced")
    with gr.Column(elem_classes=f"middle {ONLY}", min_width=0):
        with gr.Column(elem_classes="card"):
            with gr.Row(elem_classes="measuring"):
                measure_ = gr.Button(
                    "Measure the start", variant="primary", elem_id="measure-button", scale=0, min_width=0
                )
                stop = gr.Button("■ Stop", elem_id="measure-stop-button", interactive=False, scale=0, min_width=0)
                layer = gr.Textbox(
                    label="One layer only (empty: all parameters)", elem_id="measure-layer",
                    placeholder="model.layers.3.mlp.down_proj", min_width=0, max_length=200,
                )  # fmt: skip
            status = gr.HTML(
                fragments.status(READY, "the model, task and lanes of the set-up, at step 0"),
                elem_id="conditioning-status", apply_default_css=False,
            )  # fmt: skip
        with gr.Column(elem_classes="card"):
            comparison = live_figure(comparison_figure(styles, None), elem_id="conditioning-figure")
        with gr.Column(elem_classes="card"):
            ntk = live_figure(ntk_figure(styles, None), elem_id="ntk-figure")
        with gr.Column(elem_classes="card"):
            with gr.Row(elem_classes="measuring"):
                slice_ = gr.Button("Slice the loss", elem_id="slice-button", interactive=False, scale=0, min_width=0)
                left = gr.Dropdown([], label="Left", elem_id="slice-left", min_width=0)
                right = gr.Dropdown([], label="Right", elem_id="slice-right", min_width=0)
            with gr.Row(elem_classes="two charts"):
                left_slice = live_figure(empty_slice(), elem_id="slice-left-figure")
                right_slice = live_figure(empty_slice(), elem_id="slice-right-figure")
        with gr.Column(elem_classes="card"):
            every, race_figures = _during_a_race(styles, total)
    with gr.Column(elem_classes=f"side right {ONLY}", scale=0, min_width=0):
        with gr.Column(elem_classes="card"):
            story = gr.HTML(story_before(), elem_id="conditioning-story", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            numbers = gr.HTML(numbers_before(), elem_id="conditioning-numbers", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            rates = gr.HTML(rates_before(), elem_id="conditioning-rates", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            fair_words = gr.HTML(before(), elem_id="fair-rates", apply_default_css=False)
            fair = gr.Button("Set same and fair rates", elem_id="fair-button")
    curved = gr.Textbox("", visible=False)
    outputs = View(
        measured, sliced, status, comparison, ntk, story, numbers, rates, left, right, left_slice,
        right_slice, measure_, slice_, stop,
    )  # fmt: skip
    return Columns(outputs, layer, every, curved, race_figures, fair, fair_words)


def _during_a_race(styles: Sequence[LaneStyle], total: int) -> tuple[gr.Number, tuple[gr.HTML, ...]]:
    """Make the card of the curvature during a race: how often, and its charts."""
    gr.HTML(
        '<h2>During a race <span class="hint">press Race: the '
        f"{term('Hessian eigenvalue', 'curvature')} is measured on "
        f"the first batch, at the cost of up to about {COST_IN_STEPS} steps</span></h2>",
        apply_default_css=False,
    )
    with gr.Row(elem_classes="measuring"):
        every = gr.Number(
            0, label="Measure the curvature every E updates (0: never)", elem_id="curvature-every", min_width=0
        )
    with gr.Row(elem_classes="two charts"):
        sharpness = live_figure(sharpness_figure(styles, [], total=total), elem_id="sharpness-figure")
        stability = live_figure(stability_figure(styles, [], total=total), elem_id="stability-figure")
    with gr.Row(elem_classes="two charts"):
        loss = live_figure(figures.loss_figure(styles, [], total=total), elem_id="conditioning-loss-figure")
        gradient = live_figure(
            figures.gradient_figure(styles, [], total=total), elem_id="conditioning-gradient-figure"
        )
    return every, (sharpness, stability, loss, gradient)


def connect(
    its: Columns,
    demo: gr.Blocks,
    jobs: Jobs,
    limits: Limits,
    controls: Sequence[Any],
    run: gr.HTML,
    files: VisitorFiles,
) -> None:
    """Connect the columns to the set-up and the race that they share with the Race page.

    Args:
        controls: of the set-up.
        run: the id of the run that the page shows.
        files: the visitors' own files.
    """
    page = its.outputs

    async def start(request: gr.Request, *values: Any) -> AsyncIterator[View]:
        *setup, layer = values
        try:
            mine = FilesOfPage(files, request.session_hash)
            config = SetUp.from_controls(limits, setup, mine).to_config(limits, mine)
            job = measure(jobs, replace(config, curvature_every=0), layer, visitor_of(request))
        except ValueError as error:
            yield problem_view(str(error))
            return
        async for update in follow(job):
            yield update

    async def slice_(request: gr.Request, measured: Any, left: Any, right: Any) -> AsyncIterator[View]:
        try:
            source = jobs.find(measured, Measurement)
            if source is None:
                raise ValueError("measure the start first: a slice uses the measured directions")
            job = cut(jobs, source, [left, right], visitor_of(request))
        except ValueError as error:
            yield problem_view(str(error))
            return
        async for update in follow(job):
            yield update

    async def go_on(measured: Any, sliced: Any) -> AsyncIterator[View]:
        """Show this browser's measurement again, after its page was closed or reloaded."""
        found = [jobs.find(measured, Measurement), jobs.find(sliced, Slicing)]
        yield some()
        for job in found:
            if job is not None:
                async for update in follow(job):
                    yield update

    async def follow(job: Measurement | Slicing) -> AsyncIterator[View]:
        async for _, before, complete in changes(jobs, lambda: job, lambda _: (), PACE):
            yield await asyncio.to_thread(view, job, before, last=complete)

    def stop(measured: Any, sliced: Any) -> None:
        for job in (jobs.find(measured, Measurement), jobs.find(sliced, Slicing)):
            if job is not None:
                jobs.stop(job)

    def propose(measured: Any, *values: Any) -> tuple[Any, ...]:
        """Put every start into the set-up at plain LoRA's rate and at its fair rate."""
        try:
            setup = SetUp.from_controls(limits, values, files)
            setup, words = proposed(setup, jobs.find(measured, Measurement), limits)
        except ValueError as error:
            return (*(gr.skip() for _ in controls), refused(str(error)))
        return (*setup.to_controls(), words)

    def track(name: Any) -> tuple[Any, ...]:
        """Draw the curvature of the current race, with its loss and its gradients."""
        job = jobs.shown(name)
        if job is None:
            return tuple(gr.skip() for _ in its.race_figures)
        curved, raced = curvature_view(job), race_view(job)
        drawn = (curved.sharpness, curved.stability, raced.loss, raced.gradient)
        return tuple(pack(figure) for figure in drawn)

    both, whole = [page.measured, page.sliced], list(page)
    page.measure.click(start, [*controls, its.layer], whole, concurrency_limit=None, **PRIVATE)
    page.slice.click(slice_, [page.measured, page.left, page.right], whole, concurrency_limit=None, **PRIVATE)
    its.fair.click(propose, [page.measured, *controls], [*controls, its.fair_words], **AT_ONCE)
    page.stop.click(stop, both, None, **AT_ONCE)
    demo.load(go_on, both, whole, js=read("measured", "sliced"), concurrency_limit=None, **PRIVATE)
    its.curved.change(track, run, list(its.race_figures), trigger_mode="always_last", **AT_ONCE)
