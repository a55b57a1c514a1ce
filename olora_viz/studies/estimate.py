"""What a study will take, from the first steps of one of its races."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.machine.progress import Progress
from olora_viz.races.race import race
from olora_viz.studies.planning import races
from olora_viz.studies.statistics import smallest_difference
from olora_viz.studies.study import Study, Trial

LOOK = 4
"""Steps that are timed: the first warms up, the second and the last are evaluated."""

LANES = 8
"""Maximum lanes that are timed, so that the plan takes a small part of the study's time."""


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
    timed = groups[0][:LANES]
    config = study.config(timed)
    began = time.perf_counter()
    steps = min(LOOK, config.steps)
    short = replace(config, steps=steps, warmup=0, eval_every=2, test_size=1)
    racing = race(short, progress=progress)
    loading = time.perf_counter() - began
    ends = [time.perf_counter()]
    for _ in racing:
        ends.append(time.perf_counter())
    racing.lanes.detach()
    took = [end - start for start, end in itertools.pairwise(ends)]
    step = took[2] if len(took) > 2 else took[-1]
    evaluation = max(0.0, took[1] - step) if len(took) > 2 else 0.0
    evaluations = math.ceil(study.steps / (study.eval_every or study.steps))
    of_lane = (step * study.steps + evaluation * (evaluations + 1)) / len(timed)
    others = len(study.inits) - 1
    return Estimate(
        races=len(groups),
        lanes=len(trials),
        seconds=loading * len(groups) + of_lane * len(trials),
        smallest=smallest_difference(1.0, study.seeds, others),
    )


def most_trials(study: Study) -> int:
    """Return the lanes of the grid and of the half steps around each best rate.

    Rates beyond the edges of the grid come on top.
    """
    halves = 2 if len(study.lrs) > 1 else 0
    return len(study.cells()) * len(study.inits) * (len(study.lrs) + halves) * study.seeds
