"""How claims read what a study compares with its reference: what a method has otherwise, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from olora_viz.machine.wording import and_
from olora_viz.studies.choices import RECIPE, SEVERAL, differing
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OF_VERDICT,
    Bar,
    Finding,
    counted,
    ends,
    level_within,
    not_measured,
    over_compared,
    over_of,
    together,
)
from olora_viz.studies.claims.evidence import REFERENCE
from olora_viz.studies.difference import Difference
from olora_viz.studies.method import lane_of, method_name
from olora_viz.studies.statistics import LEVEL, UNDECIDED, Interval
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdict, Verdicts


def choice_of(study: Study, method: str) -> str | None:
    """Return the one choice that a method makes otherwise than the reference, see `differing`; None for several.

    >>> study = Study(compare=("lora", "olora", "lora:r=21,targets=attention", "full", "pissa:alpha=2r"))
    >>> [choice_of(study, method) for method in study.compare[1:]]
    ['init', 'targets', 'dense', None]
    """
    key = differing(study, study.cells()[0], method)
    return None if key in (RECIPE, SEVERAL) else key


def differs(words: Sequence[str]) -> str:
    """Judge that a choice matters: that some of its methods is better or worse than the reference.

    >>> differs(["level", "worse", "undecided"]), differs(["level"]), differs(["level", "undecided"])
    ('holds', 'fails', 'undecided')
    """
    if {*words} - {LEVEL, UNDECIDED}:
        return HOLDS
    return UNDECIDED if UNDECIDED in words else FAILS


def mean_of(differences: Sequence[Difference]) -> Interval | None:
    """Return the mean over cells of differences to the reference, of those that have an interval."""
    known = [each for each in differences if each.seeds > 1]
    return over_compared(known) if known else None


def over_words(differences: Sequence[Difference]) -> str:
    """Say over what the interval of `mean_of` is."""
    return over_of([each.gap for each in differences if each.seeds > 1])


def standing(words: Sequence[str], differences: Sequence[Difference]) -> str:
    """Say what a method is in how many cells, and by how much it differs on average."""
    mean = mean_of(differences)
    by = f" ({mean.mean:+.3g} nats on average, {ends(mean, over_words(differences))})" if mean else ""
    return counted(words) + by


def finding_of_means(
    verdict: str,
    words: str,
    numbers: Mapping[str, Any],
    differences: Mapping[str, Sequence[Difference]],
    *,
    called: str,
    unit: str,
    seeds: int,
) -> Finding:
    """Return a finding with a bar for each method's mean difference over the cells, if it has one.

    Args:
        differences: those of each method, cell by cell.
        called: what the mean of a method is called among the numbers, with ``{}`` for the method.
    """
    means = {method: mean for method, of in differences.items() if (mean := mean_of(of))}
    return Finding(
        verdict=verdict,
        words=words,
        numbers={**numbers, **{called.format(method): mean for method, mean in means.items()}},
        seeds=seeds,
        bars=tuple(Bar.of(method_name(method), mean) for method, mean in means.items()),
        unit=unit,
        over=over_words(differences[next(iter(means))]) if means else "",
    )


def at_best(study: Study) -> str:
    """Say at what methods are compared.

    >>> at_best(Study()), at_best(Study(tune={"lr": (1e-3, 3e-3), "batch_size": (4, 8)}))
    ('Each at its best rate', 'Each at its best batch size and rate')
    """
    others = [name.replace("_", " ") for name in study.tune if name != "lr"]
    return f"Each at its best {and_([*others, 'rate'])}"


def finding_beside(
    verdicts: Verdicts,
    methods: Sequence[str],
    that: str,
    of_cell: Callable[[list[Verdict]], str],
    lacking: str,
    more: str = "",
) -> Finding:
    """Judge a claim on some methods of a study beside plain LoRA, each at its best rate, cell by cell.

    Args:
        that: the claim, after "That".
        of_cell: gives the verdict on it in a cell, from those on the methods.
        lacking: what the study has to compare, if there are no such methods.
        more: sentences that follow.
    """
    study = verdicts.study
    reference = method_name(study.reference)
    if not methods or lane_of(study.reference).init != REFERENCE:
        return not_measured(f"the study compares {', '.join(study.compare)}: it needs {lacking}")
    by_cell = [[each for each in verdicts.of(cell) if each.method in methods] for cell in study.cells()]
    each = [one for of in by_cell for one in of]
    words = {method: [one.verdict for one in each if one.method == method] for method in methods}
    differences = {method: [one.difference for one in each if one.method == method] for method in methods}
    said = [f"{method_name(method)} is {standing(words[method], differences[method])}" for method in methods]
    parts = [of_cell(of) for of in by_cell]
    return finding_of_means(
        together(parts),
        f"{at_best(study)} and beside {reference}, {'; '.join(said)}. That {that}: {counted(parts)}."
        f"{level_within(study, [one.verdict for one in each], [one.margin for one in each])}{more}",
        {"cells": len(by_cell), **{word: parts.count(word) for word in OF_VERDICT.values()}},
        differences,
        called="difference_{}",
        unit=f"test loss minus {reference}'s, nats",
        seeds=study.seeds,
    )
