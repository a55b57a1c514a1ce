"""Claim: once the rate is tuned, the start is among the choices that matter least."""

from __future__ import annotations

from typing import NamedTuple

from olora_viz.machine.wording import and_
from olora_viz.studies.choices import IN_A_SENTENCE, START
from olora_viz.studies.claims.beside import at_best, choice_of, differs, mean_of, over_words
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    level_within,
    not_measured,
    on_study,
    together,
)
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import UNDECIDED, Interval
from olora_viz.studies.verdicts import Verdict, Verdicts

OTHERWISE = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}
"""The verdict on the contrary."""


class Largest(NamedTuple):
    """The method of a choice whose mean difference to the reference over the cells is the largest."""

    method: str
    mean: Interval
    over: str
    """What the interval is over."""

    @classmethod
    def of(cls, verdicts: Verdicts, methods: list[str]) -> Largest | None:
        """Return the largest of some methods; None if nothing is known of any."""
        differences = {name: [one.difference for one in verdicts.each if one.method == name] for name in methods}
        known = [cls(name, mean, over_words(of)) for name, of in differences.items() if (mean := mean_of(of))]
        return max(known, key=lambda each: abs(each.mean.mean), default=None)

    @property
    def words(self) -> str:
        """The method and its difference."""
        by = f"{self.mean.mean:+.3g} nats on average"
        return f"at most {by} ({method_name(self.method)}; {ends(self.mean, self.over)})"


def judge(verdicts: Verdicts) -> Finding:
    """Judge in every cell that all starts are level with the reference's, and that another choice is not."""
    study = verdicts.study
    by_choice: dict[str, list[str]] = {}
    for method in study.compare:
        if choice := choice_of(study, method):
            by_choice.setdefault(choice, []).append(method)
    if START not in by_choice or len(by_choice) < 2:
        return not_measured(
            f"the study compares {', '.join(study.compare)}: it needs another start and another choice, one at a "
            "time, such as lora, olora and lora:alpha=2r"
        )
    cells = [verdicts.of(cell) for cell in study.cells()]
    level = [OTHERWISE[differs(_words(of, by_choice[START]))] for of in cells]
    others = [method for choice, methods in by_choice.items() if choice != START for method in methods]
    matters = [differs(_words(of, others)) for of in cells]
    known = {choice: each for choice, methods in by_choice.items() if (each := Largest.of(verdicts, methods))}
    in_order = sorted(known, key=lambda choice: -abs(known[choice].mean.mean))
    said = []
    for choice in [*in_order, *(choice for choice in by_choice if choice not in known)]:
        words = [word for of in cells for word in _words(of, by_choice[choice])]
        at_most = f", {known[choice].words}" if choice in known else ""
        said.append(f"{_named(choice)}: {counted(words, 'comparison')}{at_most}")
    compared = [one for of in cells for one in of if one.method in (*by_choice[START], *others)]
    starts = and_([method_name(method) for method in by_choice[START]])
    return Finding(
        verdict=together([together(parts) for parts in zip(level, matters, strict=True)]),
        words=(
            f"{at_best(study)} and beside {method_name(study.reference)}, by choice: {'; '.join(said)}. "
            f"That every start is level ({starts}): {counted(level)}. That another choice is not: {counted(matters)}."
            f"{level_within(study, [one.verdict for one in compared], [one.margin for one in compared])}"
        ),
        numbers={
            "cells": len(cells), "choices": len(by_choice), "starts_level": level.count(HOLDS),
            "others_not_level": matters.count(HOLDS),
            **{f"largest_{choice}": known[choice].mean for choice in in_order},
        },
        seeds=study.seeds,
        bars=tuple(Bar.of(method_name(known[choice].method), known[choice].mean) for choice in in_order),
        unit=f"the largest difference of a choice, test loss minus {method_name(study.reference)}'s, nats",
        over=known[in_order[0]].over if known else "",
    )  # fmt: skip


def _words(of_cell: list[Verdict], methods: list[str]) -> list[str]:
    return [one.verdict for one in of_cell if one.method in methods]


def _named(choice: str) -> str:
    return IN_A_SENTENCE.get(choice, choice.replace("_", " "))


CLAIM = Claim(
    number=24,
    name="start-matters-least",
    sentence="Once the rate is tuned, the start is among the choices that matter least.",
    source="A question of ours: what people tune beside the start",
    measured=(
        "A study that makes one choice at a time otherwise than plain LoRA, each at its best rate. In a cell it holds "
        "if every other start is level with LoRA and a method of another choice (rank, alpha, targets and so on) is "
        "better or worse; it fails if a start is better or worse and all other choices are level; it is mixed if both "
        "matter or neither does, and undecided if a start, or all other choices, are."
    ),
    judge=on_study(judge, ()),
)
