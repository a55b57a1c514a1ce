"""One recommendation from the verdicts of a study: what to take, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.machine.numbers import compact, finite_or_none, nats
from olora_viz.studies.planning import values_at
from olora_viz.studies.statistics import (
    BETTER,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    holm,
    t_interval,
    verdict,
)
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts, values_of
from olora_viz.studies.words import and_


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
            "verdict": self.verdict, "seeds": self.its.seeds, "sentence": self.sentence,
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
    return _worded(found, taken)


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
    reference = label_of(study.reference)
    losses = _losses(found, one)
    interval = t_interval(losses)
    half = interval.high - interval.mean
    where = f"{name} at {compact(one.best_lr or 0)}, rank {one.cell.r}"
    loss = f"test loss is {nats(one.test_loss)}" + (f" ± {half:.2g}" if math.isfinite(half) else "")
    others = [each for each in found.of(one.cell) if each.init not in (one.init, study.reference)]
    if one.verdict == BETTER and one.init != study.reference:
        low, high = -one.interval.high, -one.interval.low
        said = (
            f"Its {loss}, better than {reference}'s at its own best rate by "
            f"{nats(-one.interval.mean)} ({nats(low)} to {nats(high)})."
        )
        rivals = _rivals(found, one, [each for each in others if each.verdict == BETTER])
        return Recommendation(one, half, f"Take {where}.", f"{said}{rivals}", BETTER)
    if one.init != study.reference:
        said = f"{reference} has diverged at every rate. Its {loss}."
        return Recommendation(one, half, f"Take {where}, for now.", said, UNDECIDED)
    if one.seeds < LEAST_SEEDS:
        count = f"{one.seeds} seed{'s' * (one.seeds > 1)}"
        said = f"With {count} its {loss}; a verdict needs {LEAST_SEEDS}.{_best_so_far(found, one)}"
        headline = f"Nothing is decided yet: take plain {where}, for now."
        return Recommendation(one, half, headline, said, UNDECIDED)
    open_ = [each for each in others if each.verdict == UNDECIDED]
    level = and_([label_of(each.init) for each in others if each.verdict == LEVEL])
    worse = and_([label_of(each.init) for each in others if each.verdict == WORSE])
    told = [f"{level} {_are(level)} level with it" if level else ""]
    told.append(f"{worse} {_are(worse)} worse" if worse else "")
    known = "; ".join(part for part in told if part)
    known = f" {known[0].upper()}{known[1:]}." if known else ""
    if open_:
        why = " ".join(f"{label_of(each.init)} is undecided: {each.why}." for each in open_)
        said = f"Its {loss}; no other start is shown to be better. {why}{known}"
        return Recommendation(one, half, f"Take plain {where}.", said, UNDECIDED)
    said = f"Its {loss}; no other start is better.{known}"
    return Recommendation(one, half, f"Take plain {where}.", said, LEVEL)


def _are(names: str) -> str:
    return "are" if " and " in names else "is"


def _best_so_far(found: Verdicts, one: Verdict) -> str:
    """Name the method with the lowest test loss so far, if it is another one."""
    its = [each for each in found.of(one.cell) if math.isfinite(each.test_loss)]
    best = min(its, key=lambda each: each.valid_loss, default=one)
    if best.init == one.init:
        return ""
    return (
        f" {label_of(best.init)} at {compact(best.best_lr or 0)} has {nats(best.test_loss)} so far."
    )


def _rivals(found: Verdicts, one: Verdict, better: Sequence[Verdict]) -> str:
    """Say which of the other better methods is level with the best, or not told from it."""
    gaps = [_gap(found, each, one) for each in better]
    adjusted = holm([t_interval(gap).p_value for gap in gaps])
    said = [_verdict(gap, p_value, one.margin) for gap, p_value in zip(gaps, adjusted, strict=True)]
    names = {
        word: and_(
            [label_of(each.init) for each, its in zip(better, said, strict=True) if its in kinds]
        )
        for word, kinds in {"level": (LEVEL,), "open": (UNDECIDED,), "lower": (BETTER,)}.items()
    }
    text, reference = "", label_of(found.study.reference)
    if names["level"]:
        text += f" {names['level']} {_are(names['level'])} level with it: take the one you know."
    if names["open"]:
        text += f" {names['open']} {_are(names['open'])} better than {reference} too, and not told "
        text += "apart from it."
    if names["lower"]:
        text += f" On the test, which has no part in the choice, {names['lower']} did better still."
    return text


def _losses(found: Verdicts, one: Verdict) -> np.ndarray:
    """Return the test losses of a method at its best rate (seeds,)."""
    assert one.best_lr is not None
    test = values_of(found.rows, "test_loss")
    return values_at(found.study, one.cell, one.init, [one.best_lr], test)[0]


def _gap(found: Verdicts, one: Verdict, other: Verdict) -> np.ndarray:
    """Return the paired differences of two methods, of those seeds that both have finished."""
    gap = _losses(found, one) - _losses(found, other)
    return gap[np.isfinite(gap)]


def _verdict(gap: np.ndarray, p_value: float, margin: float) -> str:
    return verdict(t_interval(gap), p_value, margin, len(gap)) if len(gap) else UNDECIDED
