"""What a study will take, from the first steps of one of its races."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.machine.progress import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.studies.planning import races
from olora_viz.studies.statistics import smallest_difference
from olora_viz.studies.study import Study, Trial

LOOK = 4
"""Steps that are timed: the first warms up, the second and the last are evaluated."""

AGAIN = 10.0
"""A set-up of fewer seconds is timed a second time: the first one of a process is slower."""

LANES = 8
"""Maximum lanes that are timed, so that the plan takes a small part of the study's time."""


@dataclass(frozen=True)
class Pace:
    """What the parts of a race take, in seconds."""

    setup: float
    """Of the race: loading, the starts, the base model's evaluation."""
    step: float
    """Of one lane."""
    example: float
    """Of evaluating one lane on one example."""
    train: int
    """Number of training examples."""
    held_out: int
    """Number of held-out examples that were evaluated."""
    test: int
    """Number of test examples, at most ``test_size``."""

    def of_lane(self, steps: int, examples: int) -> float:
        """Return the seconds of one lane that is evaluated on so many examples in all."""
        return self.step * steps + self.example * examples


@dataclass(frozen=True)
class Estimate:
    """The time of some races, extrapolated from one."""

    races: int
    lanes: int
    seconds: float
    """Of all races, one after the other."""
    smallest: float
    """The smallest difference that is found with a chance of 80%, in standard deviations of the
    paired differences."""


def estimate(study: Study, trials: Sequence[Trial], progress: Progress | None = None) -> Estimate:
    """Time the first steps of lanes of the first race.

    Parameters
    ----------
    trials : at least one.

    Raises
    ------
    ValueError : the race cannot be set up.
    """
    groups = races(study, trials)
    pace = pace_of(study.config(groups[0][:LANES]), progress)
    evaluations = math.ceil(study.steps / (study.eval_every or study.steps))
    of_lane = pace.of_lane(study.steps, evaluations * pace.held_out + pace.test)
    return Estimate(
        races=len(groups),
        lanes=len(trials),
        seconds=pace.setup * len(groups) + of_lane * len(trials),
        smallest=smallest_difference(1.0, study.seeds, len(study.inits) - 1),
    )


def pace_of(config: RaceConfig, progress: Progress | None = None) -> Pace:
    """Time the first steps of a race.

    Raises
    ------
    ValueError : the race cannot be set up.
    """
    short = replace(config, steps=min(LOOK, config.steps), warmup=0, eval_every=2)
    racing, setup = _timed(short, progress)
    if setup < AGAIN:
        racing.lanes.detach()
        racing, setup = _timed(short, progress)
    test, racing.data.test = len(racing.data.test), ()
    about, held_out = racing.data.about_held_out, len(racing.data.held_out)
    ends = [time.perf_counter()]
    for _ in racing:
        ends.append(time.perf_counter())
    racing.lanes.detach()
    took = [end - start for start, end in itertools.pairwise(ends)]
    step = took[2] if len(took) > 2 else took[-1]
    evaluation = max(0.0, took[1] - step) if len(took) > 2 else 0.0
    lanes = len(config.lanes)
    return Pace(setup, step / lanes, evaluation / held_out / lanes, about.train, held_out, test)


def _timed(config: RaceConfig, progress: Progress | None) -> tuple[Race, float]:
    """Set up a race; return the seconds it took as well."""
    began = time.perf_counter()
    racing = race(config, progress=progress)
    return racing, time.perf_counter() - began


def most_trials(study: Study) -> int:
    """Return the lanes of the grid and of the rates around each best one.

    Rates beyond the edges of the grid come on top.
    """
    halves = 2 if len(study.lrs) > 1 else 0
    finals = halves * study.seeds + study.seeds - study.first_seeds
    each = len(study.lrs) * study.first_seeds + finals
    return len(study.cells()) * len(study.inits) * each
