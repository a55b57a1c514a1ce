"""Sweeps over learning rates whose losses are given."""

import math
from collections.abc import Sequence

import numpy as np
from support.steps import a_step

from olora_viz.lanes.lane import Lane
from olora_viz.races.step import Step

NAN = math.nan


RATES = (1e-3, 3e-3, 1e-2)


def sweep(inits: Sequence[str] = ("lora", "olora"), seeds: int = 2) -> list[Lane]:
    return [Lane(i, lr=lr, seed=s) for i in inits for lr in RATES for s in range(seeds)]


def steps_of(held: Sequence[Sequence[float]] | np.ndarray) -> list[Step]:
    """An evaluation every ten steps; a lane without a loss has diverged."""
    made = []
    for n, losses in enumerate(held, start=1):
        values = np.array(losses, dtype=float)
        made.append(
            a_step(10 * n, values, values, values, seconds=n, tokens=n, eval_loss=values, eval_accuracy=values)
        )
    return made
