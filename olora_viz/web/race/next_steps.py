"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views.html import problem
from olora_viz.views.results import STEPS, NextStep
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import AT_ONCE, Desk, element, small_button
from olora_viz.web.parts.setup import SetUp

_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


class NextSteps(NamedTuple):
    """The buttons, the line for what is wrong, and the signal that starts the race."""

    buttons: Sequence[gr.Button]
    note: gr.HTML
    go: gr.Checkbox


def build(desk: Desk) -> None:
    """Make the buttons and the line below them."""
    titles = {f"{step.name}-button": step.title for step in STEPS}
    desk.parts["next"] = NextSteps(
        [small_button(step.label, f"{step.name}-button", size="sm") for step in STEPS],
        element("", elem_id="next-note", titles=titles, script="parts/titles.js"),
        gr.Checkbox(False, visible=False),
    )


def connect(limits: Limits, parts: NextSteps, controls: Sequence[Any], files: OwnFiles) -> None:
    """Make every button fill in the set-up's controls and press Race."""

    def fill(step: NextStep, *values: Any) -> tuple[Any, ...]:
        try:
            setup = SetUp.from_controls(limits, values, files)
            setup = replace(setup, lanes=step.change(setup.lanes, limits.max_lanes))
        except ValueError as error:
            return (*(gr.skip() for _ in controls), problem(str(error)), False)
        return (*setup.to_controls(), "", True)

    for step, button in zip(STEPS, parts.buttons, strict=True):
        button.click(partial(fill, step), list(controls), [*controls, parts.note, parts.go], **AT_ONCE).then(
            None, parts.go, None, js=_PRESS, queue=False, show_progress="hidden"
        )
