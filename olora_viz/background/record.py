"""A race as others see it: running, recorded, or only set up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.memory import Memory
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.race import Tested
from olora_viz.races.state import DIVERGED, FINISHED, RACING, STOPPED
from olora_viz.races.step import Step
from olora_viz.races.tables import RecordedRace
from olora_viz.studies.story import is_sweep
from olora_viz.tasks.evaluation import Evaluation, HeldOut


@runtime_checkable
class Findings(Protocol):
    """Anything with these attributes, such as `olora_viz.background.record.RaceRecord`."""

    device: str
    baseline: Evaluation | None
    plain_text: bool
    held_out: HeldOut | None
    left_out: int
    adapted: str
    in_parts: str
    tested: Tested | None
    answers: list[Answer]


def findings_json(race: Findings) -> dict[str, Any]:
    """Return the findings as plain values; NaN is null."""
    base, held_out, tested = race.baseline, race.held_out, race.tested
    return {
        "device": race.device,
        "plain_text": race.plain_text,
        "left_out": race.left_out,
        "adapted": race.adapted,
        "in_parts": race.in_parts,
        "baseline": base and base.to_json(),
        "held_out": held_out and asdict(held_out),
        "tested": tested and [each.to_json() for each in tested],
        "answers": [asdict(answer) for answer in race.answers],
    }


def findings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings by name from what `findings_json` wrote.

    Raises:
        KeyError: the values have another form.
        TypeError: likewise.
        ValueError: likewise.
    """
    base, held_out, tested = values["baseline"], values["held_out"], values["tested"]
    return {
        **{name: values[name] for name in ("device", "plain_text", "left_out", "adapted")},
        "in_parts": values.get("in_parts", ""),  # older versions had none
        "baseline": base and Evaluation.from_json(base),
        "held_out": held_out and HeldOut(**held_out),
        "tested": tested and Tested(*map(Evaluation.from_json, tested)),
        "answers": [Answer.from_json(answer) for answer in values["answers"]],
    }


def findings_of_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings in a run's ``summary.json``, without answers and results by example.

    Raises:
        KeyError: the file is not the summary of a race.
        TypeError: likewise.
        ValueError: likewise.
    """
    base, held_out = summary["base"], summary.get("held_out")
    start = [np.array([base[name]], dtype=float) for name in ("loss", "accuracy")]
    return {
        "device": str(summary["device"]).split(":")[0].upper(),
        "left_out": int(summary.get("left_out", 0)),
        "adapted": str(summary.get("adapted", "")),
        "in_parts": str(summary.get("in_parts", "")),
        "baseline": Evaluation.of_totals(*start),
        "held_out": held_out and HeldOut(**held_out),
    }


READY, WAITING, LOADING, PAUSED, FAILED = "ready", "waiting", "loading", "paused", "failed"
"""States of a race in the background, in addition to those of `races.state`."""

ENDED = (STOPPED, FINISHED, DIVERGED, FAILED)
"""States in which no further step is made."""

COMMANDS = ("start", "pause", "resume", "step", "stop")
"""The commands: start a race, and control a running one."""


@runtime_checkable
class RaceRecord(RecordedRace, Protocol):
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
    """Read before the state and the steps, so that a complete race has its last state and all steps."""
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
    values: dict[str, Any] = {each.name: getattr(record, each.name) for each in fields(RaceSnapshot)}
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
