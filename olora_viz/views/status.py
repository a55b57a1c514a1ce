"""The status of a race: one line, and the available commands."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.machine.numbers import about, seconds
from olora_viz.views import html as fragments
from olora_viz.views.race_record import ENDED, FAILED, LOADING, PAUSED, READY, WAITING, RaceRecord

WINDOW = 20
"""Steps over which the speed is measured."""

COMMANDS = ("start", "pause", "resume", "step", "stop")
"""The commands: start a race, and control a running one."""


def commands(record: RaceRecord) -> frozenset[str]:
    """Return those of `COMMANDS` that are possible now; beside what has ended a new one starts."""
    if record.recorded or record.complete or record.state == READY:
        return frozenset({"start", "step"})
    if record.state in ENDED:  # it is writing adapters and generating answers
        return frozenset()
    return frozenset({"resume" if record.state == PAUSED else "pause", "step", "stop"})


def status(record: RaceRecord, done: int, before: int = 0) -> Markup:
    """Return the line: the state in a word, the progress, the speed and the device.

    Parameters
    ----------
    done : the step shown.
    before : races ahead of this one in the queue.
    """
    config, state = record.config, record.state
    if state in (READY, FAILED):
        return fragments.status(state, *([record.note] if record.note else []))
    if state == WAITING:
        races = "1 race" if before == 1 else f"{before} races"
        return fragments.status(WAITING, f"{races} before yours" if before else "next in line")
    if state == LOADING:
        return fragments.status(LOADING, record.note)
    parts: list[str] = [Markup("<b>{}</b> / {}").format(done, config.steps)]
    if record.recorded:  # its speed was measured on another machine
        parts.append(f"{config.model}, {config.task}")
        return fragments.status("recorded", *parts, progress=done / config.steps)
    parts += _speed(record, done)
    if (state in ENDED or state == PAUSED) and record.note:
        parts.append(record.note)
    return fragments.status(state, *parts, progress=done / config.steps)


def _speed(record: RaceRecord, done: int) -> list[str]:
    """Return the speed, the device, and the elapsed or remaining time."""
    steps, device = record.steps[:done], record.device
    if not steps:
        return [device] if device else []
    last = steps[-1]
    if record.complete or record.state in ENDED:
        rate, time = last.step / max(last.seconds, 1e-9), seconds(last.seconds)
    else:
        window = steps[-WINDOW - 1 :]
        spent = last.seconds - (window[0].seconds if len(window) > 1 else 0.0)
        rate = max(len(window) - 1, 1) / max(spent, 1e-9)
        time = f"{about((record.config.steps - last.step) / rate)} left"
    speed = f"{rate:.0f} steps/s" if rate >= 3 else f"{rate:.2g} steps/s"
    return [speed, device, time]
