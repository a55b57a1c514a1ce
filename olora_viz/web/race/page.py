"""The Race page: choose, press Race, watch, understand, take the adapters with you."""

from __future__ import annotations

from typing import NamedTuple

import gradio as gr

from olora_viz.figures import theme
from olora_viz.figures.live.gradio_figure import live_figure
from olora_viz.models import MODELS, ModelCard
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.views.race import race_view
from olora_viz.views.race_record import ReadyRace
from olora_viz.web.conditioning import page as conditioning
from olora_viz.web.export.take import adapter_list
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.links import share_link
from olora_viz.web.race import events as race_events
from olora_viz.web.race import gradients as race_gradients
from olora_viz.web.race import own_file, presets
from olora_viz.web.race import rates as race_rates
from olora_viz.web.race import repeat as repetition
from olora_viz.web.race import spectra as race_spectra
from olora_viz.web.race.events import Stage
from olora_viz.web.race.heartbeat import heartbeat
from olora_viz.web.race.lane_table import DEFAULT_LANES, lane_table
from olora_viz.web.race.screens import Screens
from olora_viz.web.race.scrubber import scrubber
from olora_viz.web.race.shelf import comparison_card, shelf
from olora_viz.web.race.status import NAME_BUTTONS, Buttons, make_buttons
from olora_viz.web.race.view import View


class Controls(NamedTuple):
    """What the top bar holds for this page."""

    status: gr.HTML
    buttons: Buttons
    share: gr.HTML


def controls(limits: Limits) -> Controls:
    """Make the run's controls, inside the top bar."""
    return Controls(
        status=gr.HTML(
            fragments.status("ready"),
            elem_id="status",
            apply_default_css=False,
            js_on_load=NAME_BUTTONS,
        ),
        buttons=make_buttons(),
        share=share_link.button(RaceConfig(model=limits.models[0], lanes=DEFAULT_LANES)),
    )


def build(demo: gr.Blocks, bar: Controls, jobs: Jobs, limits: Limits) -> Stage:
    """Lay the page out in `demo`, connect it to `jobs`, and return where others show a race."""
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
                own = own_file.bring(limits.max_upload_kib)
                with gr.Row(elem_classes="three counts"):
                    steps, batch, seed = (
                        gr.Number(
                            value, label=words, precision=0, min_width=0, elem_id=f"setup-{name}"
                        )
                        for name, words, value in (
                            ("steps", "Steps", RaceConfig.steps),
                            ("batch", "Prompts per step", 16),
                            ("seed", "Seed", RaceConfig.seed),
                        )
                    )
            with gr.Column(elem_classes="card"):
                gr.HTML("<h2>Lanes</h2>", apply_default_css=False)
                lanes = lane_table(limits, elem_id="lanes")
                gr.HTML(
                    '<p class="hint">All lanes start as the same function; lanes with the same '
                    "seed see the same batches.</p>",
                    apply_default_css=False,
                )
            presets.build(limits, [model, task, steps, batch, lanes])
        with gr.Column(elem_classes="middle race-only", min_width=0):
            blank = race_view(ReadyRace(RaceConfig(lanes=DEFAULT_LANES)))
            with gr.Column(elem_classes="card"):
                loss = live_figure(blank.loss, elem_id="loss-figure")
            with gr.Row(elem_classes="two charts"):
                with gr.Column(elem_classes="card", min_width=0):
                    gradient = live_figure(blank.gradient, elem_id="gradient-figure")
                with gr.Column(elem_classes="card", min_width=0):
                    accuracy = live_figure(blank.accuracy, elem_id="accuracy-figure")
            with gr.Column(elem_classes="card slim"):
                scrub = scrubber()
                beat = heartbeat()
            compared = comparison_card()
            rates = race_rates.build(jobs, job_id)
        with gr.Column(elem_classes="side right race-only", scale=0, min_width=0):
            with gr.Column(elem_classes="card"):
                story = gr.HTML(blank.story, elem_id="story", apply_default_css=False)
                repetition.build(limits, lanes)
            with gr.Column(elem_classes="card"):
                results = gr.HTML(
                    blank.results, elem_id="results", apply_default_css=False
                )  # fmt: skip
            with gr.Column(elem_classes="card"):
                take = adapter_list(jobs, elem_id="take")
            with gr.Column(elem_classes="card", elem_id="visit"):
                visit, shelved = shelf()
        with gr.Column(elem_classes="after race-only", min_width=0):
            with gr.Column(elem_classes="card"):
                answers = gr.HTML(blank.answers, elem_id="answers", apply_default_css=False)
            spectra = race_spectra.build(jobs, job_id)
            gradients = race_gradients.build(jobs, job_id)
        its = conditioning.columns(theme.lane_styles(DEFAULT_LANES), RaceConfig.steps)

    shared = [model, task, steps, batch, seed, lanes]
    files = VisitorFiles(limits)
    own_file.connect(own, task, files)
    conditioning.connect(its, demo, jobs, limits, shared, job_id, files)
    outputs = View(
        job_id, bar.status, loss, gradient, accuracy, story, results, answers, take, scrub, beat,
        *bar.buttons, spectra, gradients, its.curved, rates,
    )  # fmt: skip
    stage = race_events.connect(
        demo, jobs, Screens(), limits, controls=bar.buttons, setup=[*shared, its.every],
        page=outputs, note=note, link=bar.share, files=files,
        runs=race_events.Runs(visit, shelved, *compared),
    )  # fmt: skip
    task.change(
        lambda name: fragments.sample(TASKS[name]) if name in list(TASKS) else "",
        task, sample, queue=False, show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    return stage


def _model_words(card: ModelCard) -> str:
    millions = card.parameters / 1e6
    size = f"{millions:.2f}M" if millions < 10 else f"{millions:.0f}M"
    return f"{card.name} · {size}{'' if card.offline else ' · from the hub'}"
