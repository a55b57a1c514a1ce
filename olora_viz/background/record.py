"""A race as others see it: running, saved, recorded, or only set up; how long it may take, and what is before it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.lanes.generation import Answer
from olora_viz.machine.memory import Memory
from olora_viz.measures.factors import Inside, inside
from olora_viz.measures.forgetting import AboutText
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.races.race import Race
from olora_viz.races.run import SavedRun
from olora_viz.races.step import DIVERGED, FINISHED, RACING, STOPPED, Step
from olora_viz.races.tables import parameters_of
from olora_viz.studies.story import is_sweep
from olora_viz.tasks import TASKS
from olora_viz.tasks.evaluation import TOTALS, Evaluation, HeldOut, Tested

READY, WAITING, LOADING, PAUSED, FAILED = "ready", "waiting", "loading", "paused", "failed"
"""States of a race in the background, in addition to those of `races.step`."""

ENDED = (STOPPED, FINISHED, DIVERGED, FAILED)
"""States in which no further step is made."""

MOST_EARLY = 60
"""Of more answers during a race, every second one is kept."""

PLAIN_FIELDS = ("state", "note", "device", "plain_text", "left_out", "adapted", "in_parts")
"""The fields of a `RaceRecord` that its JSON has as they are."""

AT_ONCE = math.inf
"""The speed of whoever follows a race that computes."""

SPEEDS = (1.0, 4.0, AT_ONCE)
"""How many times as fast as they were computed the steps of an equal race are shown."""


class Copied(NamedTuple):
    """What a page says of a race whose steps an equal one computes."""

    began: float
    """When that began, in seconds since 1970."""
    live: bool
    """Whether it goes on."""
    speed: float
    """See `SPEEDS`."""
    behind: bool
    """Whether there are more steps than are shown."""


class Forecast(NamedTuple):
    """How long something may take."""

    seconds: float
    sure: bool = True
    """Whether work on the same model was timed."""
    absent: bool = False
    """Whether the model is still to be downloaded."""
    between: tuple[float, float] | None = None
    """The fewest and the most seconds, told from how far estimates are off; None if nothing tells."""


class Wait(NamedTuple):
    """What is before work that waits."""

    places: int = 0
    seconds: float | None = 0.0
    """None if unknown."""
    called: str = "race"
    """What one of it is called."""

    @property
    def shown(self) -> Wait:
        """The same, no finer than it is shown: of two that are equal, no page needs another one."""
        if self.seconds is None:
            return self
        unit = 5 if self.seconds < 90 else 60
        return self._replace(seconds=float(unit * round(self.seconds / unit)))


NEXT = Wait()
"""Nothing is before it."""

COMMANDS = ("start", "pause", "resume", "step", "stop")
"""The commands: start a race, and control a running one."""


@dataclass(frozen=True)
class RaceRecord:
    """A race at one moment, or one that has not started: what a page, a panel and a report read of it.

    A race in the background gives one of the moment, a recording is one, and a run folder holds one.
    """

    config: RaceConfig
    styles: tuple[LaneStyle, ...]
    """Colours, dashes and labels of its lanes."""
    name: str = ""
    """Its name in figures, which tells races apart and is in what is saved of them."""
    complete: bool = False
    """Whether it has ended: nothing changes any more."""
    state: str = READY
    """One of ready, waiting, loading, racing, paused and `ENDED`."""
    note: str = ""
    """The current activity; after the end, the reason for the end."""
    device: str = ""
    """``CPU`` or ``CUDA``; empty while unknown."""
    recorded: bool = False
    """Whether it was computed earlier and comes with the package."""
    baseline: Evaluation | None = None
    """Held-out results of the base model; None while unknown."""
    text: AboutText | None = None
    """About its text to keep; None while unknown, or without one."""
    inside: Inside | None = None
    """The weights and starts of its adapters in pictures; None while unknown, or if none are taken."""
    plain_text: bool = False
    """Whether every token is supervised instead of an answer."""
    held_out: HeldOut | None = None
    """About its held-out examples; None while unknown."""
    left_out: int = 0
    """Training examples that were longer than ``config.max_length``."""
    adapted: str = ""
    """The share of the model that has adapters, in words; empty while unknown."""
    parameters: tuple[int, ...] = ()
    """How many parameters each lane trains; none while unknown."""
    ranks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The rank of each lane by layer, if a lane has `Lane.rank_by`; none while unknown."""
    in_parts: str = ""
    """In how many parts a batch is computed, in words; empty for one, or while unknown."""
    memory: Memory | None = None
    """What the process that computes it uses; None while unknown."""
    tested: Tested | None = None
    """The results on the test examples; None before the end, or without such examples."""
    answers: tuple[Answer, ...] = ()
    """The answers of the base model and the lanes after the race."""
    early_answers: tuple[Answer, ...] = ()
    """Those to one prompt after evaluations before its end, at most `MOST_EARLY`; none of a plain text."""
    steps: tuple[Step, ...] = field(default=(), repr=False)
    """Its steps so far."""

    @classmethod
    def of(cls, racing: Race) -> RaceRecord:
        """Return what is known of a race in memory, without its steps and their answers."""
        return cls(
            racing.config, lane_styles(racing.config.lanes), state=racing.status, device=device_words(racing),
            baseline=racing.baseline, text=racing.text, plain_text=racing.task.plain_text,
            held_out=racing.data.about_held_out, left_out=racing.data.left_out, adapted=racing.adapted,
            parameters=racing.lanes.plan.parameters, in_parts=racing.in_parts,
            inside=inside(racing.lanes) if racing.config.factors_every else None,
            ranks=racing.lanes.plan.ranks_by_layer,
        )  # fmt: skip

    @classmethod
    def of_run(cls, run: SavedRun) -> RaceRecord:
        """Return what a run folder alone holds; a race that has not reached its end is paused.

        Raises:
            KeyError, TypeError, ValueError: its summary is not that of a race.
        """
        card, lanes, summary = TASKS.get(run.config.task), run.config.lanes, run.summary
        plain_text = card is not None and not card.prompt
        record = cls(run.config, lane_styles(lanes), state=PAUSED, plain_text=plain_text, steps=tuple(run.steps))
        if not summary:
            return record
        ended = summary["status"] in (FINISHED, DIVERGED)
        base, held_out, text = summary["base"], summary.get("held_out"), summary.get("text")
        return replace(
            record,
            state=summary["status"] if ended else PAUSED,
            complete=ended,
            device=str(summary["device"]).split(":")[0].upper(),
            left_out=int(summary.get("left_out", 0)),
            adapted=str(summary.get("adapted", "")),
            in_parts=str(summary.get("in_parts", "")),
            parameters=parameters_of(summary),
            ranks=summary.get("ranks", {}),
            baseline=Evaluation.of_totals(*(np.array([base.get(name)], dtype=float) for name in TOTALS)),
            held_out=held_out and HeldOut(**held_out),
            text=text and AboutText.from_json(text),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; of its steps, which a run folder holds, their number. NaN is null."""
        base, held_out, tested = self.baseline, self.held_out, self.tested
        return {
            **{name: getattr(self, name) for name in ("complete", *PLAIN_FIELDS)},
            "config": self.config.to_json(),
            "parameters": list(self.parameters),
            "ranks": dict(self.ranks),
            "steps": len(self.steps),
            "baseline": base and base.to_json(),
            "text": self.text and self.text.to_json(),
            "inside": self.inside and self.inside.to_json(),
            "held_out": held_out and asdict(held_out),
            "tested": tested and [each.to_json() for each in tested],
            **{name: [asdict(answer) for answer in getattr(self, name)] for name in ("answers", "early_answers")},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], steps: Sequence[Step] = ()) -> RaceRecord:
        """Return the record that `to_json` wrote, with the steps of its run folder.

        Raises:
            KeyError, TypeError, ValueError: the values have another form.
        """
        config = RaceConfig.from_json(values["config"])
        base, held_out, tested = values["baseline"], values["held_out"], values["tested"]
        return cls(
            config,
            lane_styles(config.lanes),
            complete=values["complete"] is True,
            parameters=tuple(values.get("parameters", ())),
            ranks=values.get("ranks", {}),
            baseline=base and Evaluation.from_json(base),
            text=AboutText.from_json(values["text"]) if values.get("text") else None,
            inside=Inside.from_json(values["inside"]) if values.get("inside") else None,
            held_out=held_out and HeldOut(**held_out),
            tested=tested and Tested(*map(Evaluation.from_json, tested)),
            answers=tuple(map(Answer.from_json, values["answers"])),
            early_answers=tuple(map(Answer.from_json, values.get("early_answers", ()))),
            steps=tuple(steps),
            **{name: values[name] for name in PLAIN_FIELDS},
        )

    def answers_at(self, step: int) -> tuple[Answer, ...]:
        """Return the latest answers by the end of a step: those of its evaluation, or of the last one before.

        Those after the race count for every step, if there are no earlier ones.
        """
        if step >= len(self.steps) or not self.early_answers:
            return self.answers
        return tuple(answer for answer in self.early_answers if (answer.step or 0) <= step)[-1:]

    def answered(self, answer: Answer) -> tuple[Answer, ...]:
        """Return `early_answers` with one more."""
        every = (*self.early_answers, answer)
        return every if len(every) <= MOST_EARLY else every[::2]

    def at_found_rates(self) -> RaceRecord:
        """Return it with the fair rates that it found: what is told of a lane is told of its rate."""
        return replace(self, config=found_rates(self.config, self.steps))


def device_words(racing: Race) -> str:
    """Return the kind of a race's device, as shown on the page."""
    return str(racing.device).split(":")[0].upper()


def ready_race(config: RaceConfig) -> RaceRecord:
    """Return a race that is set up but has not started."""
    return RaceRecord(config, lane_styles(config.lanes))


def status_of_lanes(record: RaceRecord) -> str:
    """Return what `olora_viz.races.step.statuses` takes as the race's status.

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
    """Return a number for each separate view that grows when there is more to show; 0 for nothing."""
    steps = list(record.steps)
    measured = Counter(key for step in steps for key in step.measures)
    swept = bool(steps) and is_sweep(record.config.lanes)
    return {
        "spectra": measured["update_spectra"],
        "gradients": measured["gradients"],
        "curvature": measured["curvature"],
        "drift": measured["drift"],
        "factors": measured["factors"] + (record.inside is not None),
        "ranks": len(record.ranks),
        "rates": 1 + measured["eval_loss"] + int(steps[-1].out.sum()) if swept else 0,
    }


def commands(record: RaceRecord) -> frozenset[str]:
    """Return the `COMMANDS` that are possible now; after a race has ended, a new one can start."""
    if record.recorded or record.complete or record.state == READY:
        return frozenset({"start", "step"})
    if record.state in ENDED:  # it is writing adapters and generating answers
        return frozenset()
    return frozenset({"resume" if record.state == PAUSED else "pause", "step", "stop"})
