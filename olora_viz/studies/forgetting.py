"""What the methods of a study forget: at their best rates, at one rate, and at equal learning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from olora_viz.machine.tables import finite_or_none, number_or_nan
from olora_viz.machine.wording import and_, counted, nats, times
from olora_viz.studies.difference import Difference, MethodRuns, at_one_rate, between, difference, p_values_of
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import FORGOTTEN, NATS, Row, Rows, column, column_of_link, unit_of, values_of
from olora_viz.studies.search import best, grid_for, rates_tried
from olora_viz.studies.seed_variance import seed_variance
from olora_viz.studies.statistics import (
    BETTER,
    LEAST_SEEDS,
    LEVEL_LOG_RATIO,
    LEVEL_WITHIN,
    UNDECIDED,
    WORSE,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Candidate, Cell, Study, Trial

if TYPE_CHECKING:
    from olora_viz.studies.verdicts import Verdicts


class Ratio(NamedTuple):
    """How many times as far one drifts as another: a ratio of drifts, its 95% interval and p-value of a ratio of 1.

    >>> Ratio(1.7, 1.4, 2.1, 0.001, 5).clause, Ratio(1.7, 0.9, 3.2, 0.08, 5).clause
    ('drifts 1.7 times as far', '')
    """

    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    """The number of pairs."""
    survives: bool = True
    """Whether it lies on the same side of 1 at all rates that the results cannot tell from the best ones."""

    @property
    def is_level(self) -> bool:
        """Whether the interval lies within a factor of `LEVEL_WITHIN`, whether or not it contains 1."""
        return self.seeds >= LEAST_SEEDS and self.low > 1 / LEVEL_WITHIN and self.high < LEVEL_WITHIN

    @property
    def is_apart(self) -> bool:
        """Whether the interval excludes 1, is not level, and survives the choice of the rates."""
        return self.seeds >= LEAST_SEEDS and self.survives and not (self.is_level or self.low <= 1 <= self.high)

    @property
    def reversed(self) -> Ratio:
        """The ratio of the other to this one."""
        low, high = 1 / self.high, 1 / self.low if self.low else math.inf
        return Ratio(1 / self.value, low, high, self.p_value, self.seeds, self.survives)

    @property
    def clause(self) -> str:
        """What a verdict says of it last: empty where it is not decided, as with fewer seeds than `LEAST_SEEDS`."""
        if self.is_level:
            return "drifts as far"
        return f"drifts {times(self.value)} as far" if self.is_apart else ""


UNKNOWN_RATIO = Ratio(math.nan, 0.0, math.inf, 1.0, 0)
"""The ratio where nothing is known."""


Drifts = Sequence[float]
"""The drift of every seed of a method at a rate."""


def ratio_of(
    ours: Drifts,
    theirs: Drifts,
    like_ours: Sequence[Drifts] = (),
    like_theirs: Sequence[Drifts] = (),
    among: Sequence[Drifts] = (),
) -> Ratio:
    """Return the ratio of drifts, by Student's t over the logarithms, paired by seed.

    Args:
        ours, theirs: of the same seeds, as far as both have them. A pair counts if both are positive and finite: a
            lane that has diverged, or that has not moved, has no logarithm.
        like_ours, like_theirs: the same at all rates that may as well have been chosen: near its best rate a loss is
            flat, and the drift is not.
        among: of all methods that are compared, whose seeds help to tell how far drifts scatter, see `seed_variance`.

    >>> [round(x, 3) for x in ratio_of([2.0, 4.4, 3.6], [1.0, 2.0, 2.0])[:5]]
    [1.993, 1.553, 2.558, 0.007, 3]
    >>> ratio_of([2.0, 4.4, 3.6], [1.0, 2.0, 2.0], like_theirs=[[3.0, 5.0, 4.0]]).survives
    False
    """
    logs = _log_ratios(ours, theirs)
    if not logs.size:
        return UNKNOWN_RATIO
    between, every = (_logs(ours), _logs(theirs)), [_logs(drifts) for drifts in among]
    mean, low, high, p_value = t_interval(logs, seed_variance(logs, between, every))
    others = (_log_ratios(*pair) for pair in itertools.product([ours, *like_ours], [theirs, *like_theirs]))
    survives = all((other.mean() > 0) == (mean > 0) for other in others if other.size)
    return Ratio(math.exp(mean), math.exp(low), _exp(high), p_value, len(logs), survives)


def _log_ratios(ours: Drifts, theirs: Drifts) -> np.ndarray:
    pairs = ((a, b) for a, b in zip(ours, theirs, strict=False) if 0 < a < math.inf and 0 < b < math.inf)
    return np.array([math.log(a / b) for a, b in pairs])


def _logs(drifts: Drifts) -> np.ndarray:
    """Return the logarithm of each drift; NaN where it has none."""
    return np.array([math.log(drift) if 0 < drift < math.inf else math.nan for drift in drifts])


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def drift_at(target: float, lrs: Sequence[float], losses: Sequence[float], drifts: Sequence[float]) -> float:
    """Return the drift with which a method reaches a loss first, going up its learning rates.

    Loss and log drift are interpolated over the log rate by monotone cubics (Fritsch and Carlson 1980): between two
    rates neither leaves the range of its values there. Rates from the first one on that has diverged do not count.

    Args:
        lrs: the lowest first.
        losses, drifts: one each; NaN where a run has diverged.

    Returns:
        0 if the loss at the lowest rate is lower than the target: it is reached with less drift than was measured.
        Infinite if no rate reaches it. Nothing is extrapolated.

    >>> round(drift_at(1.0, [1e-3, 1e-2], [1.5, 0.5], [0.1, 10.0]), 6)
    1.0
    >>> drift_at(2.0, [1e-3, 1e-2], [1.5, 0.5], [0.1, 10.0]), drift_at(0.1, [1e-3, 1e-2], [1.5, 0.5], [0.1, 10.0])
    (0.0, inf)
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq

    known = [math.isfinite(loss) and 0 < drift < math.inf for loss, drift in zip(losses, drifts, strict=True)]
    count = known.index(False) if False in known else len(known)
    reached = next((i for i in range(count) if losses[i] <= target), None)
    if not count or reached is None:
        return math.inf
    if losses[reached] == target:
        return float(drifts[reached])
    if reached == 0:
        return 0.0
    at = np.log(lrs[:count])
    loss, log_drift = (PchipInterpolator(at, values) for values in (losses[:count], np.log(drifts[:count])))
    crossing = brentq(lambda x: float(loss(x)) - target, at[reached - 1], at[reached])
    return math.exp(float(log_drift(crossing)))


@dataclass(frozen=True)
class EqualLearning:
    """The drift that a method needs to learn as much as the reference does at its best rate, by seed."""

    cell: Cell
    method: str
    targets: tuple[float, ...]
    """The test loss to reach: the reference's, at its best rate and with the same seed, plus the margin of the
    study, within which it counts as level. At its very lowest loss a curve is flat, so that two equal methods would
    reach each other's by luck alone, and at any drift."""
    drifts: tuple[float, ...]
    """What it needs, see `drift_at`: 0 for less than at its lowest rate, infinite if it never gets there."""
    reference_drifts: tuple[float, ...]
    """What the reference needs itself."""
    unit: str = NATS
    """What the losses are, see `unit_of`."""

    @property
    def ratio(self) -> Ratio:
        """Its drift over the reference's; unknown if one of them is outside the rates tried with any seed.

        To leave out such seeds would keep the lucky ones.
        """
        if not self.targets or not all(0 < x < math.inf for x in (*self.drifts, *self.reference_drifts)):
            return UNKNOWN_RATIO
        return ratio_of(self.drifts, self.reference_drifts)

    @property
    def target(self) -> float:
        """The mean loss to reach; NaN if there is none."""
        return float(np.mean(self.targets)) if self.targets else math.nan

    @property
    def drift(self) -> float:
        """The geometric mean of what it needs; NaN outside the rates tried."""
        inside = [x for x in self.drifts if 0 < x < math.inf]
        return math.exp(float(np.mean(np.log(inside)))) if inside and len(inside) == len(self.drifts) else math.nan

    @property
    def outside(self) -> str:
        """Why there is no ratio, in words; empty if there is one."""
        if not self.targets:
            return "the reference has no best rate, or no seed has run at every rate"
        loss, seeds = f"{nats(self.target)} {self.unit}", counted(len(self.targets), "seed")
        for who, drifts in (("it", self.drifts), ("the reference", self.reference_drifts)):
            never, below = sum(x == math.inf for x in drifts), sum(x == 0 for x in drifts)
            if never:
                return f"{who} does not reach {loss} with {never} of {seeds}"
            if below:
                return f"{who} has reached {loss} at its lowest rate with {below} of {seeds}"
        return ""


def equal_learning(study: Study, cell: Cell, method: str, rows: Rows) -> EqualLearning:
    """Return the drift that a method needs to learn as much as the study's reference.

    Args:
        rows: of all finished trials; the seeds count that have run at every rate of the grid with both.
    """
    study = replace(study, compare=tuple(dict.fromkeys((*study.compare, method))))
    losses = values_of({trial: row for trial, row in rows.items() if trial.cell == cell}, "valid_loss")
    chosen = best(study, cell, study.reference, losses)
    nothing = EqualLearning(cell, method, (), (), ())
    if chosen is None:
        return nothing
    at_best = column(rows, study.trials(cell, study.reference, [chosen.at]), "test_loss")
    base = next(number_or_nan(row["base_test_loss"]) for trial, row in rows.items() if trial.cell == cell)
    margin = study.margin * max(0.0, base - float(np.mean(at_best)))
    tuned = {study.reference: chosen.at.tuned}
    if (ours := best(study, cell, method, losses)) is not None:
        tuned.setdefault(method, ours.at.tuned)
    tuned.setdefault(method, chosen.at.tuned)
    grids = {name: [at.lr for at in grid_for(study, cell, name, losses) if at.tuned == tuned[name]] for name in tuned}
    seeds = [
        seed
        for seed in range(study.seeds)
        if all(Trial(cell, name, lr, seed, tuned[name]) in rows for name, grid in grids.items() for lr in grid)
    ]
    targets = tuple(at_best[seed] + margin for seed in seeds)

    def needed_by(method: str) -> tuple[float, ...]:
        drifts = []
        for seed, target in zip(seeds, targets, strict=True):
            rates = rates_tried(study, cell, method, losses, tuned[method])
            trials = [Trial(cell, method, lr, seed, tuned[method]) for lr in rates]
            trials = [trial for trial in trials if trial in rows]
            of_seed = (column(rows, trials, name) for name in ("test_loss", "drift"))
            drifts.append(drift_at(target, [trial.lr for trial in trials], *of_seed))
        return tuple(drifts)

    if not all(map(math.isfinite, targets)):
        return nothing
    return EqualLearning(cell, method, targets, needed_by(method), needed_by(study.reference), unit_of(study))


@dataclass(frozen=True)
class Forgetting:
    """What a method forgets of a study's text to keep, against the reference."""

    base_text_loss: float
    """Loss of the base model on the text, nats per token."""
    text_loss: float
    """Mean loss over the seeds at the method's best rate; NaN if it has none, as `drift`."""
    drift: float
    """Mean KL(base‖lane) there, nats per token."""
    at_best: Ratio
    """Of the drifts, each method at its best rate."""
    at_shared: Ratio
    """Of the drifts at the rate that is best over all methods."""
    at_equal: EqualLearning

    @property
    def lost(self) -> float:
        """By how much the loss on the text has risen, nats per token."""
        return self.text_loss - self.base_text_loss

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        equal = self.at_equal
        ratios = {
            "drift_ratio": self.at_best, "drift_ratio_shared_rate": self.at_shared, "drift_ratio_equal": equal.ratio,
        }  # fmt: skip
        values: dict[str, Any] = {
            "text_loss": finite_or_none(self.text_loss), "text_loss_rise": finite_or_none(self.lost),
            "drift": finite_or_none(self.drift), "drift_ratio_survives": self.at_best.survives,
            "drift_equal": finite_or_none(equal.drift), "equal_test_loss": finite_or_none(equal.target),
            "why_no_equal": equal.outside,
        }  # fmt: skip
        for name, ratio in ratios.items():
            values[name] = finite_or_none(ratio.value)
            values[f"{name}_interval"] = [finite_or_none(ratio.low), finite_or_none(ratio.high)]
        return values


def forgetting(
    study: Study, cell: Cell, rows: Rows, runs: Mapping[str, MethodRuns], shared: Candidate | None
) -> dict[str, Forgetting]:
    """Return what each method of a cell forgets; nothing if the study has no text to keep, or before its first run.

    Args:
        runs: of each method.
        shared: a candidate that all share; None if there is none.
    """
    of_cell = (row for trial, row in rows.items() if trial.cell == cell)
    base = next((number_or_nan(row.get("base_text_loss")) for row in of_cell), math.nan)
    if not study.keeps_text or not math.isfinite(base):
        return {}
    trials = {method: of_method.trials(cell) for method, of_method in runs.items()}
    at_best = {method: column(rows, of_method, "drift") for method, of_method in trials.items()}
    like = {
        method: [
            column(rows, study.trials(cell, method, [of_rate.at], len(trials[method])), "drift")
            for of_rate in of_method.like_best
        ]
        for method, of_method in runs.items()
    }
    at_shared = {
        method: column(rows, study.trials(cell, method, [] if shared is None else [shared]), "drift")
        for method in trials
    }
    known = {}
    for method, of_method in trials.items():
        text_loss = column(rows, of_method, "text_loss")
        known[method] = Forgetting(
            base, float(np.mean(text_loss)) if text_loss else math.nan,
            float(np.mean(at_best[method])) if of_method else math.nan,
            ratio_of(
                at_best[method], at_best[study.reference], like[method], like[study.reference], list(at_best.values())
            ),
            ratio_of(at_shared[method], at_shared[study.reference], among=list(at_shared.values())),
            equal_learning(study, cell, method, rows),
        )  # fmt: skip
    return known


ONE_RATE, BEST_RATES, EQUAL_LEARNING = "at one rate", "at best rates", "at equal learning"
"""How methods are compared: all at the one rate that is best for all together, each at its best rate, and each where
it has learned as much as the reference at its best rate, see `EqualLearning`."""

WAYS = (ONE_RATE, BEST_RATES, EQUAL_LEARNING)

LEAST_DRIFT = 1e-9
"""Smaller drifts are rounding; nats per token."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The drift of one method beside the reference's in one cell, in one of the `WAYS`."""

    cell: Cell
    method: str
    way: str
    logs: Difference
    """Of the logarithms of the drifts, the reference's subtracted: by seed."""
    p_value: float
    """Adjusted over the methods (Holm), and over `DECIDING_LOOKS` if there were more seeds than planned."""
    why: str = ""
    """Why nothing can be decided, in words; empty if something can."""
    margin: float = LEVEL_LOG_RATIO
    """The largest difference of the logarithms that does not matter."""

    @property
    def verdict(self) -> str:
        """``better`` if it forgets less, ``worse``, ``level`` or ``undecided``.

        Drift grows about as the rate does, or faster, so that half a step between rates does more to it than the
        margin of level, which is that of all positive numbers. An order counts only if it survives the choice of the
        rates.
        """
        if self.why:
            return UNDECIDED
        word = verdict(self.logs.interval, self.p_value, self.margin, self.logs.seeds)
        return UNDECIDED if word in (BETTER, WORSE) and self.logs.turned_at else word

    @property
    def is_no_more(self) -> bool:
        """Whether its drift is at most `LEVEL_WITHIN` times the reference's, with the whole interval.

        As an order, it has to survive the choice of the rates, unless both are level.
        """
        interval, most = self.logs.interval, self.logs.over_rates[1]
        return (
            not self.why
            and interval.high < LEVEL_LOG_RATIO
            and (interval.low > -LEVEL_LOG_RATIO or most < LEVEL_LOG_RATIO)
        )


def compared(verdicts: Verdicts, inits: Sequence[str]) -> list[Compared]:
    """Compare what methods forget with what the reference forgets, in every cell that has run, and in every way."""
    found = []
    for cell in verdicts.study.cells():
        known = {each.method: each.forgotten for each in verdicts.of(cell) if each.method in inits and each.forgotten}
        equal = {init: forgotten.at_equal for init, forgotten in known.items()}
        found += _of_cell(verdicts, cell, verdicts.rows, equal, LEVEL_LOG_RATIO)
    return found


def compared_in_chains(verdicts: Verdicts, inits: Sequence[str]) -> list[Compared]:
    """Compare what methods forget of the earlier tasks of a chain, in every cell that is one and has run.

    What stands for the logarithm of the drift is the rise of the loss on the earlier tasks, nats a token. Two methods
    have learned as much where the losses on each link's own task, right after it, have the same mean.
    """
    rows: dict[Trial, Row] = {}
    for trial, row in verdicts.rows.items():
        columns = map(column_of_link, range(1, len(trial.cell.links) + 1))
        measures = row.get("measures") or {}
        learned = [number_or_nan(measures.get(name)) for name in columns]
        forgotten = math.exp(number_or_nan(measures.get(FORGOTTEN)))
        rows[trial] = {**row, "test_loss": float(np.mean(learned)), "drift": forgotten}
    found = []
    for cell in verdicts.study.cells():
        if len(cell.links) > 1 and verdicts.rows_of(cell):
            equal = {init: equal_learning(verdicts.study, cell, init, rows) for init in inits}
            found += _of_cell(verdicts, cell, rows, equal, max(each.margin for each in verdicts.of(cell)))
    return found


def _of_cell(
    verdicts: Verdicts, cell: Cell, rows: Rows, equal: Mapping[str, EqualLearning], margin: float
) -> Iterator[Compared]:
    if not equal:
        return
    study, of_cell, inits = verdicts.study, {each.method: each for each in verdicts.of(cell)}, list(equal)
    runs = {init: _log_drifts(verdicts, cell, init, rows) for init in study.compare}
    at_shared = {init: of.at(of_cell[study.reference].shared, study.seeds) for init, of in runs.items()}
    theirs, every = runs[study.reference], list(runs.values())
    ways: dict[str, dict[str, Difference]] = {
        ONE_RATE: {
            init: at_one_rate(at_shared[init], at_shared[study.reference], list(at_shared.values())) for init in inits
        },
        BEST_RATES: {init: difference(runs[init], theirs, every) for init in inits},
        EQUAL_LEARNING: {init: _at_equal(each) for init, each in equal.items()},
    }
    for way, by_init in ways.items():
        p_values = p_values_of(by_init, study.seeds)
        for init, logs in by_init.items():
            why = _outside(way, equal[init], runs[init], theirs)
            if not why and (logs.seeds < LEAST_SEEDS or not math.isfinite(logs.interval.mean)):
                why = f"{logs.seeds} of at least {LEAST_SEEDS} seeds {way}"
            yield Compared(cell, init, way, logs, p_values[init], why, margin)


def _outside(way: str, equal: EqualLearning, ours: MethodRuns, theirs: MethodRuns) -> str:
    """Say that a method lies outside the rates tried; empty if it does not."""
    if way == EQUAL_LEARNING and equal.outside:
        return f"{method_name(ours.method)}: {equal.outside}"
    at_edge = [method_name(runs.method) for runs in (ours, theirs) if runs.chosen and not runs.chosen.is_inside]
    return f"the best rate of {and_(at_edge)} lies at the edge" if way == BEST_RATES and at_edge else ""


def _log_drifts(verdicts: Verdicts, cell: Cell, init: str, rows: Rows) -> MethodRuns:
    """Return the runs of a method with the logarithm of the drift of each seed in place of its test losses."""
    runs = verdicts.runs[cell, init]

    def logs(at: Candidate, seeds: int) -> np.ndarray:
        drifts = column(rows, verdicts.study.trials(cell, init, [at], seeds), "drift")
        return np.log(np.maximum(drifts, LEAST_DRIFT))[:, None]

    return replace(runs, rates=tuple(replace(each, test=logs(each.at, len(each.valid))) for each in runs.rates))


def _at_equal(equal: EqualLearning) -> Difference:
    """Compare at equal learning, by the seeds of the two: methods that are outside the rates tried tell nothing."""
    if equal.outside:
        return between(np.empty((0, 1)), np.empty((0, 1)))
    ours, theirs = (np.log(drifts)[:, None] for drifts in (equal.drifts, equal.reference_drifts))
    return between(ours, theirs)
