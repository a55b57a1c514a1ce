"""The story of a race: its learning rates, the steps to LoRA's loss, its conditioning, in numbers and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.machine.wording import Sentence, and_, compact, nats, percent, rounded, times
from olora_viz.races.step import Step, held_out_losses
from olora_viz.studies.contest import (
    Contest,
    Field,
    Setting,
    contests_of,
    differences,
    fields_of,
    latest_examples,
    metric_of,
    seed_groups,
)
from olora_viz.studies.ranking import Place, standings
from olora_viz.studies.rewards import never_taught, stuck_lanes
from olora_viz.studies.sentences import at_best_rates, at_same_rates, departures, listed, setting_of
from olora_viz.studies.statistics import (
    AHEAD,
    BEHIND,
    ERROR,
    LEVEL,
    LEVEL_LOG_RATIO,
    MedianInterval,
    Pairs,
    Scores,
    adjusted,
    compare_all,
    first_at,
    median_interval,
)
from olora_viz.studies.verdict_line import by_loss_too
from olora_viz.tasks.evaluation import HeldOut

WHICH_RESULT = ("final", "best")
"""Which held-out loss of a lane to use: that of the latest evaluation, or the lowest so far."""


@dataclass(frozen=True)
class Point:
    """One start at one rate, with all its seeds."""

    lr: float
    lanes: tuple[int, ...]
    losses: tuple[float, ...]
    """Held-out loss of each, nats; NaN if it diverged or was not evaluated yet."""
    diverged: int

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN if one of them has no loss."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def known(self) -> tuple[float, ...]:
        """The finite losses."""
        return tuple(loss for loss in self.losses if math.isfinite(loss))


@dataclass(frozen=True)
class RateCurve:
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

    curve: RateCurve
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
        interval = self.interval
        return interval.median if interval and math.isfinite(interval.median) else None

    @property
    def spread(self) -> str:
        """The interval of the median in words, and what it is; empty with one seed.

        >>> Reach(None, 1.0, 1e-3, (28.0, 41.0, 34.0), 0.9).spread
        '28 to 41, range of 3 seeds'
        """
        interval = self.interval
        if interval is None or len(self.each) < 2:
            return ""
        ends = [f"{end:.0f}" if math.isfinite(end) else "never" for end in (interval.low, interval.high)]
        what = f"range of {len(self.each)} seeds" if interval.coverage < 1 - ERROR else "95% interval"
        return f"{' to '.join(dict.fromkeys(ends))}, {what}"


def is_sweep(lanes: Sequence[Lane]) -> bool:
    """Whether lanes of one start differ in the rate or in the seed.

    >>> is_sweep([Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)])
    False
    >>> is_sweep([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3)])
    True
    """
    runs = {(lane.init, Setting.of(lane), lane.lr, lane.seed) for lane in lanes}
    return len(runs) > len({(init, setting) for init, setting, _, _ in runs})


def rate_curves(lanes: Sequence[Lane], steps: Sequence[Step], measure: str = "final") -> tuple[RateCurve, ...]:
    """Return the curve of every start in every setting, in the race's order.

    Args:
        lanes: all lanes of the race.
        steps: the steps so far.
        measure: one of `WHICH_RESULT`.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("fair-rates")
        >>> for curve in ov.rate_curves(recording.config.lanes, recording.steps):
        ...     print(curve.label, curve.optimum.lr, curve.seeds)
        LoRA 0.01 3
        OLoRA 0.003 3
        PiSSA 0.003 3
    """
    _, evaluations = held_out_losses(lanes, steps)
    if measure == "best":
        losses = np.array([np.nanmin([*column, math.inf]) for column in evaluations.T])
    else:
        losses = evaluations[-1] if len(evaluations) else np.full(len(lanes), math.nan)
    out = steps[-1].out if steps else np.zeros(len(lanes), dtype=bool)
    return curves_of(lanes, losses, out)


def curves_of(
    lanes: Sequence[Lane], values: Float[np.ndarray, " K"], out: Bool[np.ndarray, " K"]
) -> tuple[RateCurve, ...]:
    """Return the curves of any result of the lanes; `out` are those that have diverged."""
    values = np.where(out | ~np.isfinite(values), math.nan, values)
    families: dict[tuple[str, Setting], dict[float, list[int]]] = {}
    for k, lane in enumerate(lanes):
        rates = families.setdefault((lane.init, Setting.of(lane)), {})
        rates.setdefault(lane.lr, []).append(k)
    shown = []
    for rates in families.values():
        family = [lanes[k] for ks in rates.values() for k in ks]
        names = {lane.label for lane in family}
        shown.append(replace(family[0], lr=1.0, seed=0, label=family[0].label if len(names) == 1 else None))
    curves = []
    for label, lane, ((_, setting), rates) in zip(display_names(shown), shown, families.items(), strict=True):
        points = [
            Point(lr, tuple(ks), tuple(values[ks].tolist()), int(out[ks].sum())) for lr, ks in sorted(rates.items())
        ]
        curves.append(RateCurve(label, lane, setting, tuple(points)))
    return tuple(curves)


def steps_to_reach(
    lanes: Sequence[Lane], steps: Sequence[Step], start_loss: float | None = None, rate: float | None = None
) -> tuple[Reach, ...]:
    """Return when every start reached plain LoRA's final held-out loss at LoRA's best rate.

    Each seed is compared with LoRA's run of the same seed, and left out if there is none; so is a start without a
    plain LoRA lane in its setting. Each start uses the rate at which the median seed gets there first. This includes
    plain LoRA, which gets there at the last step at the latest.

    Args:
        lanes, steps: of the race so far.
        start_loss: held-out loss of the base model, nats; None while unknown.
        rate: the only one that counts, of LoRA and of all starts; None for the best ones.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("fair-rates")
        >>> for reach in ov.steps_to_reach(recording.config.lanes, recording.steps):
        ...     print(reach.curve.label, reach.lr, reach.spread)
        LoRA 0.01 59 to 100, range of 3 seeds
        OLoRA 0.01 92 to never, range of 3 seeds
        PiSSA 0.003 64 to never, range of 3 seeds
    """
    every = rate_curves(lanes, steps)
    curves = [replace(c, points=tuple(p for p in c.points if rate in (None, p.lr))) for c in every]
    at, losses = held_out_losses(lanes, steps, start_loss)
    best = {c.setting: c.optimum for c in curves if c.lane.init == "lora" and c.optimum}
    return tuple(
        _reach(curve, target, lanes, at, losses) for curve in curves if (target := best.get(curve.setting)) is not None
    )


def _reach(curve: RateCurve, reference: Point, lanes: Sequence[Lane], at: Sequence[int], losses: np.ndarray) -> Reach:
    """Choose the rate that gets there first, or comes closest, among those without divergence."""
    targets = {lanes[k].seed: loss for k, loss in zip(reference.lanes, reference.losses, strict=True)}
    tried = []
    for point in curve.points:
        paired = [k for k in point.lanes if lanes[k].seed in targets]
        if point.diverged or not paired or not len(losses):
            continue
        means = losses[:, paired].mean(1)
        lowest = float(np.min(means, initial=math.inf, where=np.isfinite(means)))
        each = tuple(first_at(targets[lanes[k].seed], at, losses[:, k].tolist()) for k in paired)
        tried.append(Reach(curve, reference.mean, point.lr, each, lowest))
    if not tried:
        return Reach(curve, reference.mean, None, (), math.nan)
    return min(tried, key=lambda r: (math.inf if r.steps is None else r.steps, r.closest))


def describe_rates(
    lanes: Sequence[Lane],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    ended: bool = True,
    held_out: HeldOut | None = None,
) -> list[Sentence]:
    """Describe how the starts compare at their best rates, and name the rates that diverged.

    Args:
        lanes, steps: of a race with results by example.
        plain_text: whether every token is judged, so that the loss decides; else accuracy does.
        ended: whether the last step is that of the race: if all starts are right nearly everywhere by then, the loss
            decides.
        held_out: with what guessing gets: while no lane is clearly better, the loss decides; None if unknown.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("fair-rates")
        >>> for sentence in ov.describe_rates(recording.config.lanes, recording.steps):
        ...     print(sentence)  # doctest: +NORMALIZE_WHITESPACE
        Each at its best rate, PiSSA (3e-3) cannot be told apart from OLoRA (3e-3) and
        LoRA (1e-2) with so few seeds or examples: PiSSA (3e-3) 29%, OLoRA (3e-3) 29%, LoRA (1e-2) 23% of answers
        right (64 held-out examples, rates chosen on 32 and compared on the others; 3
        seeds).
    """
    examples, sentences = latest_examples(steps), []
    if examples is not None:
        metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, held_out=held_out)
        for contest in contests_of(lanes, examples, by_loss=metric.by_loss, most=1):
            sentences += at_best_rates(contest) if len(contest.names) > 1 else []
    curves = rate_curves(lanes, steps)
    lost = [f"{each.label} at {compact(point.lr)}" for each in curves for point in each.points if point.diverged]
    if lost:
        sentences.append(Sentence("", f"Diverged: {listed(lost)}."))
    return sentences


def describe_reach(reach: Reach) -> tuple[str, str, str]:
    """Return a table row: the rate, the steps of the median seed, and their interval.

    Args:
        reach: when one start reached the target.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("fair-rates")
        >>> for reach in ov.steps_to_reach(recording.config.lanes, recording.steps):
        ...     print(reach.curve.label, ov.describe_reach(reach))
        LoRA ('1e-2', '100', '59 to 100, range of 3 seeds')
        OLoRA ('1e-2', '93', '92 to never, range of 3 seeds')
        PiSSA ('3e-3', '85', '64 to never, range of 3 seeds')
    """
    if reach.lr is None:
        return "–", "never", "a seed diverged at every rate"
    rate = compact(reach.lr)
    if not any(step is not None for step in reach.each):
        return rate, "never", f"reached {nats(reach.closest)}"
    return rate, "never" if reach.steps is None else f"{reach.steps:.0f}", reach.spread


def compare_conditions(conditions: Float[np.ndarray, "K n"]) -> Pairs:
    """Compare the log condition numbers of every pair of lanes, paired by batch.

    A condition number is a ratio that does not depend on the scale of the loss, so logarithms are compared. Lanes with
    a condition number that is not finite are left out.
    """
    lanes = np.flatnonzero(np.isfinite(conditions).all(1))
    if not len(lanes):
        return {}
    (by_loss,) = adjusted([compare_all([Scores(np.log(conditions[k])[None]) for k in lanes])])
    return {(int(lanes[i]), int(lanes[j])): replace(pair, margin=LEVEL_LOG_RATIO) for (i, j), pair in by_loss.items()}


def compared_conditions(
    conditions: Float[np.ndarray, "K n"], lane: int, other: int, name: str, other_name: str
) -> Sentence:
    """Describe which of two lanes is better conditioned, if this holds over the batches.

    Args:
        conditions: of all lanes on every batch, see `Conditioning.conditions`.
    """
    ours, theirs = conditions[lane], conditions[other]
    n = len(ours)
    comparison = compare_conditions(conditions).get((lane, other))
    if comparison is None:
        singular, values = (other_name, theirs) if np.isfinite(ours).all() else (name, ours)
        count = int((~np.isfinite(values)).sum())
        return Sentence(
            f"The tangent kernel of {singular} has no condition number:",
            f"on {count} of {n} batches its smallest eigenvalue is zero to rounding.",
        )
    medians = f"{_range(ours)} against {_range(theirs)}"
    if n == 1:
        return Sentence(
            "One batch does not tell which is better conditioned:",
            f"there the condition number of {name}'s tangent kernel is {medians} for {other_name}'s.",
        )
    leads = {AHEAD: "better conditioned than", BEHIND: "worse conditioned than", LEVEL: "about as well conditioned as"}
    lead = leads.get(comparison.in_these_runs)
    number = f"over {n} batches the condition number of {name}'s tangent kernel"
    if lead:
        ratio, low, high = (math.exp(x) for x in (comparison.difference, comparison.low, comparison.high))
        ratio_words = f"{ratio:.2g} (95% interval {low:.2g} to {high:.2g})"
        return Sentence(
            f"With this seed {name} is {lead} {other_name}:",
            f"{number} is {ratio_words} times {other_name}'s on the same batch, in the geometric mean; the medians "
            f"are {medians}.",
        )
    lower = int((ours < theirs).sum())
    why = "differs by batch" if 0 < lower < n else f"is not decided by {n} batches"
    return Sentence(
        f"Which is better conditioned {why}:",
        f"{number} has a median of {medians} for {other_name}'s; it is lower on {lower} of {n}.",
    )


def _range(values: np.ndarray) -> str:
    """Return the median of several values with their range, or the single one."""
    low, median, high = (compact(rounded(float(x), 3)) for x in (values.min(), np.median(values), values.max()))
    return f"{median} ({low} to {high})" if len(values) > 1 else median


AT_LENGTH = 3
"""Most settings, such as ranks, of which the story compares the starts one by one."""

SAME_LOSS = 0.02
"""Losses of the first batch within this many nats come from the same function."""

SAME_NORM = 1.1
"""Gradient norms within this factor are about equally large."""


def story_of(
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
        lanes, names: one each per lane, see `display_names`.
        steps: what was measured so far, from the first step on.
        plain_text, held_out, ended: see `metric_of`.
    """
    examples = latest_examples(steps)
    rows, fields = standings(steps, len(lanes)), fields_of(lanes)
    metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, held_out=held_out)
    if examples is None:
        sentences = _without_examples(rows, names, steps)
    else:
        sentences = []
        for contest in contests_of(lanes, examples, by_loss=metric.by_loss, most=AT_LENGTH):
            sentences += _of_contest(contest, lanes, len(fields) > 1)
            sentences += [also.sentence for also in by_loss_too(contest, examples) if len(fields) < 2]
    if metric.why and sentences and not metric.unlearned:
        sentences.append(Sentence("", metric.why))
    if len(fields) == 1:
        scope = _scope(fields[0], lanes) if sentences else []
        sentences = [*scope, *sentences, *_first_gradients(fields[0], steps[0])]
    first = [lack] if (lack := never_taught(steps) or metric.unlearned) else []
    # What holds for several ranks, such as that there are few examples, is said once.
    return list(dict.fromkeys([*first, *sentences, *stuck_lanes(lanes, steps), *departures(rows, names)]))


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


def _of_contest(contest: Contest, lanes: Sequence[Lane], several: bool) -> list[Sentence]:
    """Report how the contenders compare: starts at their best rates and at shared ones, or all lanes.

    Args:
        several: whether the race has several fields.
    """
    if contest.field:
        at = f"with {and_(setting_of(contest.field, lanes))}" if several else ""
        return at_best_rates(contest, at) + at_same_rates(contest)
    if len(contest.names) == 1:
        n = contest.examples
        score = f"accuracy {percent(contest.accuracy[0])}, " * (not contest.by_loss)
        loss = f"held-out loss {nats(contest.loss[0])}"
        return [Sentence(f"{contest.names[0]}:", f"{score}{loss} ({n} held-out example{'s' * (n > 1)}).")]
    seeds = {tuple(sorted(lanes[k].seed for k in group.lanes)) for group in seed_groups(lanes)}
    apart = [what for what in differences(lanes) if what != "seed" or len(seeds) > 1]
    words = [Sentence("", f"The lanes differ in {and_(apart)}.")] if apart else []
    return at_best_rates(contest) + words


def _scope(field: Field, lanes: Sequence[Lane]) -> list[Sentence]:
    """Report which lanes are compared, if not all are."""
    if len(field.lanes) == len(lanes):
        return []
    apart, setting = and_(differences([lanes[k] for k in field.lanes])), setting_of(field, lanes)
    rest = f"Compared here: the lanes with {and_(setting)}, which differ only in {apart}."
    rest = rest if setting else "Of lanes that are equal in everything, one is compared."
    return [Sentence("", rest)]


def _first_gradients(field: Field, first: Step) -> list[Sentence]:
    """Compare the norms of the first gradients, which do not depend on the learning rate."""
    lanes = {init: [k for group in field.of(init) for k in group.lanes] for init in field.roles}
    means = {init: float(first.grad_norm[ks].mean()) for init, ks in lanes.items()}
    if not all(0 < mean < math.inf for mean in means.values()):
        return []
    small, large = sorted(means, key=lambda init: means[init])
    ratio = means[large] / means[small]
    much, little = label_of(large), label_of(small)
    if ratio < SAME_NORM:
        rest = f"The first gradients of {much} and {little} are about equally large."
        return [Sentence("", rest)]
    return [Sentence("", f"{much}'s first gradient is {times(ratio)} {little}'s.")]
