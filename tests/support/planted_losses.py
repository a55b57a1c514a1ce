"""Studies of which every loss is known beforehand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from support.simulated_studies import row_of

from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.search import needed
from olora_viz.studies.statistics import Interval
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

SPREAD = np.linspace(-0.2, 0.2, 64)
"""How the examples differ in the loss, which all runs share."""


def row(loss: float) -> dict[str, Any]:
    return row_of(loss + SPREAD, loss + SPREAD)


def bowl(lr: float, best: float = 2e-3) -> float:
    return math.log(lr / best) ** 2


STUDY = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=5)

Loss = Callable[[Trial], float]


def noise(trial: Trial) -> float:
    """A small error of a run that nothing else shares."""
    key = [trial.seed, trial.cell.r or 0, int(1e6 * trial.lr), *trial.method.encode()]
    if varied := (*trial.cell.others, *trial.tuned):
        key += repr(varied).encode()
    return float(np.random.default_rng(key).normal(0, 0.01))


def study(loss: Loss, base: Study = STUDY) -> Verdicts:
    """Return the verdicts of a study whose losses are known."""
    losses: dict[Trial, float] = {}
    while todo := needed(base, losses):
        losses |= {trial: loss(trial) + noise(trial) for trial in todo}
    return verdicts_of(base, {trial: row(value) for trial, value in losses.items()})


def mean(finding: Finding, name: str) -> float:
    """Return the mean of a number that has an interval."""
    found = finding.numbers[name]
    assert isinstance(found, Interval)
    assert found.low <= found.mean <= found.high
    return found.mean


def gaining(gain: float) -> Loss:
    """OLoRA's loss is lower by so much, whatever the rate."""
    return lambda its: 1.0 + bowl(its.lr) + 0.1 * its.seed - gain * (its.method == "olora")


LAYERS = ("blocks.0.q", "blocks.0.k", "blocks.1.q", "blocks.1.k")
