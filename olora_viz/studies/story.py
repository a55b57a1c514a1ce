"""What a race tells of learning rates and conditioning, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.machine.text import compact, nats, percent, rounded
from olora_viz.measures.training import Examples
from olora_viz.races.step import Step, held_out_at_start
from olora_viz.studies.contest import Match, Told, compared, latest_examples, of_every_lane
from olora_viz.studies.fields import (
    Field,
    Place,
    Setting,
    differences,
    fields_of,
    group_places,
    metric_of,
    seed_groups,
    standings,
)
from olora_viz.studies.pairing import AHEAD, BEHIND, Comparison, Pairs, Scores, adjusted, compare_all
from olora_viz.studies.sentences import (
    Sentence,
    and_,
    at_setting,
    departures,
    is_guessing,
    listed,
    no_better_than_guessing,
    setting_of,
    times,
)
from olora_viz.studies.statistics import ERROR, LEVEL, LEVEL_WITHIN, MedianInterval, median_interval
from olora_viz.tasks.evaluation import HeldOut

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
        ends = [f"{end:.0f}" if math.isfinite(end) else "never" for end in (self.interval.low, self.interval.high)]
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


def rate_curves(lanes: Sequence[Lane], steps: Sequence[Step], measure: str = "final") -> tuple[Curve, ...]:
    """Return the curve of every start in every setting, in the race's order.

    Args:
        lanes: all lanes of the race.
        steps: the steps so far.
        measure: one of `MEASURES`.
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
        for label, lane, ((_, setting), rates) in zip(display_names(each), each, families.items(), strict=True)
    )


def steps_to_reach(lanes: Sequence[Lane], steps: Sequence[Step], start_loss: float | None = None) -> tuple[Reach, ...]:
    """Return when every start reached plain LoRA's final held-out loss at LoRA's best rate.

    Each seed is compared with LoRA's run of the same seed, and left out if there is none; so is a start without a
    plain LoRA lane in its setting. Each start uses the rate at which the median seed gets there first. This includes
    plain LoRA, which gets there at the last step at the latest.

    Args:
        lanes: of the race so far.
        steps: see `lanes`.
        start_loss: held-out loss of the base model, nats; None while unknown.
    """
    curves = rate_curves(lanes, steps)
    at = [step.step for step in steps if step.eval_loss is not None]
    held = _held_out(steps, len(lanes))
    if start_loss is not None and steps and steps[0].step == 1:
        first = held_out_at_start([lane.init for lane in lanes], start_loss)
        at, held = [0, *at], np.vstack([first, held])
    best = {c.setting: c.optimum for c in curves if c.lane.init == "lora" and c.optimum}
    return tuple(
        _reach(curve, target, lanes, at, held) for curve in curves if (target := best.get(curve.setting)) is not None
    )


def first_at(target: float, at: Sequence[int], losses: Sequence[float]) -> float | None:
    """Return when a loss first reached a target, by linear interpolation between evaluations.

    Args:
        target: nats.
        at: steps of the evaluations.
        losses: one each, nats; NaN where there is none.

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


def _reach(curve: Curve, reference: Point, lanes: Sequence[Lane], at: Sequence[int], held: np.ndarray) -> Reach:
    """Choose the rate that gets there first, or comes closest, among those without divergence."""
    targets = {lanes[k].seed: loss for k, loss in zip(reference.lanes, reference.losses, strict=True)}
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


def describe_rates(
    lanes: Sequence[Lane],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    ended: bool = True,
    guessing: bool = False,
) -> list[Sentence]:
    """Describe how the starts compare at their best rates, and name the rates that diverged.

    Args:
        lanes: of a race with results by example.
        steps: see `lanes`.
        plain_text: whether every token is judged, so that the loss decides; else accuracy does.
        ended: whether the last step is that of the race: if all starts are right nearly everywhere by then, the loss
            decides.
        guessing: whether no lane does better than guessing; the loss decides then at the end.
    """
    examples, said = latest_examples(steps), []
    if examples is not None:
        by_loss = metric_of(lanes, examples, plain_text=plain_text, ended=ended, guessing=guessing).by_loss
        fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
        told = compared(fields[:1], examples, by_loss=by_loss)
        every = None if fields else of_every_lane(lanes, examples, by_loss=by_loss)
        best = told[0].best if told else every
        said = told_of_match(best) if best and len(best.names) > 1 else []
    lost = [
        f"{curve.label} at {compact(point.lr)}"
        for curve in rate_curves(lanes, steps)
        for point in curve.points
        if point.diverged
    ]
    if lost:
        said = [*said, Sentence("", f"Diverged: {listed(lost)}.")]
    return said


def describe_reach(reach: Reach) -> tuple[str, str, str]:
    """Return a table row: the rate, the steps of the median seed, and their interval.

    Args:
        reach: when one start reached the target.
    """
    if reach.lr is None:
        return "–", "never", "a seed diverged at every rate"
    rate = compact(reach.lr)
    if not any(step is not None for step in reach.each):
        return rate, "never", f"reached {nats(reach.closest)}"
    return rate, "never" if reach.steps is None else f"{reach.steps:.0f}", reach.spread


MARGIN = math.log(LEVEL_WITHIN)
"""Condition numbers are about equal if the interval of their log ratio lies within this of zero."""


def compare_conditions(conditions: Float[np.ndarray, "K n"]) -> Pairs:
    """Compare the log condition numbers of every pair of lanes, paired by batch.

    A condition number is a ratio that does not depend on the scale of the loss, so logarithms are compared. Lanes with
    a condition number that is not finite are left out.
    """
    lanes = np.flatnonzero(np.isfinite(conditions).all(1))
    if not len(lanes):
        return {}
    every = compare_all([Scores(np.log(conditions[k])[None]) for k in lanes])
    (by_loss,) = adjusted([every])
    return {(int(lanes[i]), int(lanes[j])): replace(found, margin=MARGIN) for (i, j), found in by_loss.items()}


def compared_conditions(
    conditions: Float[np.ndarray, "K n"], lane: int, other: int, name: str, its_name: str
) -> Sentence:
    """Describe which of two lanes is better conditioned, if this holds over the batches.

    Args:
        conditions: of all lanes on every batch, see `Conditioning.conditions`.
        lane: the lanes to compare.
        other: see `lane`.
        name: their names.
        its_name: see `name`.
    """
    mine, theirs = conditions[lane], conditions[other]
    n = len(mine)
    found = compare_conditions(conditions).get((lane, other))
    if found is None:
        singular, values = (its_name, theirs) if np.isfinite(mine).all() else (name, mine)
        count = int((~np.isfinite(values)).sum())
        return Sentence(
            f"The tangent kernel of {singular} has no condition number:",
            f"on {count} of {n} batches its smallest eigenvalue is zero to rounding.",
        )
    values = f"{_range(mine)} against {_range(theirs)}"
    if n == 1:
        return Sentence(
            "One batch does not tell which is better conditioned:",
            f"there the condition number of {name}'s tangent kernel is {values} for {its_name}'s.",
        )
    lead = _LEADS.get(found.in_these_runs)
    number = f"over {n} batches the condition number of {name}'s tangent kernel"
    if lead:
        return Sentence(
            f"With this seed {name} is {lead} {its_name}:",
            f"{number} is {_ratio(found)} times {its_name}'s, with a median of {values}.",
        )
    lower = int((mine < theirs).sum())
    told = "differs by batch" if 0 < lower < n else f"is not decided by {n} batches"
    return Sentence(
        f"Which is better conditioned {told}:",
        f"{number} has a median of {values} for {its_name}'s; it is lower on {lower} of {n}.",
    )


_LEADS = {AHEAD: "better conditioned than", BEHIND: "worse conditioned than", LEVEL: "about as well conditioned as"}


def _ratio(found: Comparison) -> str:
    """Return the ratio of two condition numbers, with its 95% interval."""
    ratio, low, high = (math.exp(x) for x in (found.difference, found.low, found.high))
    return f"{ratio:.2g} (95% interval {low:.2g} to {high:.2g})"


def _range(values: np.ndarray) -> str:
    """Return the median of several values with their range, or the single one."""
    if len(values) == 1:
        return _figures(values[0])
    low, median, high = map(_figures, (values.min(), np.median(values), values.max()))
    return f"{median} ({low} to {high})"


def _figures(value: float) -> str:
    return compact(rounded(float(value), 3))


AT_LENGTH = 3
"""Most settings, such as ranks, of which the story compares the starts one by one."""

SAME_LOSS = 0.02
"""Losses of the first batch within this many nats come from the same function."""

SAME_NORM = 1.1
"""Gradient norms within this factor are about equally large."""


def tell(
    lanes: Sequence[Lane],
    names: Sequence[str],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
    ended: bool = False,
) -> list[Sentence]:
    """Return sentences on the results so far.

    Args:
        lanes: one each per lane, see `display_names`.
        names: see `lanes`.
        steps: what was measured so far, from the first step on.
        plain_text: see `metric_of`.
        ended: see `plain_text`.
    """
    examples = latest_examples(steps)
    rows = standings(steps, len(lanes))
    places = group_places(rows, seed_groups(lanes))
    metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, guessing=is_guessing(places, held_out))
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
    if examples is None:
        said = _without_examples(rows, names, steps)
    elif fields:
        shown = fields[:AT_LENGTH]
        at = [at_setting(field, lanes) for field in shown] if len(fields) > 1 else []
        found = compared(shown, examples, by_loss=metric.by_loss, at=at)
        said = [sentence for one in found for sentence in told_of(one)]
    else:
        said = _every_lane(lanes, examples, metric.by_loss)
    if metric.why and said:
        said.append(Sentence("", metric.why))
    if fields and len(fields) == 1:
        said = _scope(fields[0], lanes) * bool(said) + said + _first_gradients(fields[0], steps[0])
    return said + no_better_than_guessing(places, held_out) + departures(rows, names)


def _without_examples(rows: Sequence[Place], names: Sequence[str], steps: Sequence[Step]) -> list[Sentence]:
    """Report the start, or results that were not kept by example and cannot be compared."""
    known = [row for row in rows if math.isfinite(row.loss)]
    if not known:
        return _same_function(steps[0]) if steps else []
    each = [f"{names[row.lane]} {nats(row.loss)}" for row in sorted(known, key=lambda r: r.lane)]
    rest = f"The held-out loss is {listed(each)} nats. Results by example were not kept"
    return [Sentence("", f"{rest}, so the lanes are not compared.")]


def _same_function(first: Step) -> list[Sentence]:
    """Report the loss of the first batch before any update, the same in every lane."""
    losses = [float(loss) for loss in first.loss if math.isfinite(loss)]
    if not losses or max(losses) - min(losses) >= SAME_LOSS:
        return []
    rest = f"on the first batch the loss is {losses[0]:.2f} nats."
    return [Sentence("Before training, every lane answers exactly as the base model:", rest)]


def told_of(one: Told) -> list[Sentence]:
    """Tell of the starts of a field: at their best rates, and at those that the main two share."""
    main = [one.main.sentence] if one.main else []
    return told_of_match(one.best) + main + ([one.shared.sentence] if one.shared else [])


def told_of_match(match: Match) -> list[Sentence]:
    """Tell of a match, and of a best rate at the end of those tried."""
    return [match.statement.sentence, *match.turned, *match.few, *match.beyond]


def _every_lane(lanes: Sequence[Lane], examples: Examples, by_loss: bool) -> list[Sentence]:
    """Compare all lanes, of which no two starts may be compared; seeds are one contender."""
    match = of_every_lane(lanes, examples, by_loss=by_loss)
    if match is None:
        return []
    held = match.held
    if len(match.names) == 1:
        n = held.examples
        score = f"accuracy {percent(held.accuracy[0])}, " * (not by_loss)
        loss = f"{held.loss_name} {nats(held.loss[0])}"
        rest = f"{score}{loss} ({n} held-out example{'s' * (n > 1)})."
        return [Sentence(f"{match.names[0]}:", rest)]
    seeds = {tuple(sorted(lanes[k].seed for k in group.lanes)) for group in seed_groups(lanes)}
    apart = [what for what in differences(lanes) if what != "seed" or len(seeds) > 1]
    what = Sentence("", f"The lanes differ in {and_(apart)}.") if apart else None
    return [*told_of_match(match), *filter(None, [what])]


def _scope(field: Field, lanes: Sequence[Lane]) -> list[Sentence]:
    """Report which lanes are compared, if not all are."""
    if field.size == len(lanes):
        return []
    apart = and_(differences([lanes[k] for one in field.contenders for k in one.lanes]))
    named = and_(setting_of(field, lanes))
    rest = f"Compared here: the lanes with {named}, which differ only in {apart}."
    return [Sentence("", rest)]


def _first_gradients(field: Field, first: Step) -> list[Sentence]:
    """Compare the norms of the first gradients, which do not depend on the learning rate."""
    means = {init: float(first.grad_norm[field.lanes_of(init)].mean()) for init in field.roles}
    if not all(0 < mean < math.inf for mean in means.values()):
        return []
    small, large = sorted(means, key=lambda init: means[init])
    ratio = means[large] / means[small]
    much, little = label_of(large), label_of(small)
    if ratio < SAME_NORM:
        rest = f"The first gradients of {much} and {little} are about equally large."
        return [Sentence("", rest)]
    return [Sentence("", f"{much}'s first gradient is {times(ratio)} {little}'s.")]
