"""The cards of the set-up: controls, lanes, and buttons that fill them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from olora_viz.tasks import TASKS
from olora_viz.views.model_words import model_words
from olora_viz.views.task_sample import task_sample
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.race import own_file, presets
from olora_viz.web.race.card import QUIET, Desk
from olora_viz.web.race.lane_table import lane_table
from olora_viz.web.race.more_settings import more_settings
from olora_viz.web.setup import SetUp

HEADINGS = '<h2 class="else-decide">Set-up</h2><h2 class="decide-only">1 · Your data</h2>'
"""Of the first card, which the page Decide has as well."""


class SetUpCards(NamedTuple):
    """The components of the cards."""

    controls: tuple[Any, ...]
    """The controls of the `SetUp` before the curvature's, which is on the Conditioning page."""
    settings: gr.HTML
    """The control of its more settings, after the curvature's."""
    sample: gr.HTML
    own: gr.HTML
    presets: Sequence[gr.Button]


def build(desk: Desk, first: SetUp) -> SetUpCards:
    """Build the cards with their initial values."""
    limits = desk.limits
    with gr.Column(elem_classes="card", elem_id="setup-card"):
        gr.HTML(HEADINGS, apply_default_css=False)
        model = gr.Dropdown(
            [(model_words(name), name) for name in limits.models],
            value=first.model, label="Model", filterable=False, elem_id="setup-model",
        )  # fmt: skip
        task = gr.Dropdown(
            own_file.CHOICES, value=first.task, label="Task", filterable=False,
            elem_id="setup-task",
        )  # fmt: skip
        sample = gr.HTML(
            task_sample(TASKS[first.task]), elem_id="setup-sample", apply_default_css=False
        )
        own = own_file.bring(limits)
        with gr.Row(elem_classes="three counts"):
            numbers = [
                gr.Number(value, label=words, min_width=0, elem_id=f"setup-{name}")
                for name, words, value in (
                    ("steps", "Steps", first.steps),
                    ("batch", "Prompts per step", first.batch),
                    ("seed", "Seed", first.seed),
                )
            ]
        settings = more_settings(first.settings)
    with gr.Column(elem_classes="card", elem_id="lanes-card"):
        gr.HTML("<h2>Lanes</h2>", apply_default_css=False)
        lanes = lane_table(limits, first.lanes, elem_id="lanes")
        gr.HTML(
            '<p class="hint">A row is raced from each of its seeds. Lanes with the same seed see '
            "the same batches.</p>",
            apply_default_css=False,
        )
    return SetUpCards((model, task, *numbers, lanes), settings, sample, own, presets.build(limits))


def connect(desk: Desk, cards: SetUpCards, controls: Sequence[Any], files: VisitorFiles) -> None:
    """Connect the cards to all controls of the set-up."""
    model, task = cards.controls[:2]
    own_file.connect(cards.own, task, files)
    presets.connect(desk.limits, cards.presets, controls)

    def sampled(request: gr.Request, *asked: Any) -> Markup:
        return own_file.sample(desk.limits, files, request.session_hash, *asked)

    shown = [model, task, cards.settings]
    gr.on([each.change for each in shown], sampled, shown, cards.sample, **QUIET)
