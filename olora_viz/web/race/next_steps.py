"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views import verdict
from olora_viz.views.html import problem
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import AT_ONCE, Desk, element, small_button
from olora_viz.web.parts.setup import SetUp

_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


def repeated(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up with the seeds 0, 1, … for every lane, see `verdict.repeated`.

    >>> [lane.seed for lane in repeated(Limits(), SetUp.first(Limits())).lanes[:5]]
    [0, 1, 2, 3, 4]
    """
    return replace(setup, lanes=verdict.repeated(setup.lanes, limits.max_lanes))


def higher(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up with higher rates, see `verdict.higher`.

    >>> setup = higher(Limits(), SetUp.first(Limits()))
    >>> sorted({lane.lr for lane in setup.lanes if lane.init == "olora"})
    [0.001, 0.003, 0.01]
    """
    return replace(setup, lanes=verdict.higher(setup.lanes, limits.max_lanes))


CHANGES: dict[str, Callable[[Limits, SetUp], SetUp]] = {"seeds": repeated, "rates": higher}
"""What the next steps change, by their names."""


class NextSteps(NamedTuple):
    """The buttons, the line for what is wrong, and the signal that starts the race."""

    buttons: dict[str, gr.Button]
    """By the names of the steps."""
    note: gr.HTML
    go: gr.Checkbox


def build(desk: Desk) -> None:
    """Make the buttons and the line below them."""
    titles = {f"{step.name}-button": step.title for step in verdict.STEPS}
    desk.parts["next"] = NextSteps(
        {step.name: small_button(step.label, f"{step.name}-button", size="sm") for step in verdict.STEPS},
        element("", elem_id="next-note", titles=titles, script="parts/titles.js"),
        gr.Checkbox(False, visible=False),
    )


def connect(limits: Limits, parts: NextSteps, controls: Sequence[Any], files: OwnFiles) -> None:
    """Make every button fill in the set-up's controls and press Race."""

    def fill(name: str, *values: Any) -> tuple[Any, ...]:
        try:
            setup = CHANGES[name](limits, SetUp.from_controls(limits, values, files))
        except ValueError as error:
            return (*(gr.skip() for _ in controls), problem(str(error)), False)
        return (*setup.to_controls(), "", True)

    for name, button in parts.buttons.items():
        button.click(partial(fill, name), list(controls), [*controls, parts.note, parts.go], **AT_ONCE).then(
            None, parts.go, None, js=_PRESS, queue=False, show_progress="hidden"
        )
