"""Buttons that fill in the set-up: the presets, and the next steps after a race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.learn.presets import PRESETS, Preset
from olora_viz.views.html import problem
from olora_viz.views.results import NEXT_STEPS, NextStep
from olora_viz.web.guard.config import OwnFiles, is_token
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import UNQUEUED, Desk, element, small_button
from olora_viz.web.parts.setup import PLAIN_SETTINGS, SetUp, SetUpControls, setup_of


def offered(limits: Limits) -> tuple[Preset, ...]:
    """Return the presets that this server's limits allow.

    A base of one objective cannot be replaced: such a preset needs its own model, any other takes the server's first.

    >>> [len(preset.lanes) for preset in offered(Limits())]
    [9, 3, 45, 36, 15, 9, 4, 21]
    >>> len(offered(Limits(max_lanes=4)))
    2
    """
    return tuple(
        preset
        for preset in PRESETS
        if len(preset.lanes) <= limits.max_lanes
        and preset.steps <= limits.max_steps
        and preset.batch <= limits.max_batch
        and max(lane.r for lane in preset.lanes) <= limits.max_rank
        and (preset.objective == Preset.objective or preset.model in limits.models)
    )


def filled(limits: Limits, preset: Preset, task: Any) -> SetUpControls:
    """Return the values of the set-up's controls: the seed, the curvature and a visitor's own file stay.

    The fold "More settings" gets its defaults, and the preset's objective.
    """
    model = preset.model if preset.model in limits.models else limits.models[0]
    settings = replace(PLAIN_SETTINGS, objective=preset.objective)
    setup = SetUp(model, preset.task, preset.steps, preset.batch, 0, tuple(preset.lanes), settings=settings)
    own = ["task"] if is_token(task) else []
    return setup.to_controls(keep=("seed", "curvature", *own))


def build(limits: Limits) -> list[gr.Button]:
    """Make the card; return its buttons, in the order of `offered`."""
    with gr.Column(elem_classes="card", elem_id="presets"):
        element("<h2>Presets</h2>")
        with gr.Row(elem_classes="preset-list"):
            buttons = [
                small_button(preset.title, f"preset-{k}", size="sm", elem_classes=f"preset-{preset.name}")
                for k, preset in enumerate(offered(limits))
            ]
        words = "".join(
            f'<li class="preset-{preset.name}"><b>{preset.title}</b> {preset.what}</li>' for preset in offered(limits)
        )
        element(
            f'<details class="hint"><summary>what the presets show</summary><ul>{words}</ul></details>',
            titles={f"preset-{k}": preset.what for k, preset in enumerate(offered(limits))},
            script="parts/titles.js",
        )
    return buttons


def connect(limits: Limits, buttons: Sequence[gr.Button], controls: SetUpControls) -> None:
    """Make every button fill in the set-up's controls."""
    for button, preset in zip(buttons, offered(limits), strict=True):
        button.click(partial(filled, limits, preset), controls.task, list(controls), **UNQUEUED)


class NextSteps(NamedTuple):
    """The buttons, the line for what is wrong, and the signal that starts the race."""

    buttons: Sequence[gr.Button]
    note: gr.HTML
    go: gr.Checkbox


def build_next_steps(desk: Desk) -> None:
    """Make the buttons and the line below them."""
    titles = {f"{step.name}-button": step.title for step in NEXT_STEPS}
    desk.parts["next"] = NextSteps(
        [small_button(step.label, f"{step.name}-button", size="sm") for step in NEXT_STEPS],
        element("", elem_id="next-note", titles=titles, script="parts/titles.js"),
        gr.Checkbox(False, visible=False),
    )


def connect_next_steps(desk: Desk, controls: SetUpControls, files: OwnFiles) -> None:
    """Make every button fill in the set-up of the race that is shown, with other lanes or steps, and press Race."""
    limits, parts = desk.limits, desk.parts["next"]

    def fill(step: NextStep, run: Any, *values: Any) -> dict[Any, Any]:
        try:
            shown = desk.jobs.opened(run)
            setup = (setup_of(limits, shown) if shown else None) or SetUp.from_controls(limits, values, files)
            lanes = tuple(step.change(setup.lanes, limits.max_lanes))
            setup = replace(setup, lanes=lanes, steps=setup.steps * step.longer)
        except ValueError as error:
            return {parts.note: problem(str(error)), parts.go: False}
        return dict(zip(controls, setup.to_controls(), strict=True)) | {parts.note: "", parts.go: True}

    for step, button in zip(NEXT_STEPS, parts.buttons, strict=True):
        filled_in = button.click(
            partial(fill, step), [desk.run, *controls], [*controls, parts.note, parts.go], **UNQUEUED
        )
        press = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"
        filled_in.then(None, parts.go, None, js=press, queue=False, show_progress="hidden")
