"""The Race page: choose, press Race, watch, understand, take the adapters with you."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import gradio as gr

from olora_viz import theme
from olora_viz.live.gradio_figure import live_figure
from olora_viz.models import MODELS, ModelCard
from olora_viz.race_config import RaceConfig
from olora_viz.story import standings
from olora_viz.tasks import TASKS
from olora_viz.web import (
    conditioning,
    fragments,
    race_gradients,
    race_rates,
    race_spectra,
    share_link,
)
from olora_viz.web.jobs import Job, Jobs
from olora_viz.web.lane_table import DEFAULT_LANES, lane_table
from olora_viz.web.limits import Limits, checked_config
from olora_viz.web.race_view import View, blank_view, empty_figures, problem_view, view
from olora_viz.web.take import adapter_list

PACE = 0.22
"""Seconds between two updates of a page: about four a second."""

SHARE = 0.1
"""The most of the time that preparing updates may take from the training."""


class Controls(NamedTuple):
    """What the top bar holds for this page."""

    status: gr.HTML
    race: gr.Button
    stop: gr.Button
    share: gr.HTML


def controls(limits: Limits) -> Controls:
    """Make the run's controls, inside the top bar."""
    return Controls(
        status=gr.HTML(fragments.status("ready"), elem_id="status", apply_default_css=False),
        race=gr.Button("▶ Race", elem_id="race-button", variant="primary", scale=0, min_width=0),
        stop=gr.Button(
            "■ Stop", elem_id="stop-button", interactive=False, scale=0, min_width=0,
        ),
        share=share_link.button(RaceConfig(model=limits.models[0], lanes=DEFAULT_LANES)),
    )  # fmt: skip


def build(demo: gr.Blocks, bar: Controls, jobs: Jobs, limits: Limits) -> None:
    """Lay the page out in `demo` and connect it to the races in `jobs`."""
    job_id = gr.BrowserState(None)
    note = share_link.note()
    with gr.Row(elem_classes="page", elem_id="race-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            with gr.Column(elem_classes="card"):
                gr.HTML("<h2>Set-up</h2>", apply_default_css=False)
                model = gr.Dropdown(
                    [(_model_words(MODELS[name]), name) for name in limits.models],
                    value=limits.models[0], label="Model", filterable=False,
                    elem_id="setup-model",
                )  # fmt: skip
                task = gr.Dropdown(
                    [(name.replace("-", " "), name) for name in TASKS],
                    value="number-words", label="Task", filterable=False,
                    elem_id="setup-task",
                )  # fmt: skip
                sample = gr.HTML(
                    fragments.sample(TASKS["number-words"]), elem_id="setup-sample",
                    apply_default_css=False,
                )  # fmt: skip
                with gr.Row(elem_classes="three counts"):
                    steps, batch, seed = (
                        gr.Number(
                            value, label=words, precision=0, min_width=0, elem_id=f"setup-{name}"
                        )
                        for name, words, value in (
                            ("steps", "Steps", RaceConfig.steps),
                            ("batch", "Prompts a step", 16),
                            ("seed", "Seed", RaceConfig.seed),
                        )
                    )
            with gr.Column(elem_classes="card"):
                gr.HTML("<h2>Lanes</h2>", apply_default_css=False)
                lanes = lane_table(limits, elem_id="lanes")
                gr.HTML(
                    '<p class="hint">Every lane starts from the same function and sees the same '
                    "batches.</p>",
                    apply_default_css=False,
                )
        with gr.Column(elem_classes="middle race-only", min_width=0):
            looks = theme.looks(DEFAULT_LANES)
            blank = empty_figures(looks, total=RaceConfig.steps)
            with gr.Column(elem_classes="card"):
                loss = live_figure(blank.loss, elem_id="loss-figure")
            with gr.Row(elem_classes="two charts"):
                with gr.Column(elem_classes="card", min_width=0):
                    gradient = live_figure(blank.gradient, elem_id="gradient-figure")
                with gr.Column(elem_classes="card", min_width=0):
                    accuracy = live_figure(blank.accuracy, elem_id="accuracy-figure")
            rates = race_rates.build(jobs, job_id)
        with gr.Column(elem_classes="side right race-only", scale=0, min_width=0):
            with gr.Column(elem_classes="card"):
                story = gr.HTML(fragments.story_before(), elem_id="story", apply_default_css=False)
            with gr.Column(elem_classes="card"):
                results = gr.HTML(
                    fragments.results(looks, standings([], len(looks))), elem_id="results",
                    apply_default_css=False,
                )  # fmt: skip
            with gr.Column(elem_classes="card"):
                take = adapter_list(jobs, elem_id="adapters")
        with gr.Column(elem_classes="after race-only", min_width=0):
            with gr.Column(elem_classes="card"):
                answers = gr.HTML(
                    fragments.answers_before(), elem_id="answers", apply_default_css=False
                )
            traces = race_spectra.build(jobs, job_id)
            gradients = race_gradients.build(jobs, job_id)
        its = conditioning.columns(looks, RaceConfig.steps)

    outputs = [
        job_id, bar.status, loss, gradient, accuracy, story, results, answers, take,
        bar.race, bar.stop, traces, gradients, its.curved, rates,
    ]  # fmt: skip
    shared = [model, task, steps, batch, seed, lanes]
    setup = [*shared, its.every]

    async def start(
        model: Any,
        task: Any,
        steps: Any,
        batch: Any,
        seed: Any,
        lanes: Any,
        curvature_every: Any,
    ) -> AsyncIterator[tuple[Any, ...]]:
        try:
            config = checked_config(
                limits, model=model, task=task, steps=steps, batch=batch, lanes=lanes,
                curvature_every=curvature_every, seed=seed,
            )  # fmt: skip
            job = jobs.start(config)
        except ValueError as error:
            yield problem_view(str(error))
            return
        async for update in follow(job):
            yield update

    async def go_on(name: Any, address: Any) -> AsyncIterator[tuple[Any, ...]]:
        """Show what the address asks for, else the race of this browser once more.

        A set-up in a link wins over the race; a reload of this page's own address keeps both.
        """
        link, own, words = share_link.asked(limits, address)
        job = jobs.get(name)
        new = link.config is not None and not own
        if new and (job is None or job.config != link.config or (link.start and job.complete)):
            job = None
        if link.config and link.start and job is None:
            try:
                job = jobs.start(link.config)
            except ValueError as error:
                words = fragments.problem(str(error))
        kept: tuple[Any, ...] = tuple(gr.skip() for _ in setup)
        if job is None:
            shown = blank_view(link.config) if link.config else tuple(gr.skip() for _ in outputs)
            yield (*shown, *(share_link.chosen(link.config) if link.config else kept), words)
            return
        chosen = share_link.chosen(link.config or job.config)
        async for update in follow(job):
            yield (*update, *chosen, words)
            chosen = kept  # what is edited now stays as it is

    async def follow(job: Job) -> AsyncIterator[View]:
        shown: Any = None
        while True:
            began = time.perf_counter()
            complete, before = job.complete, jobs.before(job)
            now = (len(job.steps), job.state, job.note, complete, before)
            if now != shown:
                shown = now
                yield await asyncio.to_thread(view, job, before, last=complete)
            if complete:
                return
            spent = time.perf_counter() - began
            await asyncio.sleep(max(PACE if job.steps else 0.05, spent / SHARE))

    def stop(name: Any) -> None:
        job = jobs.get(name)
        if job is not None:
            jobs.stop(job)

    conditioning.connect(its, demo, jobs, limits, shared, job_id)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    bar.race.click(start, setup, outputs, concurrency_limit=None, **quiet)
    bar.stop.click(stop, job_id, None, queue=False, **quiet)
    share_link.follow(limits, setup, bar.share)
    address = gr.JSON(visible=False)
    demo.load(
        go_on, [job_id, address], [*outputs, *setup, note], js=share_link.READ,
        concurrency_limit=None, **quiet,
    )  # fmt: skip
    task.change(
        lambda name: fragments.sample(TASKS[name]) if name in list(TASKS) else "",
        task, sample, queue=False, **quiet,
    )  # fmt: skip


def _model_words(card: ModelCard) -> str:
    millions = card.parameters / 1e6
    size = f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    return f"{card.name} · {size}{'' if card.offline else ' · from the hub'}"
