"""The button "Repeat with 5 seeds": the same lanes with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race.card import Desk
from olora_viz.web.setup import SetUp

SEEDS = 5

WORDS = f"Repeat with {SEEDS} seeds"

TITLE = (
    "Every lane is repeated with each seed. A seed sets the random numbers of the start and the "
    "order of the batches; lanes with the same seed see the same batches."
)
HINT = f'<p class="hint">{TITLE}</p>'

_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


class Parts(NamedTuple):
    """The button, the line below it, and the signal that starts the race."""

    button: gr.Button
    note: gr.HTML
    go: gr.Checkbox


def build(desk: Desk) -> None:
    """Make the button and the line below it."""
    desk.parts["repeat"] = Parts(
        gr.Button(WORDS, elem_id="repeat-button", size="sm", scale=0, min_width=0),
        gr.HTML(HINT, elem_id="repeat-note", apply_default_css=False),
        gr.Checkbox(False, visible=False),
    )


def connect(limits: Limits, parts: Parts, controls: Sequence[Any], files: OwnFiles) -> None:
    """Make the button fill in the set-up's controls and press Race."""

    def fill(*values: Any) -> tuple[Any, ...]:
        try:
            setup = repeated(limits, SetUp.from_controls(limits, values, files))
        except ValueError as error:
            return (*(gr.skip() for _ in controls), fragments.problem(str(error)), False)
        return (*setup.to_controls(), HINT, True)

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
    }  # fmt: skip
    parts.button.click(fill, list(controls), [*controls, parts.note, parts.go], **quiet).then(
        None, parts.go, None, js=_PRESS, queue=False, show_progress="hidden"
    )


def repeated(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up with the seeds 0, 1, … for every lane.

    Lanes that differ only in their seed count once.

    Raises
    ------
    ValueError : the result exceeds the maximum number of lanes.

    >>> [lane.seed for lane in repeated(Limits(), SetUp.first(Limits())).lanes[:5]]
    [0, 1, 2, 3, 4]
    """
    lanes = list(dict.fromkeys(replace(lane, seed=0) for lane in setup.lanes))
    count = len(lanes) * SEEDS
    if count > limits.max_lanes:
        raise ValueError(
            f"{len(lanes)} lanes with {SEEDS} seeds each are {count}; a race takes at most "
            f"{limits.max_lanes}: remove some lanes first"
        )
    return replace(
        setup, lanes=tuple(replace(lane, seed=seed) for lane in lanes for seed in range(SEEDS))
    )
