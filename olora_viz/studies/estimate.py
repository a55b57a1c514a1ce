"""How long a study will take, from the first steps of one race of each model."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from olora_viz.lanes.calibration import calibration_bytes
from olora_viz.lanes.chunks import adapter_bytes, largest_pass
from olora_viz.lanes.footprint import Footprint
from olora_viz.machine.memory import available_memory, bytes_words
from olora_viz.machine.progress import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.kept import Kept
from olora_viz.races.race import Race
from olora_viz.races.task import task_of
from olora_viz.studies.planning import alike, races
from olora_viz.studies.statistics import smallest_difference
from olora_viz.studies.study import Study, Trial

LOOK = 4
"""Steps that are timed: the first warms up, the second and the last are evaluated."""

AGAIN = 10.0
"""A set-up that takes fewer seconds is timed again, since the first one of a process is slower."""

SLOW = 2.0
"""A first step of more seconds is the plain one: its warm-up is a small part of it."""

TIMED = 16
"""Maximum held-out examples for which an evaluation is timed."""

LANES = 8
"""Maximum lanes that are timed, so that the plan takes a small part of the study's time."""

CPU = torch.device("cpu")

LIBRARIES = 450 * 10**6
"""Memory of a process with Python, torch and the other libraries, without a model; bytes."""


@dataclass(frozen=True)
class Pace:
    """The time of each part of a race, in seconds, and its memory."""

    setup: float
    """Of the race: loading, the starts, the base model's evaluation."""
    step: float
    """Of one lane beside others."""
    example: float
    """Of evaluating one lane on one example."""
    data: str
    """The number of examples in each part, also of those that are too long, in words."""
    held_out: int
    """Number of held-out examples that were evaluated."""
    test: int
    """Number of test examples, at most ``test_size``."""
    memory: float = 0.0
    """Of the race and its process, at most; bytes."""
    device: torch.device = CPU
    """Where it computes."""
    alone: float = 0.0
    """A step of a race of one lane, at most; 0 if it is that of a lane beside others."""

    def of_race(self, test: int) -> float:
        """Return the seconds of a race beside its lanes: its set-up and the base model's test."""
        return self.setup + self.example * test

    def of_lane(self, steps: int, examples: int) -> float:
        """Return the seconds of one lane that is evaluated on so many examples in all."""
        return self.step * steps + self.example * examples


@dataclass(frozen=True)
class Estimate:
    """What some races take, extrapolated from the first of each model."""

    races: int
    lanes: int
    seconds: float
    """Of all races, one after the other."""
    memory: float
    """Of one race and its process, at most; bytes."""
    device: torch.device
    """Where they compute."""
    smallest: float
    """The smallest difference that is detected with a power of 80%, in standard deviations of the
    paired differences."""
    data: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The number of examples in each part, as in `Pace`, by model and task."""

    def check_fits(self, workers: int) -> None:
        """Check that so many races at once fit into the free memory.

        Raises
        ------
        ValueError : they do not; the message says how many do.
        """
        free = available_memory(self.device)
        if free is None or workers * self.memory <= free:
            return
        most = int(free // self.memory)
        fits = f"{most} would fit" if most else "not even one fits"
        raise ValueError(
            f"{workers} race{'s' * (workers > 1)} at once may need "
            f"{bytes_words(workers * self.memory)} of memory, but only {bytes_words(free)} are "
            f"free: {fits}"
        )


def estimate(study: Study, trials: Sequence[Trial], progress: Progress | None = None) -> Estimate:
    """Time the first steps of lanes of the first race of each model, and of full fine-tuning on it.

    Parameters
    ----------
    trials : at least one.

    Raises
    ------
    ValueError : a race cannot be set up.
    """
    groups = races(study, trials)
    evaluations = math.ceil(study.steps / (study.eval_every or study.steps))
    total, paces, data, kept = 0.0, [], {}, Kept()
    for its in alike(groups):
        largest = max(its, key=_size)
        pace = pace_of(study.config(its[0][:LANES]), progress, study.config(largest), kept)
        of_lane = pace.of_lane(study.steps, evaluations * pace.held_out + pace.test)
        total += pace.of_race(pace.test) * len(its) + of_lane * sum(map(len, its))
        paces.append(pace)
        for cell, one in {race[0].cell: race[0] for race in its}.items():
            if (cell.model, cell.task) not in data:
                data[cell.model, cell.task] = _data_words(study.config([one]), kept)
    return Estimate(
        races=len(groups),
        lanes=len(trials),
        seconds=total,
        memory=max(pace.memory for pace in paces),
        device=paces[0].device,
        smallest=smallest_difference(1.0, study.seeds, len(study.inits) - 1),
        data=data,
    )


def _data_words(config: RaceConfig, kept: Kept) -> str:
    model, tokenizer = kept.load(config)
    data = RaceData(config, task_of(config), model, tokenizer, kept)
    return " ".join([data.about_held_out.parts, *data.too_long])


def pace_of(
    config: RaceConfig,
    progress: Progress | None = None,
    largest: RaceConfig | None = None,
    kept: Kept | None = None,
) -> Pace:
    """Time the first steps of a race.

    Parameters
    ----------
    largest : a race on the same model whose memory is estimated; None for this one's.
    kept : of earlier races of this process, and for later ones.

    Raises
    ------
    ValueError : the race cannot be set up.
    """
    short = replace(
        config, steps=min(LOOK, config.steps), warmup=0, eval_every=2,
        eval_size=min(TIMED, config.eval_size),
    )  # fmt: skip
    kept = kept or Kept()
    racing, setup = _timed(short, progress, kept)
    if setup < AGAIN:
        racing.lanes.detach()
        racing, setup = _timed(short, progress, kept)
    test, racing.data.test = racing.data.test, ()
    about, too_long = racing.data.about_held_out, racing.data.too_long
    judged = len(racing.data.held_out)
    there = len(racing.task.held_out) - racing.data.held_out_left_out
    held_out = min(there, config.eval_size)
    ends = [time.perf_counter()]
    for step in racing:
        ends.append(time.perf_counter())
        if progress:
            progress(step.step / short.steps, f"timing the first steps on {config.model}")
        if step.step == 2 and ends[1] - ends[0] > SLOW:
            break
    racing.lanes.detach()
    racing.data.test = test
    took = [end - start for start, end in itertools.pairwise(ends)]
    plain = took[2] if len(took) > 2 else took[0]
    evaluation = max(0.0, took[1] - plain) if len(took) > 1 else 0.0
    lanes = len(config.lanes)
    example = evaluation / judged / lanes
    return Pace(
        setup=setup + example * (held_out - judged),
        step=plain / lanes,
        example=example,
        data=" ".join([replace(about, examples=held_out).parts, *too_long]),
        held_out=held_out,
        test=len(test),
        memory=_bytes(racing, largest or config),
        device=racing.device,
    )


def _size(race: Sequence[Trial]) -> tuple[int, int]:
    """Return what orders races of one kind by their memory: the rank, then the lanes."""
    return max(one.cell.r for one in race), len(race)


def _bytes(racing: Race, config: RaceConfig) -> float:
    """Return the memory of a race on the model and task of another one, whose lanes are gone."""
    plan = racing.lanes.plan.with_lanes(config.lanes)
    data, rows = racing.data, racing.config.rows
    footprint = Footprint.of(plan, branching=data.branching)
    weights = sum(each.numel() * each.element_size() for each in racing.model.parameters())
    largest = max(
        largest_pass(plan, footprint.training.bytes(data.trained_with(rows))),
        largest_pass(plan, footprint.evaluation.bytes(data.judged_size)),
    )
    return LIBRARIES + weights + adapter_bytes(plan) + calibration_bytes(plan) + largest


def _timed(config: RaceConfig, progress: Progress | None, kept: Kept) -> tuple[Race, float]:
    """Set up a race; return the seconds it took as well."""
    began = time.perf_counter()
    racing = Race(config, progress=progress, kept=kept)
    return racing, time.perf_counter() - began


def most_trials(study: Study) -> int:
    """Return the lanes of the grid and of the rates around each best one.

    Rates added beyond the edges of the grid are not included.
    """
    halves = 2 if len(study.lrs) > 1 else 0
    finals = halves * study.seeds + study.seeds - study.first_seeds
    each = len(study.lrs) * study.first_seeds + finals
    return len(study.cells()) * len(study.inits) * each
