"""The table of what a study decides, as rows of text."""

from __future__ import annotations

import math

from olora_viz.machine.numbers import compact, number
from olora_viz.studies.statistics import ERROR, MedianInterval
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.untrained import untrained
from olora_viz.studies.verdicts import Verdict, Verdicts
from olora_viz.studies.words import and_

HEAD = (
    "model", "task", "r", "init", "best rate", "test loss", "accuracy", "difference",
    "95% over {}", "range over rates", "p (Holm)", "verdict", "at one rate",
    "median steps to reference ({})", "seeds",
)  # fmt: skip
"""The header; what the two intervals are is filled in."""


def verdict_rows(found: Verdicts) -> list[list[str]]:
    """Return the header, and by cell a row for every method, for the base model and for a guess."""
    rows = [_head(found)]
    for cell in found.study.cells():
        rows += [_row(one, found.study) for one in found.of(cell)]
        its = untrained(found, cell)
        if its is not None:
            rows.append(_without(cell, "base model", number(its.loss, ".4f"), its.accuracy))
        if its is not None and its.guess is not None:
            rows.append(_without(cell, its.guess_words, "", its.guess))
    return rows


def interval_over(found: Verdicts) -> str:
    """Return what the intervals of the differences are over: seeds, examples or both."""
    gaps = [one.difference.gap for one in found.each if one.seeds]
    kinds = {
        "seeds": any(len(gap) > 1 for gap in gaps),
        "examples": any(gap.shape[1] > 1 for gap in gaps),
    }
    return and_([kind for kind, is_there in kinds.items() if is_there or not gaps])


def _head(found: Verdicts) -> list[str]:
    steps = [one.steps_to_reference for one in found.each]
    few = any(its is not None and its.coverage < 1 - ERROR for its in steps)
    words = iter((interval_over(found), "range of seeds" if few else "95% over seeds"))
    return [title.format(next(words)) if "{}" in title else title for title in HEAD]


def _without(cell: Cell, name: str, loss: str, accuracy: float) -> list[str]:
    """Return the row of what is not trained."""
    known = [cell.model, cell.task, str(cell.r), name, "", loss, number(accuracy, ".1%")]
    return known + [""] * (len(HEAD) - len(known))


def _row(one: Verdict, its: Study) -> list[str]:
    shown = one.init != its.reference
    low, high = one.interval.low, one.interval.high
    from_, to = one.difference.over_rates
    return [
        one.cell.model, one.cell.task, str(one.cell.r), one.init,
        compact(one.best_lr) if one.best_lr else "",
        number(one.test_loss, ".4f"), number(one.test_accuracy, ".1%"),
        number(one.interval.mean, "+.4f") if shown else "reference",
        f"{number(low, '+.4f')} to {number(high, '+.4f')}" if shown else "",
        f"{number(from_, '+.4f')} to {number(to, '+.4f')}" if shown and from_ != to else "",
        number(one.p_value, ".3f") if shown else "",
        one.verdict if shown else "", one.verdict_shared_rate if shown else "",
        steps_words(one.steps_to_reference), str(one.seeds),
    ]  # fmt: skip


def steps_words(reached: MedianInterval | None) -> str:
    """Return the median of the steps to the reference's loss, with its interval.

    >>> steps_words(MedianInterval(30.0, 20.0, math.inf, 0.75))
    '30 (20 to never)'
    """
    if reached is None:
        return ""
    median, low, high = (f"{x:.0f}" if math.isfinite(x) else "never" for x in reached[:3])
    return median if low == high else f"{median} ({low} to {high})"
