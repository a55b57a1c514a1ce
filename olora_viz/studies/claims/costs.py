"""What a start costs: the seconds that it takes, and those and the memory of a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from olora_viz.initializers.start import precise
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.starts import start_of
from olora_viz.machine.meter import Meter
from olora_viz.races.race import Race

REPETITIONS = 7
"""Races of each method, in turns."""

STEPS = 5
"""Timed steps of a race, of which the median counts."""


class Costs(NamedTuple):
    """What two methods cost, the reference first."""

    start: Float[np.ndarray, "repetitions 2"]
    """Seconds to make A⁰ and B⁰ of all layers."""
    step: Float[np.ndarray, "repetitions 2"]
    """Seconds per step, of one lane alone."""
    peak: tuple[int, int]
    """The bytes of the tensors that a step creates, at their most."""
    trained: tuple[int, int]
    """Numbers that are trained."""


def costs_of(lanes: tuple[Lane, Lane], race: Callable[[Lane, int], Race]) -> Costs:
    """Measure two lanes in turns, the order changing, each alone on the model.

    Parameters
    ----------
    race : makes the race of a lane with a number of steps.
    """
    start, step = np.empty((REPETITIONS, 2)), np.empty((REPETITIONS, 2))
    peak, trained = [0, 0], [0, 0]
    for n in range(REPETITIONS):
        for k in (0, 1) if n % 2 == 0 else (1, 0):
            racing = race(lanes[k], STEPS + 3)
            start[n, k] = _start_seconds(racing, lanes[k])
            next(racing)  # the first step also makes the optimizer's moments
            step[n, k] = _step_seconds(racing)
            if n == 0:
                peak[k] = peak_bytes(racing)
                trained[k] = racing.lanes.plan.parameters[0]
            racing.lanes.detach()
    return Costs(start, step, (peak[0], peak[1]), (trained[0], trained[1]))


def peak_bytes(racing: Race) -> int:
    """Run a step, and return the most bytes of tensors that it had created at any time."""
    with Meter([*racing.model.parameters(), *racing.model.buffers(), racing.lanes.theta]) as meter:
        next(racing)
    return max(meter.live)


def _step_seconds(racing: Race) -> float:
    seconds = []
    for _ in range(STEPS):
        before = racing.state.seconds
        seconds.append(next(racing).seconds - before)
    return median(seconds)


def _start_seconds(racing: Race, lane: Lane) -> float:
    plan = racing.lanes.plan
    _wait(racing.device)
    began = time.perf_counter()
    for name in plan.layers:
        start_of(name, precise(plan.weight(name).detach()), lane)
    _wait(racing.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
