"""Buttons that fill in the set-up: the presets, and the next steps after a race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.recipes import RECIPES
from olora_viz.views.html import problem
from olora_viz.views.results import NEXT_STEPS, NextStep
from olora_viz.web.guard.config import OwnFiles, is_token
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import UNQUEUED, Desk, element, small_button
from olora_viz.web.parts.setup import SetUp, SetUpControls, setup_of

MODEL = "glassllm"
"""The presets' model; a server that does not offer it uses its first one."""


@dataclass(frozen=True)
class Preset:
    """One set-up."""

    name: str
    """Its name in ``hide=``, after ``preset-``."""
    title: str
    what: str
    specs: tuple[str, ...]
    """Lanes, in the syntax of the command line."""
    steps: int = 60
    batch: int = 16
    task: str = "sentiment"

    @property
    def lanes(self) -> list[Lane]:
        """Its lanes."""
        return [lane for spec in self.specs for lane in parse_lanes(spec)]


PRESETS = (
    Preset(
        "one-rate", "one rate for all",
        "LoRA, OLoRA and PiSSA at the rate 1e-3, from three seeds: which start learns faster?",
        tuple(f"{init}:lr=1e-3,seed=0-2" for init in ("lora", "olora", "pissa")),
    ),
    Preset(
        "number-words", "harder: number words",
        "Adding numbers written as words, long enough to be learned. Each start has its rate with the lowest mean "
        "loss in the recorded sweep of 100 steps (64 held-out examples; 3 seeds).",
        ("lora:lr=1e-2", "olora:lr=3e-3", "pissa:lr=3e-3"), steps=500, task="number-words",
    ),
    Preset(
        "sweep", "a sweep: 3 starts × 5 rates × 3 seeds",
        "45 lanes: held-out loss against the rate, one curve per start, its seeds as a band.",
        tuple(f"{init}:lr=3e-4/1e-3/3e-3/1e-2/3e-2,seed=0-2" for init in ("lora", "olora", "pissa")),
        steps=50, batch=8, task="number-words",
    ),
    Preset(
        "ranks", "ranks 2 to 64",
        "LoRA and OLoRA at one rate, rank after rank, from three seeds; the scaling stays 1.",
        tuple(f"{init}:lr=1e-3,r=2/4/8/16/32/64,seed=0-2" for init in ("lora", "olora")),
    ),
    Preset(
        "qr", "what the QR adds",
        "OLoRA and its controls, from three seeds: pivoted columns, a basis of W times a random matrix, a random "
        "basis, and plain LoRA.",
        tuple(
            f"{init}:lr=1e-3,seed=0-2" for init in ("olora", "olora_pivoted", "sketch", "random_orthonormal", "lora")
        ),
    ),
    Preset(
        "paper", "like the paper, in small",
        "LoRA and OLoRA at one rate and at ranks 32 and 64, on one small model and one short task instead of the "
        "paper's large ones.",
        ("lora:lr=3e-4,r=32/64", "olora:lr=3e-4,r=32/64"), steps=100, task="number-words",
    ),
    Preset(
        "toolkits", "six toolkits' defaults",
        "Rank, alpha, rate, schedule, dropout, targets, weight decay and clipping as Unsloth, Axolotl, LLaMA-Factory, "
        "TRL, torchtune and PEFT ship them, beside OLoRA at 3e-3, from three seeds; "
        "batch size, steps and warm-up are the race's. Take a file of yours for the task.",
        (*(f"recipe:{name},seed=0-2" for name in RECIPES), "olora:lr=3e-3,seed=0-2"),
    ),
)  # fmt: skip


def offered(limits: Limits) -> tuple[Preset, ...]:
    """Return the presets that this server's limits allow.

    >>> [len(preset.lanes) for preset in offered(Limits())]
    [9, 3, 45, 36, 15, 4, 21]
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
    )


def filled(limits: Limits, preset: Preset, task: Any) -> SetUpControls:
    """Return the values of the set-up's controls: the seed, the curvature and a visitor's own file stay.

    The fold "More settings" gets its defaults.
    """
    model = MODEL if MODEL in limits.models else limits.models[0]
    setup = SetUp(model, preset.task, preset.steps, preset.batch, 0, tuple(preset.lanes))
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
