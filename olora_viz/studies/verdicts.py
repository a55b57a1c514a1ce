"""The verdicts of a study: methods at their best rates against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from olora_viz.machine.text import compact, finite_or_none
from olora_viz.races.state import DIVERGED
from olora_viz.studies.pairing import range_over_rates, rates_like, survives
from olora_viz.studies.plan import Chosen, best, grid_of, rates_tried, seeds_of, values_at
from olora_viz.studies.statistics import (
    BETTER,
    ERROR,
    LEAST_EXAMPLES,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    Interval,
    MedianInterval,
    choose,
    first_at,
    holm,
    median_interval,
    paired_interval,
    seeds_to_settle,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Cell, Study, Trial

if TYPE_CHECKING:
    import pandas as pd


Row = Mapping[str, Any]
"""The columns of `race_rows.COLUMNS` and `race_rows.BY_EXAMPLE` by name."""

NOTHING = Interval(math.nan, -math.inf, math.inf, 1.0)
"""The interval of a difference of which nothing is known."""


@dataclass(frozen=True, eq=False)
class RateRuns:
    """The seeds of a method at one rate; losses in nats, of a diverged run NaN."""

    lr: float
    valid: Float[np.ndarray, "k n"]
    """Losses on the validation examples."""
    test: Float[np.ndarray, "k m"]
    """Losses on the test examples."""


@dataclass(frozen=True, eq=False)
class MethodRuns:
    """The runs of one method in one cell, at all rates that were tried."""

    init: str
    chosen: Chosen | None
    """Its best rate by the mean validation loss; None if each has a diverged or missing run."""
    rates: tuple[RateRuns, ...]
    """With at least one seed; the lowest rate first."""

    @cached_property
    def at_best(self) -> RateRuns | None:
        """The runs at the best rate."""
        return next((one for one in self.rates if self.chosen and one.lr == self.chosen.lr), None)

    @cached_property
    def like_best(self) -> tuple[RateRuns, ...]:
        """The runs at the rates that the validation results cannot tell from the best one."""
        best_one = self.at_best
        if best_one is None:
            return ()
        held_out = [one.valid for one in self.rates]
        at = rates_like(held_out, self.rates.index(best_one))
        return tuple(self.rates[i] for i in at)

    @cached_property
    def chosen_without(self) -> Float[np.ndarray, "k m"]:
        """The test losses of each seed, at the rate that the other seeds choose."""
        seeds = self.chosen.seeds if self.chosen else 0
        if seeds < 2:
            return np.empty((0, 0))
        whole = [one for one in self.rates if len(one.valid) >= seeds and np.isfinite(one.valid).all()]
        rows = []
        for seed in range(seeds):
            others = [k for k in range(seeds) if k != seed]
            rate = min(whole, key=lambda one: one.valid[others].mean())
            rows.append(rate.test[seed])
        return np.array(rows)


@dataclass(frozen=True, eq=False)
class Difference:
    """The test loss of one method minus another's, each at its best rate; nats."""

    gap: Float[np.ndarray, "k m"]
    """Of every seed that both have finished, and every test example."""
    interval: Interval
    """Of its mean, for other seeds and examples: the union, with the larger p-value, of that at the best rates and
    that in which every seed has the rates that the other seeds choose. The first alone takes the rates for given,
    though the same seeds chose them, and is too narrow if one method varies more from run to run than the other: it
    has more luck to choose from."""
    over_rates: tuple[float, float]
    """The lowest and the highest mean difference over the pairs of rates that the validation results cannot tell from
    the best ones."""
    turned_at: tuple[float, float] | None
    """The rates of both at which the difference has another sign and is the largest; None if none has, so that it
    survives the choice of the rates."""

    @property
    def seeds(self) -> int:
        """The number of paired differences."""
        return len(self.gap)

    @property
    def by_seed(self) -> Float[np.ndarray, " k"]:
        """The mean difference of each seed."""
        return self.gap.mean(1) if self.gap.size else np.empty(0)


def runs_of(study: Study, cell: Cell, init: str, rows: Mapping[Trial, Row]) -> MethodRuns:
    """Return the runs of a method in a cell.

    Args:
        rows: of all finished trials.
    """
    losses = {trial: _loss(rows[trial], "valid") for trial in rows if trial.cell == cell}
    rates = []
    for lr in rates_tried(study, cell, init, losses):
        seeds = range(seeds_of(study, cell, init, lr, losses))
        of_rate = [rows[Trial(cell, init, lr, seed)] for seed in seeds]
        if of_rate:
            rates.append(RateRuns(lr, _by_example(of_rate, "valid"), _by_example(of_rate, "test")))
    return MethodRuns(init, best(study, cell, init, losses), tuple(rates))


def difference(ours: MethodRuns, theirs: MethodRuns) -> Difference:
    """Compare two methods, each at its best rate, on the test examples, paired by seed and example.

    If one of them has no best rate, nothing is known.
    """
    found = at_one_rate(ours, theirs)
    if not found.seeds:
        return found
    over_rates = range_over_rates([one.test for one in ours.like_best], [one.test for one in theirs.like_best])
    mean, turned = found.interval.mean, None
    if not survives(mean, over_rates):
        pairs = [(a, b) for a in ours.like_best for b in theirs.like_best]
        a, b = min(pairs, key=lambda pair: math.copysign(1.0, mean) * _gap(*pair).mean())
        turned = a.lr, b.lr
    return replace(found, interval=_with_choice(found.interval, ours, theirs), over_rates=over_rates, turned_at=turned)


def _with_choice(found: Interval, ours: MethodRuns, theirs: MethodRuns) -> Interval:
    """Widen an interval at best rates for their choice, see `Difference.interval`."""
    first, second = ours.chosen_without, theirs.chosen_without
    seeds = min(len(first), len(second))
    if seeds < 2:
        return found
    again = interval_of(first[:seeds] - second[:seeds])
    return Interval(
        found.mean, min(found.low, again.low), max(found.high, again.high), max(found.p_value, again.p_value)
    )


def at_one_rate(ours: MethodRuns, theirs: MethodRuns) -> Difference:
    """Compare two methods whose rates are given, so that no other rates matter."""
    first, second = ours.at_best, theirs.at_best
    gap = np.empty((0, 0)) if first is None or second is None else _gap(first, second)
    mean = float(gap.mean()) if gap.size else math.nan
    return Difference(gap, interval_of(gap), (mean, mean), None)


def interval_of(gap: Float[np.ndarray, "k ..."]) -> Interval:
    """Return the interval of a mean paired difference.

    Args:
        gap: by seed and example; or by seed alone (k,) or (k, 1), if there are no examples or their results were not
            kept.
    """
    if not gap.size:
        return NOTHING
    by_seed = gap.ndim == 1 or gap.shape[1] == 1
    return t_interval(gap.ravel()) if by_seed else paired_interval(gap)


def _gap(first: RateRuns, second: RateRuns) -> np.ndarray:
    """Return the paired differences of the seeds that both have finished (k, m)."""
    seeds = min(len(first.test), len(second.test))
    gap = first.test[:seeds] - second.test[:seeds]
    return gap[np.isfinite(gap).all(1)]


def _loss(row: Row, part: str) -> float:
    loss = row[f"{part}_loss"]
    return math.nan if row["status"] == DIVERGED or loss is None else float(loss)


def _by_example(rows: Sequence[Row], part: str) -> np.ndarray:
    """Return the losses of runs by example (k, n); their means (k, 1) where only these are kept."""
    kept = by_example(rows, f"{part}_loss_by_example")
    return np.array([[_loss(row, part)] for row in rows]) if kept is None else kept


def by_example(rows: Sequence[Row], name: str) -> np.ndarray | None:
    """Return a column of the runs' results by example (k, n), NaN where a run has diverged.

    None where earlier versions did not keep it.

    Args:
        name: one of `race_rows.BY_EXAMPLE`.
    """
    kept = [np.asarray(row.get(name, ()), dtype=float) for row in rows]
    if len(sizes := {len(each) for each in kept}) > 1 or sizes == {0}:
        return None
    diverged = np.array([row["status"] == DIVERGED for row in rows])
    return np.where(diverged[:, None], math.nan, np.array(kept))


@dataclass(frozen=True)
class Untrained:
    """Results on a cell's test examples that any method should exceed."""

    loss: float
    """Of the base model, nats."""
    accuracy: float
    """Of the base model; NaN if unknown."""
    guess: float | None
    """Accuracy of guessing without the prompt, see `HeldOut`; None where there is none."""
    guess_words: str
    """The guess: ``always “sad”`` or ``at random``."""


def untrained(found: Verdicts, cell: Cell) -> Untrained | None:
    """Return what a cell's methods are to exceed; None before its first test.

    Folders of earlier versions lack the base model's accuracy and the guess.
    """
    its = (row for trial, row in found.rows.items() if trial.cell == cell)
    row = next((row for row in its if math.isfinite(_number(row["base_test_loss"]))), None)
    if row is None:
        return None
    guess = _number(row.get("guess_test_accuracy"))
    return Untrained(
        loss=_number(row["base_test_loss"]),
        accuracy=_number(row.get("base_test_accuracy")),
        guess=guess if guess > 0 else None,
        guess_words=str(row.get("guess", "")),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


LOOKS = 2
"""A method with more seeds than the study has was looked at before: its p-value is multiplied by this (Bonferroni)."""


@dataclass(frozen=True)
class Verdict:
    """One method of a cell against the reference; losses are means over the seeds, in nats."""

    cell: Cell
    init: str
    best_lr: float | None
    """Chosen by the mean validation loss; None if each rate has a diverged or missing run."""
    rates_like: tuple[float, ...]
    """The rates that the validation results cannot tell from the best one, itself included."""
    valid_losses: tuple[float, ...]
    """The validation loss of each seed at the best rate."""
    test_loss: float
    test_accuracy: float
    difference: Difference
    """Test loss minus the reference's, each method at its best rate; negative is better."""
    p_value: float
    """Adjusted over the methods of the cell (Holm), and over `LOOKS` if there were more seeds than planned."""
    margin: float
    """Differences within it do not matter; nats."""
    verdict: str
    """better, worse, level or undecided."""
    why: str
    """Why it is undecided, in words."""
    shared_lr: float | None
    """The one rate of the grid with the lowest validation loss over all methods."""
    verdict_shared_rate: str
    """The verdict with all methods at that rate."""
    reached_at: tuple[float, ...]
    """The step at which each seed, at the best rate, reached the final validation loss of the reference's run of that
    seed, at its best rate; infinite if it never did."""
    valid_examples: int
    """Number of validation examples, on which the rates are chosen."""
    test_examples: int
    """Number of test examples, on which the methods are compared."""

    @property
    def interval(self) -> Interval:
        """The 95% interval of the difference, see `Difference.interval`; not adjusted for several methods.
        ``difference.over_rates`` has how far the choice of the rates may matter.
        """
        return self.difference.interval

    @property
    def seeds(self) -> int:
        """The number of paired differences."""
        return self.difference.seeds

    @property
    def valid_loss(self) -> float:
        """The mean validation loss at the best rate."""
        return float(np.mean(self.valid_losses)) if self.valid_losses else math.nan

    @property
    def steps_to_reference(self) -> MedianInterval | None:
        """The median step at which the seeds reached the reference, and its interval."""
        return median_interval(np.array(self.reached_at)) if self.reached_at else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        reached = self.steps_to_reference
        return {
            "model": self.cell.model, "task": self.cell.task, "r": self.cell.r, "init": self.init,
            "best_lr": self.best_lr, "rates_like": list(self.rates_like),
            "valid_loss": finite_or_none(self.valid_loss),
            "test_loss": finite_or_none(self.test_loss),
            "test_accuracy": finite_or_none(self.test_accuracy),
            "difference": finite_or_none(self.interval.mean),
            "interval": [finite_or_none(end) for end in self.interval[1:3]],
            "over_rates": [finite_or_none(end) for end in self.difference.over_rates],
            "p_value": finite_or_none(self.p_value), "margin": finite_or_none(self.margin),
            "verdict": self.verdict, "why": self.why, "shared_lr": self.shared_lr,
            "verdict_shared_rate": self.verdict_shared_rate,
            "steps_to_reference": reached and finite_or_none(reached.median),
            "steps_interval": reached and [finite_or_none(end) for end in reached[1:3]],
            "seeds": self.seeds, "valid_examples": self.valid_examples,
            "test_examples": self.test_examples,
        }  # fmt: skip


@dataclass(frozen=True)
class Verdicts:
    """What a study decides, one entry per cell and method; made by ``ov.verdicts(folder)``."""

    study: Study
    each: tuple[Verdict, ...]
    rows: Mapping[Trial, Row] = field(repr=False, compare=False)
    """Of all finished trials, on which the verdicts rest."""
    folder: Path | None = field(default=None, compare=False)
    """Of the study; None if the rows did not come from one."""

    def of(self, cell: Cell) -> list[Verdict]:
        """Return the entries of one cell."""
        return [one for one in self.each if one.cell == cell]

    def test_examples(self, cell: Cell | None = None) -> int:
        """Return the number of test examples of a cell, or the largest of all; 0 before the end."""
        its = (row for trial, row in self.rows.items() if cell in (None, trial.cell))
        return max((int(row["test_examples"]) for row in its), default=0)

    def table(self) -> pd.DataFrame:
        """Return the entries as a table, with the columns of `Verdict.to_json`."""
        import pandas as pd

        return pd.DataFrame([one.to_json() for one in self.each])


def verdicts_of(study: Study, rows: Mapping[Trial, Row]) -> Verdicts:
    """Return the verdict on every method in every cell, the reference included.

    Rates are chosen on validation losses, and compared on test losses, see `method_runs`. The differences are paired
    by seed, whose runs share their batches, and by example. An order counts only if it survives the choice of the
    rates, see `survival`.

    Args:
        rows: of all finished trials.
    """
    each = (one for cell in study.cells() for one in _of_cell(study, cell, rows))
    return Verdicts(study, tuple(each), rows)


def values_of(rows: Mapping[Trial, Row], name: str) -> dict[Trial, float]:
    """Return one column of the trials' rows; NaN where a run diverged or there is no value."""
    return {
        trial: math.nan if row["status"] == DIVERGED or row[name] is None else float(row[name])
        for trial, row in rows.items()
    }


def margin_of(study: Study, cell: Cell, rows: Mapping[Trial, Row], reference: float) -> float:
    """Return the largest difference in test loss that does not matter in a cell; nats.

    Args:
        reference: the test loss of the reference.
    """
    base = [row["base_test_loss"] for trial, row in rows.items() if trial.cell == cell]
    return study.margin * (base[0] - reference) if base else math.nan


def order(found: Difference, p_value: float, margin: float, test_examples: int) -> str:
    """Return the verdict on a difference: ``better``, ``worse``, ``level`` or ``undecided``.

    It is level if its interval lies within the margin, which asks nothing of other rates.

    Args:
        p_value: adjusted for the other comparisons that are made with this one.
    """
    if test_examples < LEAST_EXAMPLES:
        return UNDECIDED
    said = verdict(found.interval, p_value, margin, found.seeds)
    return UNDECIDED if said in (BETTER, WORSE) and found.turned_at else said


def _of_cell(study: Study, cell: Cell, rows: Mapping[Trial, Row]) -> Iterator[Verdict]:
    valid, accuracy = values_of(rows, "valid_loss"), values_of(rows, "test_accuracy")
    runs = {init: runs_of(study, cell, init, rows) for init in study.inits}
    theirs, shared = runs[study.reference], _shared(study, cell, valid)
    margin = margin_of(study, cell, rows, _test_loss(theirs.at_best))
    gaps = {init: at_one_rate(one, one) if one is theirs else difference(one, theirs) for init, one in runs.items()}
    p_values = _adjusted(study, {init: gap.interval for init, gap in gaps.items()})
    for init, gap in gaps.items():
        if gap.seeds > study.seeds:
            p_values[init] = min(1.0, LOOKS * p_values[init])
    of_cell = [row for trial, row in rows.items() if trial.cell == cell]
    sizes = {part: max((int(row[f"{part}_examples"]) for row in of_cell), default=0) for part in ("valid", "test")}
    at_shared = _at_shared(study, cell, runs, shared, margin, sizes["test"])
    targets = [valid[trial] for trial in _at_best(cell, theirs)]
    for init, one in runs.items():
        if init == study.reference:
            said, why = LEVEL if gaps[init].seeds else UNDECIDED, ""
        else:
            said, why = _explained(study, one, theirs, gaps[init], p_values[init], margin, sizes)
        trials = _at_best(cell, one)
        reached = (reached_at(rows[t], loss) for t, loss in zip(trials, targets, strict=False))
        yield Verdict(
            cell=cell, init=init, best_lr=one.chosen.lr if one.chosen else None,
            rates_like=tuple(each.lr for each in one.like_best),
            valid_losses=tuple(valid[t] for t in trials), test_loss=_test_loss(one.at_best),
            test_accuracy=float(np.mean([accuracy[t] for t in trials])) if trials else math.nan,
            difference=gaps[init], p_value=p_values[init], margin=margin, verdict=said, why=why,
            shared_lr=shared, verdict_shared_rate=at_shared[init], reached_at=tuple(reached),
            valid_examples=sizes["valid"], test_examples=sizes["test"],
        )  # fmt: skip


def _adjusted(study: Study, intervals: Mapping[str, Interval]) -> dict[str, float]:
    """Return Holm's p-values of all methods against the reference; 1 for itself."""
    others = [init for init in study.inits if init != study.reference]
    adjusted = holm([intervals[init].p_value for init in others])
    return {study.reference: 1.0, **dict(zip(others, adjusted, strict=True))}


def _at_shared(
    study: Study, cell: Cell, runs: Mapping[str, MethodRuns], lr: float | None, margin: float, test_examples: int
) -> dict[str, str]:
    """Return the verdicts with all methods at one rate."""
    at = {
        init: replace(one, chosen=None if lr is None else Chosen(lr, True, study.seeds)) for init, one in runs.items()
    }
    gaps = {init: at_one_rate(one, at[study.reference]) for init, one in at.items()}
    p_values = _adjusted(study, {init: gap.interval for init, gap in gaps.items()})
    return {
        init: (LEVEL if gap.seeds else UNDECIDED)
        if init == study.reference
        else order(gap, p_values[init], margin, test_examples)
        for init, gap in gaps.items()
    }


def _explained(
    study: Study, one: MethodRuns, theirs: MethodRuns, found: Difference, p_value: float,
    margin: float, sizes: Mapping[str, int],
) -> tuple[str, str]:  # fmt: skip
    """Return the verdict, undecided where a best rate is not known, and the reason."""
    if not found.seeds:
        return UNDECIDED, "at every rate a run of it or of the reference has diverged"
    outside = [each.init for each in (one, theirs) if each.chosen and not each.chosen.is_inside]
    if outside:
        whose = " and ".join(outside)
        return UNDECIDED, f"the best rate of {whose} lies at the edge of the rates tried"
    if found.seeds < LEAST_SEEDS:
        return UNDECIDED, f"{found.seeds} of at least {LEAST_SEEDS} seeds"
    if sizes["test"] < LEAST_EXAMPLES:
        return UNDECIDED, f"{sizes['test']} of at least {LEAST_EXAMPLES} test examples"
    said = order(found, p_value, margin, sizes["test"])
    if said != UNDECIDED:
        return said, ""
    if p_value < ERROR and found.turned_at:
        mine, other = map(compact, found.turned_at)
        return said, (
            f"the order turns with {one.init} at {mine} and {theirs.init} at {other}, which the "
            f"{sizes['valid']} validation examples cannot tell from the best rates"
        )
    needed = seeds_to_settle(found.gap, margin, len(study.inits) - 1)
    if needed:
        return said, f"about {needed} seeds would settle it"
    return said, "more seeds would not help; more test examples may"


def _shared(study: Study, cell: Cell, valid: Mapping[Trial, float]) -> float | None:
    """Return the rate of the grid with the lowest mean validation loss over all methods.

    A method that diverges at every rate is ignored.
    """
    grid = grid_of(study, cell, valid)
    each = [values_at(study, cell, init, grid, valid) for init in study.inits]
    whole = [values for values in each if choose(values) is not None]
    at = choose(np.hstack(whole)) if whole else None
    return None if at is None else grid[at]


def _at_best(cell: Cell, one: MethodRuns) -> list[Trial]:
    """Return the trials of a method at its best rate; none if it has no best rate."""
    if one.chosen is None:
        return []
    return [Trial(cell, one.init, one.chosen.lr, seed) for seed in range(one.chosen.seeds)]


def _test_loss(runs: RateRuns | None) -> float:
    return float(runs.test.mean()) if runs else math.nan


def reached_at(row: Row, target: float) -> float:
    """Return the step at which a run reached a validation loss; infinite if it never did."""
    at = [0, *(int(step) for step in row["evaluated"])]
    losses = [float(row["base_valid_loss"]), *(float(x) for x in row["valid_losses"])]
    step = first_at(target, at, losses)
    return math.inf if step is None else step
