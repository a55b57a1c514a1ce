"""The verdict of a race: its table, and the steps to take next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.machine.text import compact, number
from olora_viz.studies.contest import Setting
from olora_viz.studies.sentences import and_
from olora_viz.studies.statistics import ERROR, MedianInterval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts, untrained

HEAD = (
    "model", "task", "r", "init", "best rate", "test loss", "accuracy", "difference",
    "95% over {}", "range over rates", "p (Holm)", "verdict", "at one rate",
    "median steps to reference ({})", "seeds",
)  # fmt: skip
"""The header; what the two intervals are is filled in."""


def verdict_rows(verdicts: Verdicts) -> list[list[str]]:
    """Return the header, and by cell a row for every method, for the base model and for a guess."""
    rows = [_head(verdicts)]
    for cell in verdicts.study.cells():
        rows += [_row(verdict, verdicts.study.reference) for verdict in verdicts.of(cell)]
        base = untrained(verdicts, cell)
        if base is not None:
            rows.append(_without(cell, "base model", number(base.loss, ".4f"), base.accuracy))
        if base is not None and base.guess is not None:
            rows.append(_without(cell, base.guess_words, "", base.guess))
    return rows


def interval_over(verdicts: Verdicts) -> str:
    """Return what the intervals of the differences are over: seeds, examples or both."""
    gaps = [verdict.difference.gap for verdict in verdicts.each if verdict.seeds]
    kinds = {"seeds": any(len(gap) > 1 for gap in gaps), "examples": any(gap.shape[1] > 1 for gap in gaps)}
    return and_([kind for kind, is_there in kinds.items() if is_there or not gaps])


def _head(verdicts: Verdicts) -> list[str]:
    steps = [verdict.steps_to_reference for verdict in verdicts.each]
    few = any(reached is not None and reached.coverage < 1 - ERROR for reached in steps)
    words = iter((interval_over(verdicts), "range of seeds" if few else "95% over seeds"))
    return [title.format(next(words)) if "{}" in title else title for title in HEAD]


def _without(cell: Cell, name: str, loss: str, accuracy: float) -> list[str]:
    """Return the row of what is not trained."""
    known = [cell.model, cell.task, str(cell.r), name, "", loss, number(accuracy, ".1%")]
    return known + [""] * (len(HEAD) - len(known))


def _row(verdict: Verdict, reference: str) -> list[str]:
    shown = verdict.init != reference
    low, high = verdict.interval.low, verdict.interval.high
    from_, to = verdict.difference.over_rates
    return [
        verdict.cell.model, verdict.cell.task, str(verdict.cell.r), verdict.init,
        compact(verdict.best_lr) if verdict.best_lr else "",
        number(verdict.test_loss, ".4f"), number(verdict.test_accuracy, ".1%"),
        number(verdict.interval.mean, "+.4f") if shown else "reference",
        f"{number(low, '+.4f')} to {number(high, '+.4f')}" if shown else "",
        f"{number(from_, '+.4f')} to {number(to, '+.4f')}" if shown and from_ != to else "",
        number(verdict.p_value, ".3f") if shown else "",
        verdict.verdict if shown else "", verdict.verdict_shared_rate if shown else "",
        steps_words(verdict.steps_to_reference), str(verdict.seeds),
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


SEEDS = 5

HIGHEST = 1e3
"""From this learning rate on, no higher one is suggested."""


def repeated(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return every lane with the seeds 0, 1, …; lanes that differ only in their seed count once.

    Args:
        most: maximum number of lanes.

    Raises:
        ValueError: the result has more lanes.
    """
    own = list(dict.fromkeys(replace(lane, seed=0) for lane in lanes))
    count = len(own) * SEEDS
    _check(most, count, f"{len(own)} lanes with {SEEDS} seeds each are {count}")
    return tuple(replace(lane, seed=seed) for lane in own for seed in range(SEEDS))


def higher(lanes: Sequence[Lane], most: int = MAX_LANES) -> tuple[Lane, ...]:
    """Return lanes in which all starts race at the same rates, up to half a decade above these.

    A start gets the rates of all others with its settings, such as its rank.

    Args:
        most: maximum number of lanes.

    Raises:
        ValueError: the result has more lanes, or a rate is `HIGHEST` already.

    >>> lanes = higher([Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=3e-3)])
    >>> [(lane.init, lane.lr) for lane in lanes]  # doctest: +NORMALIZE_WHITESPACE
    [('lora', 0.001), ('lora', 0.003), ('lora', 0.01),
     ('olora', 0.003), ('olora', 0.001), ('olora', 0.01)]
    """
    new: list[Lane] = []
    groups: dict[Lane, list[Lane]] = {}
    tried: dict[Setting, set[float]] = {}
    for lane in lanes:
        groups.setdefault(replace(lane, lr=1.0, seed=0), []).append(lane)
        if not lane.fair:
            tried.setdefault(Setting.of(lane), set()).add(lane.lr)
    for group in groups.values():
        new += group
        if group[0].fair:
            continue
        rates = sorted(tried[Setting.of(group[0])])
        if rates[-1] >= HIGHEST:
            raise ValueError(f"a learning rate of {rates[-1]:g} is high enough: try lower ones")
        top = max(lane.lr for lane in group)
        repeated_at = [lane for lane in group if lane.lr == top]
        missing = [rate for rate in rates if all(lane.lr != rate for lane in group)]
        new += [replace(lane, lr=rate) for rate in (*missing, _half_a_decade_above(rates[-1])) for lane in repeated_at]
    _check(most, len(new), f"with higher rates the race has {len(new)} lanes")
    return tuple(new)


def _half_a_decade_above(rate: float) -> float:
    """Return the next of …, 1e-3, 3e-3, 1e-2, ….

    >>> _half_a_decade_above(1e-3), _half_a_decade_above(3e-3), _half_a_decade_above(4e-3)
    (0.003, 0.01, 0.01)
    """
    place = round(2 * math.log10(rate)) + 1
    return float(f"{10 ** (place / 2):.0e}")


def _check(most: int, count: int, words: str) -> None:
    if count > most:
        raise ValueError(f"{words}; a race takes at most {most}: remove some lanes first")


class NextStep(NamedTuple):
    """A next step: a button that changes the lanes and races them."""

    name: str
    """See `olora_viz.studies.verdict_line.VerdictLine.next_step`."""
    label: str
    title: str
    change: Callable[[Sequence[Lane], int], tuple[Lane, ...]]


STEPS = (
    NextStep(
        "seeds",
        f"Repeat with {SEEDS} seeds",
        "Every lane is repeated with each seed. A seed sets the random numbers of the start and "
        "the order of the batches; lanes with the same seed see the same batches.",
        repeated,
    ),
    NextStep(
        "rates",
        "Try higher rates",
        "All starts race at the same learning rates, up to half a decade above the highest.",
        higher,
    ),
)
