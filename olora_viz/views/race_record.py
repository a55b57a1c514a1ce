"""A race as views read it: running, recorded, or only set up; its status and its commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

from markupsafe import Markup

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.memory import Memory
from olora_viz.machine.numbers import about, seconds
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.source import KeptRace
from olora_viz.races.state import DIVERGED, FINISHED, RACING, STOPPED
from olora_viz.races.step import Step
from olora_viz.races.summary import Tested
from olora_viz.studies.rate_sweep import is_sweep
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.held_out import HeldOut
from olora_viz.views import html as fragments

READY, WAITING, LOADING, PAUSED, FAILED = "ready", "waiting", "loading", "paused", "failed"
"""States of a race in the background, in addition to those of `races.state`."""

ENDED = (STOPPED, FINISHED, DIVERGED, FAILED)
"""States in which no further step is made."""

WINDOW = 20
"""Steps over which the speed is measured."""

COMMANDS = ("start", "pause", "resume", "step", "stop")
"""The commands: start a race, and control a running one."""


@runtime_checkable
class RaceRecord(KeptRace, Protocol):
    """A race as views read it; views never modify it."""

    @property
    def name(self) -> str:
        """Its name in figures, which tells races apart and is in what is saved of them."""
        ...

    @property
    def styles(self) -> tuple[LaneStyle, ...]:
        """Colours, dashes and labels of its lanes."""
        ...

    @property
    def left_out(self) -> int:
        """Training examples that were too long."""
        ...

    @property
    def adapted(self) -> str:
        """The share of the model that has adapters, in words; empty while unknown."""
        ...

    @property
    def in_parts(self) -> str:
        """In how many parts a batch is computed, in words; empty for one, or while unknown."""
        ...

    @property
    def memory(self) -> Memory | None:
        """What the process that computes it uses; None while unknown."""
        ...

    @property
    def tested(self) -> Tested | None:
        """The results on the test examples; None before the end, or without such examples."""
        ...

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers of the base model and the lanes after the race."""
        ...

    @property
    def state(self) -> str:
        """One of ready, waiting, loading, racing, paused and `ENDED`."""
        ...

    @property
    def note(self) -> str:
        """The current activity; after the end, the reason for the end."""
        ...

    @property
    def device(self) -> str:
        """The device, ``CPU`` or ``CUDA``; empty while unknown."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether it was computed earlier and comes with the package."""
        ...


@dataclass(frozen=True)
class RaceSnapshot:
    """A record that does not change: a race at one moment, or one that has not started."""

    config: RaceConfig
    styles: tuple[LaneStyle, ...]
    name: str = ""
    complete: bool = False
    """Read before the state and the steps, so that a complete race has its last state and all
    steps."""
    state: str = READY
    note: str = ""
    device: str = ""
    recorded: bool = False
    baseline: Evaluation | None = None
    plain_text: bool = False
    held_out: HeldOut | None = None
    left_out: int = 0
    adapted: str = ""
    in_parts: str = ""
    memory: Memory | None = None
    tested: Tested | None = None
    answers: tuple[Answer, ...] = ()
    steps: tuple[Step, ...] = field(default=(), repr=False)


def ready_race(config: RaceConfig) -> RaceSnapshot:
    """Return a race that is set up but has not started."""
    styles = lane_styles(config.lanes, [lane.label for lane in config.lanes])
    return RaceSnapshot(config, styles)


def snapshot(record: RaceRecord) -> RaceSnapshot:
    """Return a race as it is now; its fields are read in their order.

    Fair rates are the numbers that it found: what is told of a lane is told of its rate.
    """
    values: dict[str, Any] = {
        each.name: getattr(record, each.name) for each in fields(RaceSnapshot)
    }
    values |= {name: tuple(values[name]) for name in ("styles", "answers", "steps")}
    values["config"] = found_rates(values["config"], values["steps"])
    return RaceSnapshot(**values)


def status_of_lanes(record: RaceRecord) -> str:
    """Return what `olora_viz.races.state.statuses` takes as the race's status.

    A race that waits or is paused is still ``racing``; one that has failed has ``stopped``.
    """
    if record.state not in ENDED:
        return RACING
    return FINISHED if record.state == FINISHED else STOPPED


def start_of(record: RaceRecord) -> tuple[float | None, float | None]:
    """Return held-out loss (nats) and accuracy before the first step; None while unknown."""
    base = record.baseline
    return (float(base.loss[0]), float(base.accuracy[0])) if base else (None, None)


def news(record: RaceRecord) -> dict[str, int]:
    """Return a number per separate view that grows when there is more to show; 0 for nothing.

    These are ``spectra``, ``gradients``, ``curvature`` and ``rates``.
    """
    steps = list(record.steps)
    measured = Counter(key for step in steps for key in step.measures)
    swept = bool(steps) and is_sweep(record.config.lanes)
    return {
        "spectra": measured["update_spectra"],
        "gradients": measured["gradients"],
        "curvature": measured["curvature"],
        "rates": 1 + measured["eval_loss"] + int(steps[-1].out.sum()) if swept else 0,
    }


def commands(record: RaceRecord) -> frozenset[str]:
    """Return the `COMMANDS` that are possible now; after a race has ended, a new one can start."""
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
    if state in ENDED and not record.complete and record.note:  # what it still does comes first
        return fragments.status(state, *parts, record.note, progress=done / config.steps)
    if state == RACING and record.note:
        parts.append(record.note)
    parts += _speed(record, done)
    if (state in ENDED or state == PAUSED) and record.note:
        parts.append(record.note)
    return fragments.status(state, *parts, progress=done / config.steps)


def _speed(record: RaceRecord, done: int) -> list[str]:
    """Return the speed, the memory on which device, and the elapsed or remaining time."""
    steps = record.steps[:done]
    device = record.device if record.device != "CPU" else ""
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
        device = _memory(record, device)
    speed = f"{rate:.0f} steps/s" if rate >= 3 else f"{rate:.2g} steps/s"
    return [part for part in (speed, device, time) if part]


def _memory(record: RaceRecord, device: str) -> str:
    """Return the device and its memory in use, the peak in a tooltip."""
    if record.memory is None:
        return device
    now, peak = record.memory.words
    return Markup('<span class="memory" title="{}; peak {}">{}</span>').format(
        f"{record.device} memory".strip(), peak, f"{device} {now}".strip()
    )
