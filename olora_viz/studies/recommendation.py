"""One recommendation from the verdicts of a study: what to take, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.machine.numbers import compact, finite_or_none, nats, percent
from olora_viz.studies.decision import Comparison, interval_of_share
from olora_viz.studies.planning import values_at
from olora_viz.studies.statistics import (
    BETTER,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    Interval,
    holm,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Cell
from olora_viz.studies.untrained import untrained
from olora_viz.studies.verdicts import Verdict, Verdicts, values_of
from olora_viz.studies.who_leads import Basis, who_leads


@dataclass(frozen=True)
class Recommendation:
    """The method, rank and rate to take."""

    its: Verdict
    """The verdict on the method; for the reference, on itself."""
    half_width: float
    """Of the 95% interval of its test loss over the seeds; nats, infinite for one seed."""
    headline: str
    """What to take."""
    why: str
    """What that rests on, in a sentence or two."""
    verdict: str
    """``better`` than the reference; or the reference is taken, and all others are ``level`` or
    worse, or something is ``undecided``."""
    beats_guessing: bool | None = None
    """Whether it is right more often than a guess on other test examples and seeds too, by its 95%
    interval; None where answers are not scored."""

    @property
    def sentence(self) -> str:
        """The whole recommendation."""
        return f"{self.headline} {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        low, high = finite_or_none(self.its.interval.low), finite_or_none(self.its.interval.high)
        return {
            "init": self.its.init, "r": self.its.cell.r, "lr": self.its.best_lr,
            "test_loss": finite_or_none(self.its.test_loss),
            "test_accuracy": finite_or_none(self.its.test_accuracy),
            "difference": finite_or_none(self.its.interval.mean), "interval": [low, high],
            "verdict": self.verdict, "beats_guessing": self.beats_guessing,
            "seeds": self.its.seeds, "sentence": self.sentence,
        }  # fmt: skip


def recommend(found: Verdicts) -> Recommendation | None:
    """Return what to take; None if no method has a best rate yet.

    Of the methods that are better than the reference, the one with the lowest validation loss: the
    test has no part in the choice. If none is better, the reference. A larger rank is taken only if
    it is better than the smaller one.

    Parameters
    ----------
    found : of a study with one model and one task.
    """
    cells = sorted(found.study.cells(), key=lambda cell: cell.r)
    picks = [pick for cell in cells if (pick := _of_cell(found, cell))]
    if not picks:
        return None
    taken = picks[0]
    gaps = [_gap(found, one, picks[0]) for one in picks[1:]]
    adjusted = holm([t_interval(gap).p_value if len(gap) else 1.0 for gap in gaps])
    for one, gap, p_value in zip(picks[1:], gaps, adjusted, strict=True):
        if _verdict(gap, p_value, one.margin) == BETTER and one.valid_loss < taken.valid_loss:
            taken = one
    return _against_guessing(found, _worded(found, taken))


def _of_cell(found: Verdicts, cell: Cell) -> Verdict | None:
    """Return the method to take in a cell."""
    its = [one for one in found.of(cell) if one.best_lr is not None]
    if not its:
        return None
    better = [one for one in its if one.verdict == BETTER]
    reference = [one for one in its if one.init == found.study.reference]
    return min(better or reference or its, key=lambda one: one.valid_loss)


def _worded(found: Verdicts, one: Verdict) -> Recommendation:
    study, name = found.study, label_of(one.init)
    losses = _losses(found, one)
    interval, seeds = t_interval(losses), int(np.isfinite(losses).sum())
    half = interval.high - interval.mean
    where = f"{name} at {compact(one.best_lr or 0)}, rank {one.cell.r}"
    spread = f" ± {half:.2g}" if math.isfinite(half) else ""
    loss = f"test loss is {nats(one.test_loss)}{spread} ({_basis(found, one, seeds)})"
    others = [each for each in found.of(one.cell) if each.init not in (one.init, study.reference)]
    if one.verdict == BETTER and one.init != study.reference:
        reference = next(each for each in found.of(one.cell) if each.init == study.reference)
        gap = _comparison(found, one, one.interval, one.p_value, one.verdict)
        said = _told(found, one, [reference], [gap], "Each at its best rate,")
        rivals = _rivals(found, one, [each for each in others if each.verdict == BETTER])
        return Recommendation(one, half, f"Take {where}.", f"{said}{rivals}", BETTER)
    if one.init != study.reference:
        said = f"{label_of(study.reference)} has diverged at every rate. {name}'s {loss}."
        return Recommendation(one, half, f"Take {where}, for now.", said, UNDECIDED)
    if one.seeds < LEAST_SEEDS:
        said = f"Its {loss}; a verdict needs {LEAST_SEEDS} seeds.{_best_so_far(found, one)}"
        headline = f"Nothing is decided yet: take plain {where}, for now."
        return Recommendation(one, half, headline, said, UNDECIDED)
    known = [each for each in others if each.seeds >= LEAST_SEEDS]
    gaps = [
        _comparison(found, each, each.interval, each.p_value, each.verdict).reversed
        for each in known
    ]
    told = _told(found, one, known, gaps, "Each at its best rate,") if known else f"Its {loss}."
    open_ = [each for each in others if each.verdict == UNDECIDED]
    why = "".join(f" {label_of(each.init)} is undecided: {each.why}." for each in open_)
    its = UNDECIDED if open_ else LEVEL
    return Recommendation(one, half, f"Take plain {where}.", f"{told}{why}", its)


def _against_guessing(found: Verdicts, made: Recommendation) -> Recommendation:
    """Compare the method's right answers with those of a guess, and say so if that is no more."""
    one, its = made.its, untrained(found, made.its.cell)
    by_seed = _values(found, one, "test_accuracy")
    by_seed = by_seed[np.isfinite(by_seed)]
    if its is None or its.guess is None or not len(by_seed):
        return made
    share = float(by_seed.mean())
    low, _ = interval_of_share(share, by_seed, found.test_examples(one.cell))
    if low > its.guess:
        return replace(made, beats_guessing=True)
    word = "clearly better" if share > its.guess else "better"
    said = (
        f"{label_of(one.init)} is not {word} than guessing: right in {percent(share)} of the test "
        f"examples, where {its.guess_words} is right in {percent(its.guess)}."
    )
    return replace(made, why=f"{made.why} {said}", beats_guessing=False)


def _best_so_far(found: Verdicts, one: Verdict) -> str:
    """Name the test loss of the method with the lowest validation loss, if it is another one."""
    its = [each for each in found.of(one.cell) if math.isfinite(each.test_loss)]
    best = min(its, key=lambda each: each.valid_loss, default=one)
    if best.init == one.init:
        return ""
    return (
        f" {label_of(best.init)} at {compact(best.best_lr or 0)} has {nats(best.test_loss)} so far."
    )


def _rivals(found: Verdicts, one: Verdict, better: Sequence[Verdict]) -> str:
    """Compare the method with those that are better than the reference as well."""
    if not better:
        return ""
    found_gaps = [_gap(found, one, each) for each in better]
    adjusted = holm([t_interval(gap).p_value for gap in found_gaps])
    gaps = []
    for gap, p_value in zip(found_gaps, adjusted, strict=True):
        its = _verdict(gap, p_value, one.margin)
        gaps.append(_comparison(found, one, t_interval(gap), p_value, its, len(gap)))
    told = _told(found, one, better, gaps, "Of those that are better,")
    same = any(gap.in_these_runs == LEVEL for gap in gaps)
    return f" {told}{' Of those that are level, take the one you know.' * same}"


def _told(
    found: Verdicts, one: Verdict, others: Sequence[Verdict], gaps: Sequence[Comparison], where: str
) -> str:
    """Say how a method stands to others by its test loss."""
    each = [one, *others]
    basis = _basis(found, one, min(gap.seeds for gap in gaps))
    names, losses = [label_of(its.init) for its in each], [its.test_loss for its in each]
    return str(who_leads(names, losses, gaps, basis, score="test loss", where=where))


def _basis(found: Verdicts, one: Verdict, seeds: int) -> Basis:
    return Basis(seeds, found.test_examples(one.cell), part="test", study=True)


def _comparison(
    found: Verdicts, one: Verdict, gap: Interval, p_value: float, said: str, seeds: int = 0
) -> Comparison:
    """Return a verdict of the study as a comparison that comes to the same verdict.

    Parameters
    ----------
    said : the verdict; undecided also where a best rate is not known.
    """
    return Comparison(
        gap.mean, gap.low, gap.high,
        p_value=p_value if said in (BETTER, WORSE) else 1.0,
        margin=one.margin if said == LEVEL else 0.0,
        shares=False, examples=found.test_examples(one.cell), seeds=seeds or one.seeds,
    )  # fmt: skip


def _losses(found: Verdicts, one: Verdict) -> np.ndarray:
    """Return the test losses of a method at its best rate (seeds,)."""
    return _values(found, one, "test_loss")


def _values(found: Verdicts, one: Verdict, name: str) -> np.ndarray:
    """Return a column of the rows of a method at its best rate (seeds,)."""
    assert one.best_lr is not None
    values = values_of(found.rows, name)
    return values_at(found.study, one.cell, one.init, [one.best_lr], values)[0]


def _gap(found: Verdicts, one: Verdict, other: Verdict) -> np.ndarray:
    """Return the paired differences of two methods, of those seeds that both have finished."""
    gap = _losses(found, one) - _losses(found, other)
    return gap[np.isfinite(gap)]


def _verdict(gap: np.ndarray, p_value: float, margin: float) -> str:
    return verdict(t_interval(gap), p_value, margin, len(gap)) if len(gap) else UNDECIDED
