"""How long the races of a study take, timed on their first steps."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from olora_viz.lanes.calibration import calibration_bytes
from olora_viz.lanes.groups import groups_of, largest_pass
from olora_viz.lanes.memory import Footprint, adapter_bytes
from olora_viz.lanes.passes import bypassed_modules
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine.memory import available_memory, bytes_words
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import number, percent
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, RaceData, task_of
from olora_viz.races.race import Race
from olora_viz.studies.method import shipped
from olora_viz.studies.power import POWER, smallest_difference
from olora_viz.studies.search import races
from olora_viz.studies.statistics import LEAST_SEEDS
from olora_viz.studies.study import Study, Trial
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.task import links_of

TIMED_STEPS = 4
"""The first warms up, the second and the last are evaluated."""

SLOW_STEP = 2.0
"""A first step of more seconds is the plain one: its warm-up is a small part of it."""

TIMED_EXAMPLES = 16
"""Maximum held-out examples for which an evaluation is timed."""

TIMED_LANES = 8
"""Maximum lanes that are timed, so that the plan takes a small part of the study's time."""

CPU = torch.device("cpu")

LIBRARIES = 450 * 10**6
"""Memory of a process with Python, torch and the other libraries, without a model; bytes."""


@dataclass(frozen=True)
class Timing:
    """The time of each part of a race, in seconds, and its memory."""

    setup: float
    """Of the race, once the model is loaded and its own results are known: the starts."""
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
    alone: float = 0.0
    """A step of a race of one lane, at most; 0 if it is that of a lane beside others."""
    train: int = 0
    """Number of training examples; 0 if unknown."""
    first: float = 0.0
    """Beside that, of the first race: loading and the base model's own results."""

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
    data: Mapping[str, str] = field(default_factory=dict)
    """The number of examples in each part and how much of them a lane sees, by model, task and rows."""

    def check_fits(self, workers: int, devices: int = 1) -> None:
        """Check that so many races at once, on so many devices, fit into the free memory of each.

        Raises:
            ValueError: they do not; the message says how many do.
        """
        free = available_memory(self.device)
        workers, where = math.ceil(workers / devices), " on a device" * (devices > 1)
        if free is None or workers * self.memory <= free:
            return
        most = int(free // self.memory)
        fits, needed = f"{most} would fit" if most else "not even one fits", bytes_words(workers * self.memory)
        raise ValueError(
            f"{workers} race{'s' * (workers > 1)} at once{where} may need {needed} of memory, but only "
            f"{bytes_words(free)} are free: {fits}"
        )


def smallest_found(study: Study) -> str:
    """Say which difference the seeds of a study find, if the test examples can tell it.

    >>> smallest_found(Study())
    '5 seeds find a difference of 1.7 times its standard deviation over the seeds in 80% of studies at most'
    >>> smallest_found(Study(seeds=1))
    'nothing is decided with fewer than 3 seeds'
    """
    if study.seeds < LEAST_SEEDS:
        return f"nothing is decided with fewer than {LEAST_SEEDS} seeds"
    difference = smallest_difference(study.seeds, len(study.compare))
    return (
        f"{study.seeds} seeds find a difference of {number(difference, '.2g')} times its standard deviation over the "
        f"seeds in {percent(POWER)} of studies at most"
    )


def estimate(study: Study, trials: Sequence[Trial], progress: Progress | None = None) -> Estimate:
    """Time the first steps of lanes of the first race of each model, and of full fine-tuning on it.

    Args:
        trials: at least one.

    Raises:
        ValueError: a race cannot be set up.
    """
    groups = races(study, trials)
    total, timings, data, cache = 0.0, [], {}, ModelCache()
    for group in alike(study, groups):
        largest = max(group, key=lambda race: (study.lane(race[0]).r, len(race)))  # by their memory
        config = study.config(group[0][:TIMED_LANES])
        links = links_of(config.task)
        config = config.replace(task=links[0])
        timing = timing_of(config, progress, study.config(largest).replace(task=links[0]), cache)
        config = config.with_steps(timing.train)
        evaluations = math.ceil(config.steps / (config.eval_every or config.steps))
        of_lane = timing.of_lane(config.steps, evaluations * timing.held_out + timing.test)
        total += len(links) * (timing.first + timing.setup * len(group) + of_lane * sum(map(len, group)))
        timings.append(timing)
        for trial in {race[0].cell: race[0] for race in group}.values():
            for task in trial.cell.links:
                cell = replace(trial.cell, task=task)
                where = cell.words(("model", "task", "rows"))
                if where not in data:
                    config = study.config([trial]).replace(task=task)
                    race_data = RaceData(config, task_of(config), *cache.load(config), cache)
                    about_data = race_data.about_held_out
                    config = config.with_steps(about_data.train)
                    seen = f"A lane sees {Epochs(config.steps * config.batch_size, about_data.train).words}."
                    data[where] = " ".join([about_data.parts, seen, *race_data.too_long])
    return Estimate(
        races=len(groups), lanes=len(trials), seconds=total, memory=max(timing.memory for timing in timings),
        device=timings[0].device, data=data,
    )  # fmt: skip


def alike(study: Study, groups: Sequence[list[Trial]]) -> list[list[list[Trial]]]:
    """Put together the races whose lanes take about as long: of all settings but the task, and dense or not."""
    by_kind: dict[tuple[Any, ...], list[list[Trial]]] = {}
    for group in groups:
        cell, lane = group[0].cell, study.lane(group[0])
        rank, own = 0 if lane.is_dense else lane.r, shipped(group[0].method)
        key = (cell.model, len(cell.links), rank, cell.others, group[0].tuned, lane.is_dense, own)
        by_kind.setdefault(key, []).append(group)
    return list(by_kind.values())


def timing_of(
    config: RaceConfig,
    progress: Progress | None = None,
    largest: RaceConfig | None = None,
    cache: ModelCache | None = None,
) -> Timing:
    """Time the first steps of a race.

    Args:
        largest: a race on the same model whose memory is estimated; None for this one's.

    Raises:
        ValueError: the race cannot be set up.
    """
    short = config.replace(
        lanes=[lane.replace(warmup=None) for lane in config.lanes], steps=min(TIMED_STEPS, config.steps), warmup=0,
        eval_every=2, eval_size=min(TIMED_EXAMPLES, config.eval_size),
    )  # fmt: skip
    cache = cache or ModelCache()
    racing, first = _set_up(short, progress, cache)
    racing.lanes.detach()
    racing, setup = _set_up(short, progress, cache)
    data, (test, racing.data.test) = racing.data, (racing.data.test, ())
    judged = len(data.held_out)
    held_out = min(len(racing.task.held_out) - data.held_out_left_out, config.eval_size)
    ends = [time.perf_counter()]
    for step in racing:
        ends.append(time.perf_counter())
        if progress:
            progress(step.step / short.steps, f"timing the first steps on {config.model}")
        if step.step == 2 and ends[1] - ends[0] > SLOW_STEP:
            break
    racing.lanes.detach()
    data.test = test
    took = [end - start for start, end in itertools.pairwise(ends)]
    plain = took[2] if len(took) > 2 else took[0]
    evaluation = max(0.0, took[1] - plain) if len(took) > 1 else 0.0
    example = evaluation / judged / len(config.lanes)
    return Timing(
        setup=setup, step=plain / len(config.lanes), example=example,
        first=max(0.0, first - setup) + example * (held_out - judged + len(test)),
        data=" ".join([replace(data.about_held_out, examples=held_out).parts, *data.too_long]),
        held_out=held_out, test=len(test), memory=_bytes(racing, largest or config), device=racing.device,
        train=data.about_held_out.train,
    )  # fmt: skip


def _bytes(racing: Race, config: RaceConfig) -> float:
    """Return the memory of a race on the model and task of another one, whose lanes are gone."""
    bypassed = bypassed_modules(racing.model, repr(config.model))
    plan = plan_adapters(racing.model, config.lanes, config.targets, bypassed)
    data, rows = racing.data, racing.config.prompts_in_pass
    footprint = Footprint.of(plan, branching=data.branching)
    weights = sum(each.numel() * each.element_size() for each in racing.model.parameters())
    of_step = footprint.training.bytes(data.trained_with(rows))
    groups = groups_of(plan, of_step)
    passes = (of_step, footprint.evaluation.bytes(data.judged_size))
    largest = max(largest_pass(plan, bytes_each, groups) for bytes_each in passes)
    return LIBRARIES + weights + adapter_bytes(plan) + calibration_bytes(plan) + data.predictions_bytes + largest


def _set_up(config: RaceConfig, progress: Progress | None, cache: ModelCache) -> tuple[Race, float]:
    """Set up a race; return the seconds it took as well."""
    began = time.perf_counter()
    racing = Race(config, progress=progress, cache=cache)
    return racing, time.perf_counter() - began
