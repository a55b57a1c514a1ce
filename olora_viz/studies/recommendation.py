"""One recommendation from the verdicts of a study: what to take, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.machine.text import compact, finite_or_none, nats, percent, signed
from olora_viz.studies.pairing import Comparison, interval_of_share
from olora_viz.studies.plan import beats_untrained
from olora_viz.studies.sentences import Basis, who_leads
from olora_viz.studies.statistics import BETTER, LEAST_SEEDS, LEVEL, UNDECIDED, WORSE, Interval, holm, t_interval
from olora_viz.studies.study import Cell, Trial
from olora_viz.studies.verdicts import Difference, Verdict, Verdicts, difference, order, runs_of, untrained, values_of

GUESSING = "No method {} better than guessing here: try more data, other rates or a larger model."
"""Said before what there is to take; "is clearly", where some are right more often in this test."""

UNTRAINED = (
    "Training does not help here yet, since no method is clearly better than the untrained model: try more steps, "
    "more time or other rates."
)
"""Said in its place, where that is so by the held-out loss at best rates."""


class RunnerUp(NamedTuple):
    """Of the methods and rates that are not taken, those with the lowest validation loss."""

    init: str
    lr: float
    valid_loss: float
    test_loss: float
    test_accuracy: float

    @property
    def name(self) -> str:
        """The method and its rate in words."""
        return f"{label_of(self.init)} at {compact(self.lr)}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        loss, right = finite_or_none(self.test_loss), finite_or_none(self.test_accuracy)
        return {"init": self.init, "lr": self.lr, "test_loss": loss, "test_accuracy": right}


@dataclass(frozen=True)
class Recommendation:
    """The method, rank and rate to take."""

    its: Verdict
    """The verdict on the method; for the reference, on itself."""
    headline: str
    """What to take."""
    why: str
    """What that rests on, in a few sentences."""
    verdict: str
    """``better`` than the reference; or the reference is taken, and all others are ``level`` or worse, or something is
    ``undecided``."""
    beats_guessing: bool | None = None
    """Whether it is right more often than a guess on other test examples and seeds too, by its 95% interval; None
    where answers are not scored."""
    runner_up: RunnerUp | None = None
    """None if nothing else has finished with every seed."""

    @property
    def sentence(self) -> str:
        """The whole recommendation."""
        return f"{self.headline} {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        one = self.its
        return {
            "init": one.init, "r": one.cell.r, "lr": one.best_lr,
            "test_loss": finite_or_none(one.test_loss),
            "test_accuracy": finite_or_none(one.test_accuracy),
            "difference": finite_or_none(one.interval.mean),
            "interval": [finite_or_none(end) for end in one.interval[1:3]],
            "over_rates": [finite_or_none(end) for end in one.difference.over_rates],
            "verdict": self.verdict, "beats_guessing": self.beats_guessing, "seeds": one.seeds,
            "valid_examples": one.valid_examples, "test_examples": one.test_examples,
            "runner_up": self.runner_up and self.runner_up.to_json(), "sentence": self.sentence,
        }  # fmt: skip


def recommend(found: Verdicts) -> Recommendation | None:
    """Return what to take; None if no method has a best rate yet.

    Of the methods that are better than the reference, the one with the lowest validation loss: the test has no part in
    the choice. If none is better, the reference. A larger rank is taken only if it is better than the smaller one. A
    method that may be guessing is passed over if another one is not.

    Args:
        found: of a study with one model and one task.
    """
    able = [one for one in found.each if beats_guessing(found, one)]
    cells = sorted(found.study.cells(), key=lambda cell: cell.r)
    picks = [pick for cell in cells if (pick := _of_cell(found, cell, able))]
    if not picks:
        return None
    taken = picks[0]
    gaps = [_gap(found, one, picks[0]) for one in picks[1:]]
    adjusted = holm([gap.interval.p_value for gap in gaps])
    for one, gap, p_value in zip(picks[1:], gaps, adjusted, strict=True):
        is_better = order(gap, p_value, one.margin, one.test_examples) == BETTER
        if is_better and one.valid_loss < taken.valid_loss:
            taken = one
    return _worded(found, taken)


def beats_guessing(found: Verdicts, one: Verdict) -> bool | None:
    """Return whether a method is right more often than a guess, see `Recommendation`."""
    base = untrained(found, one.cell)
    if base is None or base.guess is None or one.best_lr is None:
        return None
    right = _at_best(found, one, "test_accuracy")
    right = right[np.isfinite(right)]
    if not len(right):
        return None
    low, _ = interval_of_share(float(right.mean()), right, one.test_examples)
    return low > base.guess


def _of_cell(found: Verdicts, cell: Cell, able: Collection[Verdict]) -> Verdict | None:
    """Return the method to take in a cell.

    Args:
        able: the verdicts on methods that do better than guessing.
    """
    ended = [one for one in found.of(cell) if one.best_lr is not None]
    fit = [one for one in ended if any(one is each for each in able)] or ended
    if not fit:
        return None
    better = [one for one in fit if one.verdict == BETTER]
    reference = [one for one in fit if one.init == found.study.reference]
    return min(better or reference or fit, key=lambda one: one.valid_loss)


def _worded(found: Verdicts, one: Verdict) -> Recommendation:
    where = f"{label_of(one.init)} at {compact(one.best_lr or 0)}, rank {one.cell.r}"
    headline, why, verdict = _reason(found, one, where)
    beats, base = beats_guessing(found, one), untrained(found, one.cell)
    if beats is False and base is not None:
        shares = [each.test_accuracy for each in found.of(one.cell)]
        is_open = any(share > (base.guess or 0.0) for share in shares)
        does = "is clearly" if is_open else "does"
        headline = f"{GUESSING.format(does)} Until then, {where}."
        why = (
            f"{label_of(one.init)} is right in {percent(one.test_accuracy)} of the test examples, "
            f"where {base.guess_words} is right in {percent(base.guess or 0.0)}. {why}"
        )
    at_best = (
        [Trial(each.cell, each.init, each.best_lr or 0.0, seed) for seed in range(len(each.valid_losses))]
        for each in found.of(one.cell)
    )
    if not any(beats_untrained(found.rows, trials) for trials in at_best):
        headline = f"{UNTRAINED} Until then, {where}."
    runner_up = _runner_up(found, one)
    beside = f" {_beside(one, runner_up)}" if runner_up else ""
    return Recommendation(one, headline, f"{why}{beside}", verdict, beats, runner_up)


def _reason(found: Verdicts, one: Verdict, where: str) -> tuple[str, str, str]:
    """Return what to take, why, and the verdict."""
    study = found.study
    reference = next(each for each in found.of(one.cell) if each.init == study.reference)
    others = [each for each in found.of(one.cell) if each.init not in (one.init, study.reference)]
    if one.verdict == BETTER and one.init != study.reference:
        gap = _comparison(one, one.interval, one.p_value, one.verdict, one.seeds)
        against = _told(one, [reference], [gap], "Each at its best rate,")
        rivals = _rivals(found, one, [each for each in others if each.verdict == BETTER])
        return f"Take {where}.", f"{against}{_over_rates(one)}{rivals}", BETTER
    if one.init != study.reference:
        lost = "has diverged at every rate" if reference.best_lr is None else "may be guessing"
        why = f"{label_of(study.reference)} {lost}. {_loss(found, one)}"
        return f"Take {where}, for now.", why, UNDECIDED
    if one.seeds < LEAST_SEEDS:
        why = f"{_loss(found, one)} A verdict needs {LEAST_SEEDS} seeds."
        return f"Nothing is decided yet: take plain {where}, for now.", why, UNDECIDED
    known = [each for each in others if each.seeds >= LEAST_SEEDS]
    gaps = [_comparison(each, each.interval, each.p_value, each.verdict, each.seeds).reversed for each in known]
    why = _told(one, known, gaps, "Each at its best rate,") if known else _loss(found, one)
    left = [each for each in others if each.verdict == UNDECIDED]
    why += "".join(f" {label_of(each.init)} is undecided: {each.why}." for each in left)
    return f"Take plain {where}.", why, UNDECIDED if left else LEVEL


def _over_rates(one: Verdict) -> str:
    """Say how far the choice of the rates matters to a difference, if it does."""
    low, high = (signed(end, ".2f") for end in one.difference.over_rates)
    if low == high:
        return ""
    return (
        f" The interval is of these rates; over those that the {one.valid_examples} held-out "
        f"examples cannot tell from them the difference is {low} to {high} nats."
    )


def _loss(found: Verdicts, one: Verdict) -> str:
    """Say what the test loss of a method is."""
    interval = t_interval(_at_best(found, one, "test_loss"))
    half = interval.high - interval.mean
    spread = f" ± {half:.2g}, 95% over seeds" if math.isfinite(half) else ""
    basis = _basis(one, len(one.valid_losses))
    return f"{label_of(one.init)}'s test loss is {nats(one.test_loss)}{spread} ({basis})."


def _runner_up(found: Verdicts, one: Verdict) -> RunnerUp | None:
    """Return the best of the other methods and rates that have run with as many seeds."""
    best, lowest = None, math.inf
    accuracy = values_of(found.rows, "test_accuracy")
    for init in found.study.inits:
        for runs in runs_of(found.study, one.cell, init, found.rows).rates:
            loss, seeds = float(runs.valid.mean()), len(runs.valid)
            taken = (init, runs.lr) == (one.init, one.best_lr)
            if not taken and seeds >= len(one.valid_losses) and loss < lowest:
                trials = [Trial(one.cell, init, runs.lr, seed) for seed in range(seeds)]
                right = float(np.mean([accuracy[trial] for trial in trials]))
                best, lowest = RunnerUp(init, runs.lr, loss, float(runs.test.mean()), right), loss
    return best


def _beside(one: Verdict, other: RunnerUp) -> str:
    """Put the test results of what is taken beside those of the runner-up."""
    what = "has the lowest" if other.valid_loss < one.valid_loss else "is the runner-up by"
    mine, theirs = (
        f"{nats(each.test_loss)} nats"
        + f" and is right in {percent(each.test_accuracy)}" * math.isfinite(each.test_accuracy)
        for each in (one, other)
    )
    name = f"{label_of(one.init)} at {compact(one.best_lr or 0)}"
    return f"On the test {name} has {mine}; {other.name}, which {what} held-out loss, has {theirs}."


def _rivals(found: Verdicts, one: Verdict, better: Sequence[Verdict]) -> str:
    """Compare the method with those that are better than the reference as well."""
    if not better:
        return ""
    between = [_gap(found, one, each) for each in better]
    adjusted = holm([gap.interval.p_value for gap in between])
    gaps = [
        _comparison(one, gap.interval, p_value, order(gap, p_value, one.margin, one.test_examples), gap.seeds)
        for gap, p_value in zip(between, adjusted, strict=True)
    ]
    against = _told(one, better, gaps, "Of those that are better,")
    same = any(gap.in_these_runs == LEVEL for gap in gaps)
    return f" {against}{' Of those that are level, take the one you know.' * same}"


def _told(one: Verdict, others: Sequence[Verdict], gaps: Sequence[Comparison], where: str) -> str:
    """Say how a method stands to others by its test loss."""
    each = [one, *others]
    basis = _basis(one, min(gap.seeds for gap in gaps))
    names, losses = [label_of(its.init) for its in each], [its.test_loss for its in each]
    return str(who_leads(names, losses, gaps, basis, score="test loss", where=where))


def _basis(one: Verdict, seeds: int) -> Basis:
    chosen_on = one.valid_examples if len(one.rates_like) else 0
    return Basis(seeds, one.test_examples, part="test", chosen_on=chosen_on, study=True)


def _comparison(one: Verdict, gap: Interval, p_value: float, verdict: str, seeds: int) -> Comparison:
    """Return a verdict of the study as a comparison that comes to the same verdict.

    Args:
        verdict: undecided also where a best rate is not known.
    """
    return Comparison(
        gap.mean, gap.low, gap.high,
        p_value=p_value if verdict in (BETTER, WORSE) else 1.0,
        margin=one.margin if verdict == LEVEL else 0.0,
        shares=False, examples=one.test_examples, seeds=seeds,
    )  # fmt: skip


def _gap(found: Verdicts, one: Verdict, other: Verdict) -> Difference:
    """Return the difference of two methods, each at its best rate."""
    mine, theirs = (runs_of(found.study, each.cell, each.init, found.rows) for each in (one, other))
    return difference(mine, theirs)


def _at_best(found: Verdicts, one: Verdict, name: str) -> np.ndarray:
    """Return a column of the rows of a method at its best rate (seeds,)."""
    assert one.best_lr is not None
    values = values_of(found.rows, name)
    seeds = range(len(one.valid_losses))
    return np.array([values[Trial(one.cell, one.init, one.best_lr, seed)] for seed in seeds])
