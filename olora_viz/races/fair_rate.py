"""A learning rate for each start, relative to plain LoRA's, from the curvature at step 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from olora_viz.initializers import INITIALIZERS, Calibration
from olora_viz.lanes.adapters import attach_planned
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.lanes.plan import AdapterPlan
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import compact, factor
from olora_viz.measures.curvature import track
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.tasks import Batch

EXPONENT = 1 / 3
"""Exponent of the curvature ratio: the best fit to sweeps of two models (0.31), rounded. Gradient descent would need
1. An update of Adam does not grow with the gradient, so on a quadratic of curvature λ the loss rises by the order of λ
· rate², which suggests 1/2; the difference is empirical."""

USUAL_RATE = 1e-3
"""Plain LoRA's rate if a race has no plain LoRA lane."""


@dataclass(frozen=True)
class FairRate:
    """The fair rate of one start, and the numbers behind it.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora", lr=3e-3), ov.Lane("olora", fair=True)
        >>> race = ov.race(ov.RaceConfig(lanes=lanes, batch_size=2, eval_size=2))
        >>> (proposal,) = race.fair_rates
        >>> proposal.init, proposal.reference, proposal.rate < proposal.reference
        ('olora', 0.003, True)
        >>> proposal.rate == race.config.lanes[1].lr
        True
    """

    init: str
    rate: float
    """The proposed learning rate, rounded to two digits."""
    reference: float
    """Plain LoRA's rate."""
    curvature: float
    """The largest eigenvalue of the Hessian at the start."""
    reference_curvature: float
    """The largest eigenvalue for plain LoRA."""

    @property
    def ratio(self) -> float:
        """The curvature relative to plain LoRA's."""
        return self.curvature / self.reference_curvature

    @property
    def sentence(self) -> str:
        """The proposal, explained in one sentence."""
        label = INITIALIZERS[self.init].label
        return (
            f"{label} starts with {factor(self.ratio)} times plain LoRA's curvature (λ_max "
            f"{self.curvature:.3g} against {self.reference_curvature:.3g}), so its fair rate is "
            f"{compact(self.reference)} / ∛{factor(self.ratio)} = {compact(self.rate)}."
        )


def fair_rate(reference: float, reference_curvature: float, curvature: float) -> float:
    """Return `reference · (λ_LoRA / λ)^⅓`, rounded to two digits.

    This is a rule of thumb. The best rate falls as the largest eigenvalue at the start rises; the exponent is fitted
    to sweeps, see `EXPONENT`. ``benchmarks/fair_rate.py`` compares the rule with sweeps: it is off by a factor of 1.5
    to 1.6 (root mean square), 2.4 at worst. Dividing by the ratio itself is off by a factor of 4 to 17, 59 at worst.

    Args:
        reference: plain LoRA's tuned rate.
        reference_curvature, curvature: largest eigenvalues of the Hessian at the start, > 0.

    Raises:
        ValueError: a curvature that is not positive and finite.

    References:
        "Learning Rate Matters", 2026, arXiv 2602.04998 (the correlation).

    Examples:
        >>> import olora_viz as ov
        >>> ov.fair_rate(1e-3, reference_curvature=2.0, curvature=16.0)
        0.0005
    """
    for value in (reference_curvature, curvature):
        if not (0 < value < math.inf):
            raise ValueError(f"a fair rate needs a positive, finite curvature, not {value}")
    return float(f"{reference * (reference_curvature / curvature) ** EXPONENT:.1e}")


def proposals(
    plan: AdapterPlan,
    lanes: Sequence[Lane],
    reference: Lane,
    batch: Batch,
    calibration: Mapping[str, Calibration] | None = None,
    progress: Progress | None = None,
) -> list[FairRate]:
    """Propose a rate for each lane, from the curvature of its start on a batch.

    Args:
        plan: the layers of a model without lanes; its own lanes do not matter.
        lanes: the contenders; their rates do not matter.
        reference: a plain LoRA lane with a tuned rate, see `reference_among`.

    Raises:
        ValueError: a curvature that is not positive and finite, too little memory, and what `attach` raises.
    """
    starts = list(dict.fromkeys(_start(lane) for lane in (reference, *lanes)))
    attached = attach_planned(plan.with_lanes(starts), progress, calibration)
    try:
        curvatures = track(attached, batch, progress).lambda_max
    finally:
        attached.detach()
    known = {start: float(value) for start, value in zip(starts, curvatures, strict=True)}
    base = known[_start(reference)]
    return [
        FairRate(
            lane.init, fair_rate(reference.lr, base, known[_start(lane)]), reference.lr, known[_start(lane)], base
        )
        for lane in lanes
    ]


def reference_among(lanes: Sequence[Lane]) -> Lane:
    """Return the first plain LoRA lane with a given rate, otherwise one with the rate `USUAL_RATE`.

    The latter has the rank and the targets of the first lane.
    """
    tuned = [lane for lane in lanes if lane.init == "lora" and not lane.fair]
    first = lanes[0]
    return tuned[0] if tuned else Lane("lora", USUAL_RATE, r=first.r, targets=first.targets)


def same_and_fair(lanes: Sequence[Lane], tuned: float | None = None, most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return plain LoRA, and every other start at LoRA's rate and at its own fair one.

    Is it the start, or only the rate? These lanes tell. The fair rates are found by their race.

    Args:
        tuned: plain LoRA's rate; by default that of `reference_among`.

    Raises:
        ValueError: there is no plain LoRA lane, or no other start, or there would be too many lanes.

    >>> lanes = [Lane("lora", lr=3e-3, seed=s) for s in (0, 1)] + [Lane("olora")]
    >>> [(lane.init, lane.seed, lane.fair or lane.lr) for lane in same_and_fair(lanes)]
    [('lora', 0, 0.003), ('lora', 1, 0.003), ('olora', 0, 0.003), ('olora', 0, True)]
    """
    groups: dict[Lane, list[int]] = {}
    for lane in lanes:
        start = replace(lane, lr=Lane.lr, fair=False, label=None, seed=0)
        seeds = groups.setdefault(start, [])
        seeds += [] if lane.seed in seeds else [lane.seed]
    plain = next((start for start in groups if start.init == "lora"), None)
    if plain is None or len(groups) == 1:
        raise ValueError("fair rates need a plain LoRA lane and at least one other start")
    rate = reference_among(lanes).lr if tuned is None else tuned
    contenders: list[Lane] = []
    for start, seeds in {plain: groups[plain], **groups}.items():
        contenders += [replace(start, lr=rate, seed=seed) for seed in seeds]
        if start != plain:
            contenders += [replace(start, fair=True, seed=seed) for seed in seeds]
    if len(contenders) > most:
        raise ValueError(f"that makes {len(contenders)} lanes; a race takes at most {most}")
    return tuple(contenders)


def resolved(config: RaceConfig, rates: Iterable[float]) -> RaceConfig:
    """Return the set-up with fair rates replaced by numbers."""
    remaining = iter(rates)
    lanes = [replace(lane, lr=next(remaining), fair=False) if lane.fair else lane for lane in config.lanes]
    return replace(config, lanes=tuple(lanes))


def found_rates(config: RaceConfig, steps: Sequence[Step]) -> RaceConfig:
    """Return the set-up with the fair rates that its race used, once it has made a step."""
    if not steps or not any(lane.fair for lane in config.lanes):
        return config
    highest = np.max([step.lr for step in steps], 0).tolist()
    return resolved(config, [rate for lane, rate in zip(config.lanes, highest, strict=True) if lane.fair])


def _start(lane: Lane) -> Lane:
    """Return the fields that a lane's curvature at the start depends on."""
    keys = ("r", "alpha", "seed", "rslora", "targets", "rank_by", "dora")
    return Lane(lane.init, **{key: getattr(lane, key) for key in keys})
