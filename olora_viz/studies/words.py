"""Sentences, and how comparisons are put in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.machine.numbers import compact, nats, percent, rounded
from olora_viz.studies.contest import Contest
from olora_viz.studies.decision import AHEAD, BEHIND, Comparison
from olora_viz.studies.statistics import LEVEL, UNDECIDED

NAMED = 4
"""Most contenders to name in a sentence; the others are counted."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its message in the lead."""

    lead: str
    rest: str = ""

    def __str__(self) -> str:
        """Return the whole sentence."""
        return f"{self.lead} {self.rest}".strip()


def verdict(
    where: str, first: str, second: str, contest: Contest, i: int, j: int
) -> list[Sentence]:
    """Say what may be said of two entries of a contest, with the numbers that it rests on.

    Parameters
    ----------
    where : of the comparison, in words, such as "At one shared rate (1e-3)"; may be empty.
    first, second : names of the entries.
    i, j : their places.
    """
    one = contest.between(i, j)
    lead = f"{_opening(where, first)} {_relation(one, second)}:"
    said = [Sentence(lead, f"{_scores(contest, i, j)}, {_interval(one)} ({basis(contest)}).")]
    by_loss = contest.loss_decides(i, j)
    if by_loss:
        lead = f"By {contest.loss_name} {first} {_relation(by_loss, second)}:"
        numbers = f"{nats(contest.loss[i])} against {nats(contest.loss[j])}"
        said.append(Sentence(lead, f"{numbers}, {_interval(by_loss)}."))
    return said


def ranking(where: str, contest: Contest, names: Sequence[str]) -> list[Sentence]:
    """Say whom the first entry of a contest is ahead of, and whom it cannot be told from.

    Parameters
    ----------
    where : see `verdict`.
    names : of the entries, in the contest's order.
    """
    if len(names) == 2:
        return verdict(where, names[0], names[1], contest, 0, 1)
    of = {name: contest.between(0, j) for j, name in enumerate(names) if j}
    found = {
        kind: [name for name, one in of.items() if one.in_these_runs == kind]
        for kind in (AHEAD, LEVEL, UNDECIDED)
    }
    some = next(iter(of.values()))
    parts = []
    if found[AHEAD]:
        parts.append(f"{_order(AHEAD, contest.seeds)} {listed(found[AHEAD])}")
    if found[LEVEL]:
        parts.append(f"is level with {listed(found[LEVEL])} within {_amount(some.margin, some)}")
    if found[UNDECIDED]:
        parts.append(f"cannot be told apart from {listed(found[UNDECIDED])}")
    lead = f"{_opening(where, names[0])} {and_(parts)}:"
    said = Sentence(lead, f"{_each(contest, names)} ({basis(contest)}).")
    return [said, *_by_loss(contest, names)]


def _by_loss(contest: Contest, names: Sequence[str]) -> list[Sentence]:
    """Say whom the first entry is ahead of or behind by loss, where accuracy does not tell."""
    decided = {
        name: one.in_these_runs
        for j, name in enumerate(names)
        if j and (one := contest.loss_decides(0, j))
    }
    said = []
    for kind in (AHEAD, BEHIND):
        others = [name for name, its in decided.items() if its == kind]
        if others:
            losses = [
                f"{name} {nats(loss)}"
                for name, loss in zip(names, contest.loss, strict=True)
                if name in (names[0], *others)
            ]
            lead = (
                f"By {contest.loss_name} {names[0]} {_order(kind, contest.seeds)} {listed(others)}:"
            )
            said.append(Sentence(lead, f"{', '.join(losses)} nats."))
    return said


def basis(contest: Contest) -> str:
    """Say on how many examples and seeds a contest rests.

    With one seed it is about these runs alone.
    """
    examples = f"{contest.examples} held-out example{'s' * (contest.examples != 1)}"
    if contest.chosen_on:
        examples += f", rates chosen on {contest.chosen_on} others"
    seeds = "one seed" if contest.seeds == 1 else f"{contest.seeds} seeds"
    return f"{examples}; {seeds}"


def _opening(where: str, name: str) -> str:
    return f"{where} {name}" if where else name


def _relation(one: Comparison, other: str) -> str:
    if one.difference == one.low == one.high == 0.0:
        return f"gives the same results as {other}"
    if one.in_these_runs == LEVEL:
        return f"is level with {other} within {_amount(one.margin, one)}"
    if one.in_these_runs == UNDECIDED:
        return f"cannot be told apart from {other}"
    return f"{_order(one.in_these_runs, one.seeds)} {other}"


def _order(kind: str, seeds: int) -> str:
    if seeds > 1:
        return "is ahead of" if kind == AHEAD else "is behind"
    return f"did {'better' if kind == AHEAD else 'worse'} in this run than"


def _scores(contest: Contest, i: int, j: int) -> str:
    if contest.by_accuracy:
        return f"accuracy {percent(contest.accuracy[i])} against {percent(contest.accuracy[j])}"
    return f"{contest.loss_name} {nats(contest.loss[i])} against {nats(contest.loss[j])}"


def _each(contest: Contest, names: Sequence[str]) -> str:
    shares = bool(contest.by_accuracy)
    values, form = (contest.accuracy, percent) if shares else (contest.loss, nats)
    told = [f"{name} {form(value)}" for name, value in zip(names, values, strict=True)]
    return f"{', '.join(told[:NAMED])} {'of answers right' if shares else 'nats'}"


def _interval(one: Comparison) -> str:
    if not math.isfinite(one.low):
        return "a difference without an interval"
    low, high = sorted((one.low, one.high))
    return (
        f"a difference of {_amount(one.difference, one)}, "
        f"95% interval {_bare(low, one)} to {_amount(high, one)}"
    )


def _amount(value: float, one: Comparison) -> str:
    return f"{_bare(value, one)} {'points' if one.shares else 'nats'}"


def _bare(value: float, one: Comparison) -> str:
    text = f"{100 * value:.0f}" if one.shares else f"{value:.2f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does; of many some are named and the others counted.

    >>> listed(["LoRA", "PiSSA"]), listed(list("ABCDEF"))
    ('LoRA and PiSSA', 'A, B, C and 3 others')
    """
    if len(names) <= NAMED:
        return and_(names)
    return and_([*names[: NAMED - 1], f"{len(names) - NAMED + 1} others"])


def times(ratio: float) -> str:
    """Write a factor in two digits, or in words where it has one.

    >>> times(3.0), times(28.8), times(1234.0)
    ('three times', '29 times', '1200 times')
    """
    digits = compact(rounded(ratio, 2))
    words = {"2": "twice", "3": "three times", "5": "five times", "10": "ten times"}
    return words.get(digits, f"{digits} times")


def and_(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> and_(["rank", "scaling", "seed"])
    'rank, scaling and seed'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
