"""A race as a sweep: held-out loss against the learning rate, and steps to reach plain LoRA's loss.

Lanes that differ only in rate and seed form one curve. A rate at which a seed diverged has no mean,
since a mean over the other seeds would be biased. It is marked as diverged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from olora_viz.lanes.labels import display_names
from olora_viz.lanes.lane import Lane
from olora_viz.races.step import Step, held_out_at_start
from olora_viz.studies.comparison import Setting
from olora_viz.studies.statistics import ERROR, MedianInterval, median_interval

MEASURES = ("final", "best")
"""Which held-out loss of a lane to use: that of the latest evaluation, or the lowest so far."""


@dataclass(frozen=True)
class Point:
    """One start at one rate, with all its seeds."""

    lr: float
    lanes: tuple[int, ...]
    """Indices of the lanes."""
    losses: tuple[float, ...]
    """Held-out loss of each, nats; NaN if it diverged or was not evaluated yet."""
    diverged: int
    """The number of diverged lanes."""

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN if one of them has no loss."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def known(self) -> tuple[float, ...]:
        """The finite losses."""
        return tuple(loss for loss in self.losses if math.isfinite(loss))


@dataclass(frozen=True)
class Curve:
    """One start in one setting, over its rates."""

    label: str
    """The display name, see `display_names`."""
    lane: Lane
    """A lane with the settings shared by all rates and seeds."""
    setting: Setting
    points: tuple[Point, ...]
    """The lowest rate first."""

    @property
    def optimum(self) -> Point | None:
        """The point with the lowest mean among those without a diverged seed, or None."""
        whole = [point for point in self.points if math.isfinite(point.mean)]
        return min(whole, key=lambda point: point.mean, default=None)

    @property
    def seeds(self) -> int:
        """The largest number of seeds at one rate."""
        return max(len(point.lanes) for point in self.points)


@dataclass(frozen=True)
class Reach:
    """When one start reached the final loss of plain LoRA, each seed that of LoRA's same seed."""

    curve: Curve
    target: float
    """Plain LoRA's final held-out loss at its best rate, mean over its seeds; nats."""
    lr: float | None
    """The rate that got there first; if none did, the closest one."""
    each: tuple[float | None, ...]
    """The step at which each seed that LoRA has got there, interpolated; None if it never did."""
    closest: float
    """The lowest mean held-out loss at that rate, nats."""

    @property
    def interval(self) -> MedianInterval | None:
        """The median over the seeds with its interval; infinite for never, None without seeds."""
        steps = np.array([math.inf if step is None else step for step in self.each])
        return median_interval(steps) if len(steps) else None

    @property
    def steps(self) -> float | None:
        """The step at which the median seed got there; None if it never did."""
        found = self.interval
        return found.median if found and math.isfinite(found.median) else None

    @property
    def spread(self) -> str:
        """The interval of the median in words, and what it is; empty with one seed.

        >>> Reach(None, 1.0, 1e-3, (28.0, 41.0, 34.0), 0.9).spread
        '28 to 41, range of 3 seeds'
        """
        if self.interval is None or len(self.each) < 2:
            return ""
        ends = [
            f"{end:.0f}" if math.isfinite(end) else "never"
            for end in (self.interval.low, self.interval.high)
        ]
        whole = self.interval.coverage < 1 - ERROR
        what = f"range of {len(self.each)} seeds" if whole else "95% interval"
        return f"{' to '.join(dict.fromkeys(ends))}, {what}"


def is_sweep(lanes: Sequence[Lane]) -> bool:
    """Whether lanes of one start differ in the rate or in the seed.

    >>> is_sweep([Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)])
    False
    >>> is_sweep([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3)])
    True
    """
    return any(len({(k.lr, k.seed) for k in family}) > 1 for family in _families(lanes).values())


def rate_curves(
    lanes: Sequence[Lane], steps: Sequence[Step], measure: str = "final"
) -> tuple[Curve, ...]:
    """Return the curve of every start in every setting, in the race's order.

    Parameters
    ----------
    lanes : all lanes of the race.
    steps : the steps so far.
    measure : one of `MEASURES`.
    """
    held = _held_out(steps, len(lanes))
    if measure == "best":
        found = np.array([np.nanmin([*column, math.inf]) for column in held.T])
    else:
        found = held[-1] if len(held) else np.full(len(lanes), math.nan)
    out = _out(steps, len(lanes))
    found = np.where(out | ~np.isfinite(found), math.nan, found)
    families: dict[tuple[str, Setting], dict[float, list[int]]] = {}
    for k, lane in enumerate(lanes):
        rates = families.setdefault((lane.init, Setting.of(lane)), {})
        rates.setdefault(lane.lr, []).append(k)
    each = [replace(lanes[next(iter(r.values()))[0]], lr=1.0, seed=0) for r in families.values()]
    return tuple(
        Curve(
            label,
            lane,
            setting,
            tuple(
                Point(lr, tuple(ks), tuple(float(found[k]) for k in ks), int(out[ks].sum()))
                for lr, ks in sorted(rates.items())
            ),
        )
        for label, lane, ((_, setting), rates) in zip(
            display_names(each), each, families.items(), strict=True
        )
    )


def steps_to_reach(
    lanes: Sequence[Lane], steps: Sequence[Step], start_loss: float | None = None
) -> tuple[Reach, ...]:
    """Return when every start reached plain LoRA's final held-out loss at LoRA's best rate.

    Each seed is compared with LoRA's run of the same seed, and left out if there is none; so is a
    start without a plain LoRA lane in its setting. Each start uses the rate at which the median
    seed gets there first. This includes plain LoRA, which gets there at the last step at the
    latest.

    Parameters
    ----------
    lanes, steps : of the race so far.
    start_loss : held-out loss of the base model, nats; None while unknown.
    """
    curves = rate_curves(lanes, steps)
    at = [step.step for step in steps if step.eval_loss is not None]
    held = _held_out(steps, len(lanes))
    if start_loss is not None and steps and steps[0].step == 1:
        first = held_out_at_start([lane.init for lane in lanes], start_loss)
        at, held = [0, *at], np.vstack([first, held])
    best = {c.setting: c.optimum for c in curves if c.lane.init == "lora" and c.optimum}
    return tuple(
        _reach(curve, target, lanes, at, held)
        for curve in curves
        if (target := best.get(curve.setting)) is not None
    )


def first_at(target: float, at: Sequence[int], losses: Sequence[float]) -> float | None:
    """Return when a loss first reached a target, by linear interpolation between evaluations.

    Parameters
    ----------
    target : nats.
    at : steps of the evaluations.
    losses : one each, nats; NaN where there is none.

    >>> first_at(1.5, [0, 10, 20], [4.0, 2.0, 1.0])
    15.0
    >>> first_at(0.5, [0, 10, 20], [4.0, 2.0, 1.0]) is None
    True
    """
    for i, loss in enumerate(losses):
        if not loss <= target:
            continue
        if i == 0 or not math.isfinite(losses[i - 1]):
            return float(at[i])
        above = losses[i - 1] - loss
        share = (losses[i - 1] - target) / above if above > 0 else 1.0
        return at[i - 1] + share * (at[i] - at[i - 1])
    return None


def _reach(
    curve: Curve, reference: Point, lanes: Sequence[Lane], at: Sequence[int], held: np.ndarray
) -> Reach:
    """Choose the rate that gets there first, or comes closest, among those without divergence."""
    targets = {
        lanes[k].seed: loss for k, loss in zip(reference.lanes, reference.losses, strict=True)
    }
    tried = []
    for point in curve.points:
        paired = [k for k in point.lanes if lanes[k].seed in targets]
        if point.diverged or not paired or not len(held):
            continue
        means = held[:, paired].mean(1)
        lowest = float(np.min(means, initial=math.inf, where=np.isfinite(means)))
        each = tuple(first_at(targets[lanes[k].seed], at, held[:, k].tolist()) for k in paired)
        tried.append(Reach(curve, reference.mean, point.lr, each, lowest))
    if not tried:
        return Reach(curve, reference.mean, None, (), math.nan)
    return min(tried, key=lambda r: (math.inf if r.steps is None else r.steps, r.closest))


def _families(lanes: Sequence[Lane]) -> dict[tuple[str, Setting], list[Lane]]:
    found: dict[tuple[str, Setting], list[Lane]] = {}
    for lane in lanes:
        found.setdefault((lane.init, Setting.of(lane)), []).append(lane)
    return found


def _held_out(steps: Sequence[Step], K: int) -> np.ndarray:
    """Return the held-out losses (E, K), NaN where there is none."""
    found = [step.eval_loss for step in steps if step.eval_loss is not None]
    return np.where(np.isfinite(found), found, math.nan) if found else np.empty((0, K))


def _out(steps: Sequence[Step], K: int) -> np.ndarray:
    """Return which lanes (K,) have diverged."""
    if not steps:
        return np.zeros(K, dtype=bool)
    return steps[-1].out
