"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.views import verdict as next_steps
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import AT_ONCE, Desk, element
from olora_viz.web.parts.setup import SetUp

_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


def repeated(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up with the seeds 0, 1, … for every lane, see `next_steps.repeated`.

    >>> [lane.seed for lane in repeated(Limits(), SetUp.first(Limits())).lanes[:5]]
    [0, 1, 2, 3, 4]
    """
    return replace(setup, lanes=next_steps.repeated(setup.lanes, limits.max_lanes))


def higher(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up with higher rates, see `next_steps.higher`.

    >>> made = higher(Limits(), SetUp.first(Limits()))
    >>> sorted({lane.lr for lane in made.lanes if lane.init == "olora"})
    [0.001, 0.003, 0.01]
    """
    return replace(setup, lanes=next_steps.higher(setup.lanes, limits.max_lanes))


class Step(NamedTuple):
    """A next step: a button that changes the set-up and presses Race."""

    name: str
    label: str
    title: str
    change: Callable[[Limits, SetUp], SetUp]


_CHANGES = {"seeds": repeated, "rates": higher}

STEPS = tuple(Step(step.name, step.label, step.title, _CHANGES[step.name]) for step in next_steps.STEPS)


class Parts(NamedTuple):
    """The buttons, the line for what is wrong, and the signal that starts the race."""

    buttons: tuple[gr.Button, ...]
    note: gr.HTML
    go: gr.Checkbox


def build(desk: Desk) -> None:
    """Make the buttons and the line below them."""
    titles = {f"{step.name}-button": step.title for step in STEPS}
    parts = Parts(
        tuple(gr.Button(step.label, elem_id=f"{step.name}-button", size="sm", scale=0, min_width=0) for step in STEPS),
        element("", elem_id="next-note", titles=titles, script="parts/titles.js"),
        gr.Checkbox(False, visible=False),
    )
    desk.parts["next"] = parts


def connect(limits: Limits, parts: Parts, controls: Sequence[Any], files: OwnFiles) -> None:
    """Make every button fill in the set-up's controls and press Race."""
    for step, button in zip(STEPS, parts.buttons, strict=True):

        def fill(*values: Any, change: Callable[[Limits, SetUp], SetUp] = step.change) -> tuple[Any, ...]:
            try:
                setup = change(limits, SetUp.from_controls(limits, values, files))
            except ValueError as error:
                return (*(gr.skip() for _ in controls), fragments.problem(str(error)), False)
            return (*setup.to_controls(), "", True)

        button.click(fill, list(controls), [*controls, parts.note, parts.go], **AT_ONCE).then(
            None, parts.go, None, js=_PRESS, queue=False, show_progress="hidden"
        )
