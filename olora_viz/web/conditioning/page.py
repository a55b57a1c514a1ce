"""The Conditioning page: measure the start, slice the loss, follow the curvature of a race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures import race as figures
from olora_viz.figures.conditioning import comparison_figure, ntk_figure
from olora_viz.figures.curvature import sharpness_figure, stability_figure
from olora_viz.figures.live.gradio_figure import live_figure, pack
from olora_viz.figures.loss_slice import empty_slice
from olora_viz.figures.theme import LaneStyle
from olora_viz.learn.terms import term
from olora_viz.measures.conditioning import COST_IN_STEPS
from olora_viz.views import html as fragments
from olora_viz.views.conditioning import numbers_before, rates_before, story_before
from olora_viz.views.curvature import curvature_view
from olora_viz.views.race import race_view
from olora_viz.views.race_record import READY
from olora_viz.web.conditioning import fair_rates
from olora_viz.web.conditioning.measurement import Measurement, Slicing, cut, measure
from olora_viz.web.conditioning.view import View, problem_view, some, view
from olora_viz.web.event_options import AT_ONCE, PRIVATE
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.changes import changes
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.card import Card
from olora_viz.web.race.held import held, read
from olora_viz.web.setup import SetUp

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

    Parameters
    ----------
    styles, total : lanes and steps of the race that the page opens with.
    """
    measured, sliced = held("measured"), held("sliced")
    with gr.Column(elem_classes=f"middle {ONLY}", min_width=0):
        with gr.Column(elem_classes="card"):
            with gr.Row(elem_classes="measuring"):
                measure_ = gr.Button(
                    "Measure the start", variant="primary", elem_id="measure-button", scale=0,
                    min_width=0,
                )  # fmt: skip
                stop = gr.Button(
                    "■ Stop", elem_id="measure-stop-button", interactive=False, scale=0,
                    min_width=0,
                )  # fmt: skip
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
                slice_ = gr.Button(
                    "Slice the loss", elem_id="slice-button", interactive=False, scale=0,
                    min_width=0,
                )  # fmt: skip
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
            numbers = gr.HTML(
                numbers_before(), elem_id="conditioning-numbers", apply_default_css=False
            )
        with gr.Column(elem_classes="card"):
            rates = gr.HTML(rates_before(), elem_id="conditioning-rates", apply_default_css=False)
        with gr.Column(elem_classes="card"):
            fair_words = gr.HTML(fair_rates.before(), elem_id="fair-rates", apply_default_css=False)
            fair = gr.Button("Set same and fair rates", elem_id="fair-button")
    curved = gr.Textbox("", visible=False)
    outputs = View(
        measured, sliced, status, comparison, ntk, story, numbers, rates, left, right, left_slice,
        right_slice, measure_, slice_, stop,
    )  # fmt: skip
    return Columns(outputs, layer, every, curved, race_figures, fair, fair_words)


def _during_a_race(
    styles: Sequence[LaneStyle], total: int
) -> tuple[gr.Number, tuple[gr.HTML, ...]]:
    """Make the card of the curvature during a race: how often, and its charts."""
    gr.HTML(
        '<h2>During a race <span class="hint">press Race: the '
        f"{term('Hessian eigenvalue', 'curvature')} is measured on "
        f"the first batch, at the cost of up to about {COST_IN_STEPS} steps</span></h2>",
        apply_default_css=False,
    )
    with gr.Row(elem_classes="measuring"):
        every = gr.Number(
            0, label="Measure the curvature every E updates (0: never)",
            elem_id="curvature-every", min_width=0,
        )  # fmt: skip
    with gr.Row(elem_classes="two charts"):
        sharpness = live_figure(
            sharpness_figure(styles, [], total=total), elem_id="sharpness-figure"
        )
        stability = live_figure(
            stability_figure(styles, [], total=total), elem_id="stability-figure"
        )
    with gr.Row(elem_classes="two charts"):
        loss = live_figure(
            figures.loss_figure(styles, [], total=total), elem_id="conditioning-loss-figure"
        )
        gradient = live_figure(
            figures.gradient_figure(styles, [], total=total),
            elem_id="conditioning-gradient-figure",
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

    Parameters
    ----------
    controls : of the set-up.
    run : the id of the run that the page shows.
    files : the visitors' own files.
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

    async def slice_(
        request: gr.Request, measured: Any, left: Any, right: Any
    ) -> AsyncIterator[View]:
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
            setup, words = fair_rates.proposed(setup, jobs.find(measured, Measurement), limits)
        except ValueError as error:
            return (*(gr.skip() for _ in controls), fair_rates.refused(str(error)))
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
    page.slice.click(
        slice_, [page.measured, page.left, page.right], whole, concurrency_limit=None, **PRIVATE
    )
    its.fair.click(propose, [page.measured, *controls], [*controls, its.fair_words], **AT_ONCE)
    page.stop.click(stop, both, None, **AT_ONCE)
    demo.load(go_on, both, whole, js=read("measured", "sliced"), concurrency_limit=None, **PRIVATE)
    its.curved.change(track, run, list(its.race_figures), trigger_mode="always_last", **AT_ONCE)
