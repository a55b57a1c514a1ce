"""The next steps after a race: the same lanes with more seeds, or with higher learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.lanes.lane import Lane
from olora_viz.views import html as fragments
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race.card import Desk
from olora_viz.web.race.titles import TITLES
from olora_viz.web.setup import SetUp

SEEDS = 5

HIGHEST = 1e3
"""From this learning rate on, no higher one is suggested."""

_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


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
    _check(limits, count, f"{len(lanes)} lanes with {SEEDS} seeds each are {count}")
    return replace(
        setup, lanes=tuple(replace(lane, seed=seed) for lane in lanes for seed in range(SEEDS))
    )


def higher(limits: Limits, setup: SetUp) -> SetUp:
    """Return a set-up in which every start also races at half a decade above its highest rate.

    Raises
    ------
    ValueError : the result exceeds the maximum number of lanes, or a rate is `HIGHEST` already.

    >>> made = higher(Limits(), SetUp.first(Limits()))
    >>> sorted({lane.lr for lane in made.lanes if lane.init == "olora"})
    [0.001, 0.003, 0.01]
    """
    new: list[Lane] = []
    groups: dict[Lane, list[Lane]] = {}
    for lane in setup.lanes:
        groups.setdefault(replace(lane, lr=1.0, seed=0), []).append(lane)
    for group in groups.values():
        new += group
        top = max(lane.lr for lane in group)
        if top >= HIGHEST:
            raise ValueError(f"a learning rate of {top:g} is high enough: try lower ones")
        if not group[0].fair:
            new += [replace(lane, lr=_half_a_decade_above(top)) for lane in group if lane.lr == top]
    _check(limits, len(new), f"with higher rates the race has {len(new)} lanes")
    return replace(setup, lanes=tuple(new))


def _half_a_decade_above(rate: float) -> float:
    """Return the next of …, 1e-3, 3e-3, 1e-2, ….

    >>> _half_a_decade_above(1e-3), _half_a_decade_above(3e-3), _half_a_decade_above(4e-3)
    (0.003, 0.01, 0.01)
    """
    place = round(2 * math.log10(rate)) + 1
    return float(f"{10 ** (place / 2):.0e}")


def _check(limits: Limits, count: int, words: str) -> None:
    if count > limits.max_lanes:
        raise ValueError(
            f"{words}; a race takes at most {limits.max_lanes}: remove some lanes first"
        )


class Step(NamedTuple):
    """A next step: a button that changes the set-up and presses Race."""

    name: str
    """See `olora_viz.studies.verdict_line.VerdictLine.next_step`."""
    label: str
    title: str
    change: Callable[[Limits, SetUp], SetUp]


STEPS = (
    Step(
        "seeds",
        f"Repeat with {SEEDS} seeds",
        "Every lane is repeated with each seed. A seed sets the random numbers of the start and "
        "the order of the batches; lanes with the same seed see the same batches.",
        repeated,
    ),
    Step(
        "rates",
        "Try higher rates",
        "Every start also races at half a decade above its highest learning rate.",
        higher,
    ),
)


class Parts(NamedTuple):
    """The buttons, the line for what is wrong, and the signal that starts the race."""

    buttons: tuple[gr.Button, ...]
    note: gr.HTML
    go: gr.Checkbox


def build(desk: Desk) -> None:
    """Make the buttons and the line below them."""
    titles = {f"{step.name}-button": step.title for step in STEPS}
    parts = Parts(
        tuple(
            gr.Button(
                step.label, elem_id=f"{step.name}-button", size="sm", scale=0,
                min_width=0,
            )
            for step in STEPS
        ),
        gr.HTML(
            "", elem_id="next-note", apply_default_css=False, titles=titles, js_on_load=TITLES
        ),
        gr.Checkbox(False, visible=False),
    )  # fmt: skip
    desk.parts["next"] = parts


def connect(limits: Limits, parts: Parts, controls: Sequence[Any], files: OwnFiles) -> None:
    """Make every button fill in the set-up's controls and press Race."""
    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
    }  # fmt: skip
    for step, button in zip(STEPS, parts.buttons, strict=True):

        def fill(
            *values: Any, change: Callable[[Limits, SetUp], SetUp] = step.change
        ) -> tuple[Any, ...]:
            try:
                setup = change(limits, SetUp.from_controls(limits, values, files))
            except ValueError as error:
                return (*(gr.skip() for _ in controls), fragments.problem(str(error)), False)
            return (*setup.to_controls(), "", True)

        button.click(fill, list(controls), [*controls, parts.note, parts.go], **quiet).then(
            None, parts.go, None, js=_PRESS, queue=False, show_progress="hidden"
        )
