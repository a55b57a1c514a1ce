"""The top bar of a race: where it is, in words, and which buttons can be pressed."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.views.shown import Shown
from olora_viz.web.jobs.work import ENDED

WINDOW = 20
"""Steps over which the speed is measured."""

RACE, GO_ON = "▶ Race", "▶ Go on"


class Buttons(NamedTuple):
    """The run's controls, or what they become."""

    race: Any
    pause: Any
    step: Any
    stop: Any
    reset: Any


def make_buttons() -> Buttons:
    """Make the controls of a page that shows no race of its own yet."""
    small: dict[str, Any] = {"scale": 0, "min_width": 0}
    return Buttons(
        race=gr.Button(RACE, elem_id="race-button", variant="primary", **small),
        pause=gr.Button("❚❚", elem_id="pause-button", interactive=False, **small),
        step=gr.Button("▶❚", elem_id="step-button", **small),
        stop=gr.Button("■", elem_id="stop-button", interactive=False, **small),
        reset=gr.Button("↺", elem_id="reset-button", **small),
    )


NAMES = {
    "pause-button": "Pause, or go on",
    "step-button": "Make one step",
    "stop-button": "Stop",
    "reset-button": "Reset: clear the charts, keep the set-up",
}
"""What the buttons that show a sign alone are called, by their ids."""

NAME_BUTTONS = f"""
for (const [id, name] of Object.entries({json.dumps(NAMES)})) {{
  const button = document.getElementById(id);
  button?.setAttribute("aria-label", name);
  button?.setAttribute("title", name);
}}
"""
"""JavaScript that names them."""


def idle_buttons() -> Buttons:
    """Return the controls of a page that shows no race of its own."""
    return Buttons(
        race=gr.update(value=RACE, interactive=True),
        pause=gr.update(interactive=False),
        step=gr.update(interactive=True),
        stop=gr.update(interactive=False),
        reset=gr.update(interactive=True),
    )


def buttons(shown: Shown) -> Buttons:
    """Return the controls beside a race."""
    if shown.recorded or shown.complete:
        return idle_buttons()
    paused, going = shown.state == "paused", shown.state not in ENDED
    return Buttons(
        race=gr.update(value=GO_ON if paused else RACE, interactive=paused),
        pause=gr.update(interactive=going),
        step=gr.update(interactive=going),
        stop=gr.update(interactive=going),
        reset=gr.update(interactive=True),
    )


def status(shown: Shown, done: int, before: int) -> str:
    """Return the top bar's line.

    Parameters
    ----------
    done : the step that is shown.
    before : races that have to end before this one begins.
    """
    config, state = shown.config, shown.state
    if state == "failed":
        return fragments.status("failed", fragments.escape(shown.note))
    if state == "waiting":
        races = "1 race" if before == 1 else f"{before} races"
        return fragments.status("waiting", f"{races} before yours" if before else "next in line")
    if state == "loading":
        return fragments.status("loading", fragments.escape(shown.note))
    parts = [f"<b>{done}</b> / {config.steps}"]
    if shown.recorded:  # how fast it was elsewhere says nothing of this machine
        parts.append(fragments.escape(f"{config.model}, {config.task}"))
        return fragments.status("recorded", *parts, progress=done / config.steps)
    parts += _speed(shown, done)
    if (state in ENDED or state == "paused") and shown.note:
        parts.append(fragments.escape(shown.note))
    return fragments.status(state, *parts, progress=done / config.steps)


def _speed(shown: Shown, done: int) -> list[str]:
    """Return how fast it is, on what, and how long it took or will take."""
    steps, device = shown.steps[:done], fragments.escape(shown.device)
    if not steps:
        return [device] if device else []
    last = steps[-1]
    if shown.complete or shown.state in ENDED:
        rate, time = last.step / max(last.seconds, 1e-9), f"{last.seconds:.1f} s"
    else:
        window = steps[-WINDOW - 1 :]
        spent = last.seconds - (window[0].seconds if len(window) > 1 else 0.0)
        rate = max(len(window) - 1, 1) / max(spent, 1e-9)
        time = f"{_time((shown.config.steps - last.step) / rate)} left"
    speed = f"{rate:.0f} steps/s" if rate >= 3 else f"{rate:.2g} steps/s"
    return [speed, device, time]


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
