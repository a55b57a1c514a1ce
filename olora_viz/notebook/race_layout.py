"""The parts of a race panel and what they show, in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from olora_viz.figures.layout import Figure
from olora_viz.notebook import setup
from olora_viz.notebook.tree import Node, box, button, card, charts, html
from olora_viz.views.next_steps import STEPS, NextStep
from olora_viz.views.race import RaceView

RACE, CONTINUE = "▶ Race", "▶ Continue"
"""The first button, of a panel at rest and of a paused one."""

FAIR = (
    "Is it the start, or only the rate? Every start twice: at the rate of the first LoRA lane, and "
    "at its fair rate, which the race finds from the curvature."
)


def tree_of(sections: Sequence[Node]) -> Node:
    """Return the bar, the verdict, the set-up on the left, and the race next to it."""
    bar = box(
        button("race", RACE, kind="primary"),
        button("pause", "❚❚ Pause", "pause after the current step"),
        button("step", "Step", "run one step, then pause"),
        button("stop", "■ Stop", "end the race; its lanes stay available"),
        html("status", kind="grow"), kind="bar",
    )  # fmt: skip
    middle = box(
        card(charts("accuracy")),
        box(card(charts("loss")), card(charts("gradient")), kind="two"),
        box(card(html("results")), card(html("story")), kind="two"),
        card(html("answers")),
        box(*sections, kind="sections"),
        kind="middle",
    )
    steps = [button(next_button(step), step.label, step.title, "quiet") for step in STEPS]
    fair = button("fair", "Same and fair rates", FAIR, "quiet")
    return box(bar, card(html("verdict", "grow"), *steps, kind="verdict-card"),
               box(setup.controls(fair), middle, kind="body"))  # fmt: skip


def next_button(step: NextStep) -> str:
    """Return the name of the button of a next step."""
    return f"next.{step.name}"


def figures(view: RaceView) -> dict[str, Figure]:
    """Return the charts that are always shown, accuracy first."""
    return {"accuracy": view.accuracy, "loss": view.loss, "gradient": view.gradient}


def values(view: RaceView) -> dict[str, Any]:
    """Return what the texts and buttons show."""
    can = view.commands
    return {
        **{name: [name] for name in figures(view)},
        "verdict": view.verdict, "results": view.results, "story": view.story,
        "answers": view.answers, "fair": {},
        "race": {
            "label": CONTINUE if "resume" in can else RACE,
            "disabled": not can & {"start", "resume"},
        },
        **{word: {"disabled": word not in can} for word in ("pause", "step", "stop")},
        **{next_button(step): {"hidden": step.name != view.next_step} for step in STEPS},
    }  # fmt: skip
