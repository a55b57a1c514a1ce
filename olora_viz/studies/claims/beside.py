"""The findings on methods beside the reference of their study: what they are worth, and what they forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from olora_viz.machine.wording import and_, percent
from olora_viz.studies.choices import RECIPE, SEVERAL, differing
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    OF_VERDICT,
    WITHIN,
    Bar,
    Finding,
    counted,
    ends,
    level_means,
    level_within,
    not_measured,
    over_compared,
    over_of,
    ratio_of,
    together,
    where,
)
from olora_viz.studies.claims.evidence import REFERENCE
from olora_viz.studies.difference import Difference
from olora_viz.studies.forgetting import EQUAL_LEARNING, WAYS, Compared, compared_in_chains
from olora_viz.studies.method import lane_of, method_name, own_rate
from olora_viz.studies.rows import FORGOTTEN, FORGOTTEN_ACCURACY, NATS, unit_of
from olora_viz.studies.statistics import LEAST_SEEDS, LEVEL, UNDECIDED, Interval
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


def replaying(study: Study, source: str) -> list[str]:
    """Return the methods that only replay beside what the reference does, the text to keep or the base's samples.

    >>> methods = ("lora", "lora:replay=0.05", "lora:replay=0.05,replay_from=base", "olora:replay=0.05")
    >>> study = Study().changed({"keep": "auto"}, compare=methods)
    >>> replaying(study, "text"), replaying(study, "base")
    (['lora:replay=0.05'], ['lora:replay=0.05,replay_from=base'])
    """
    plain = lane_of(study.reference)
    return [
        method for method in study.compare
        if (lane := lane_of(method)).replay and lane.replay_from == source and not plain.replays
        and lane.replace(replay=plain.replay, replay_from=plain.replay_from) == plain
        and own_rate(method) == own_rate(study.reference)
    ]  # fmt: skip


def differs(words: Sequence[str]) -> str:
    """Judge that a choice matters: that some of its methods is better or worse than the reference.

    >>> differs(["level", "worse", "undecided"]), differs(["level"]), differs(["level", "undecided"])
    ('holds', 'fails', 'undecided')
    """
    if {*words} - {LEVEL, UNDECIDED}:
        return HOLDS
    return UNDECIDED if UNDECIDED in words else FAILS


def every_one(parts: Sequence[str]) -> str:
    """Return the verdict on a claim that says something of each of its parts: one that fails refutes it.

    >>> every_one(["holds", "fails", "undecided"]), every_one(["holds", "undecided"]), every_one(["holds"])
    ('fails', 'undecided', 'holds')
    """
    return FAILS if FAILS in parts else together(parts)


def mean_of(differences: Sequence[Difference]) -> Interval | None:
    """Return the mean over cells of differences to the reference, of those that have an interval."""
    known = [each for each in differences if each.seeds > 1]
    return over_compared(known) if known else None


def over_words(differences: Sequence[Difference]) -> str:
    """Say over what the interval of `mean_of` is."""
    return over_of([each.gap for each in differences if each.seeds > 1])


def standing(words: Sequence[str], differences: Sequence[Difference], unit: str = NATS) -> str:
    """Say what a method is in how many cells, and by how much it differs on average."""
    mean = mean_of(differences)
    by = f" ({mean.mean:+.3g} {unit} on average, {ends(mean, over_words(differences))})" if mean else ""
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
    said = [
        f"{method_name(method)} is {standing(words[method], differences[method], unit_of(study))}"
        for method in methods
    ]
    parts = [of_cell(of) for of in by_cell]
    return finding_of_means(
        together(parts),
        f"{at_best(study)} and beside {reference}, {'; '.join(said)}. That {that}: {counted(parts)}."
        f"{level_within(study, [one.verdict for one in each], [one.margin for one in each])}{more}",
        {"cells": len(by_cell), **{word: parts.count(word) for word in OF_VERDICT.values()}},
        differences,
        called="difference_{}",
        unit=f"test loss minus {reference}'s, {unit_of(study)}",
        seeds=study.seeds,
    )


def without_drift(verdicts: Verdicts) -> Finding | None:
    """Return that a claim was not measured, if the study has no text to keep."""
    if any(each.forgotten for each in verdicts.each):
        return None
    return not_measured("the study has no text to keep, on which forgetting is measured: run one with --keep FILE")


class Unit(NamedTuple):
    """How much more a method forgets than the reference, and in what."""

    of: Callable[[Interval], Interval]
    """Makes it of a difference of logarithms."""
    sentence: str
    """What it is, before the reference's name."""
    bars: Callable[[str], str]
    """The unit of the bars, by the reference's name."""
    called: str
    """The beginning of its name among the numbers."""
    level: str = ""
    """Within what two methods are level, before the reference's name; empty for the study's margin."""


DRIFTS = Unit(
    ratio_of, "Drift as a multiple of", lambda reference: f"times {reference}'s drift", "times_", f"{WITHIN} of"
)
"""A multiple of the drift on a text to keep."""

RISES = Unit(
    lambda difference: difference, "Rise of the loss on the earlier tasks, nats a token, minus",
    lambda reference: f"rise of the loss on the earlier tasks minus {reference}'s, nats", "more_",
)  # fmt: skip
"""A difference of what is forgotten in a chain, see `compared_in_chains`."""


def finding_on_forgetting(
    verdicts: Verdicts,
    drifts: Sequence[Compared],
    proposition: str,
    judge: Callable[[Compared], str],
    ways: Sequence[str] = WAYS,
    *,
    first: str = "",
    last: str = "",
    more_parts: Sequence[str] = (),
    numbers: Mapping[str, float | Interval] | None = None,
    unit: Unit = DRIFTS,
    joined: Callable[[Sequence[str]], str] = together,
) -> Finding:
    """Return the finding on a claim about what methods forget.

    Where a study runs its rates with fewer seeds than decide anything, equal learning is not measured.

    Args:
        drifts: the comparisons of all methods in every cell and way.
        proposition: what is judged, a clause.
        judge: gives the verdict on the claim from a comparison.
        ways: those that decide; the others stand beside them.
        first, last: further sentences.
        more_parts: further verdicts on the claim.
        numbers: further ones.
        unit: of `drifts`.
        joined: gives the verdict on the whole from those on its parts.
    """
    if not drifts:
        return not_measured("the methods that it compares have not run yet")
    study, reference = verdicts.study, method_name(verdicts.study.reference)
    ratios: dict[tuple[str, str], Interval] = {}
    by_init, over = [], ""
    for init in dict.fromkeys(each.method for each in drifts):
        of_ways = []
        for way in WAYS:
            known = [each.logs for each in drifts if (each.method, each.way) == (init, way) and each.logs.seeds > 1]
            if known:
                gaps = [logs.gap[:, 0] for logs in known]
                ratio = unit.of(over_compared(known))
                over_these, ratios[init, way] = over_of(gaps), ratio
                over = over or over_these
                others = f", {over_these}" if over_these != over else ""
                of_ways.append(f"{ratio.mean:.3g} {way} ({ratio.low:.3g} to {ratio.high:.3g}{others})")
        by_init += [f"{method_name(init)} {', '.join(of_ways)}"] if of_ways else []
    multiples = f"{unit.sentence} {reference}'s (95% over {over}): {'; '.join(by_init)}." if by_init else ""
    sentences = [first, multiples]
    few = study.first_seeds < LEAST_SEEDS
    parts = {
        way: [NOT_MEASURED if few and way == EQUAL_LEARNING else judge(each) for each in drifts if each.way == way]
        for way in ways
    }
    judged = "; ".join(f"{way} {counted(words, 'comparison')}" for way, words in parts.items())
    every = [*chain(*parts.values())]
    level = level_means(every, f"{unit.level} {reference}'s drift")
    if not unit.level:
        margins = [each.margin for each in drifts]
        level = level_within(study, [LEVEL] * len(margins), margins)
    sentences += [f"{proposition}: {judged}.", level.strip(), last]
    reasons = dict.fromkeys(_place(study, each) for each in drifts if each.why)
    sentences += [f"Not decided: {'; '.join(reasons)}."] if reasons else []
    return Finding(
        verdict=joined([*more_parts, *every]),
        words=" ".join(filter(None, sentences)),
        numbers={
            "cells": len(study.cells()),
            **(numbers or {}),
            **{f"{unit.called}{init}_{way.replace(' ', '_')}": ratio for (init, way), ratio in ratios.items()},
        },
        seeds=study.seeds,
        bars=tuple(
            Bar.of(f"{method_name(init)}, {way.removeprefix('at ')}", ratio)
            for (init, way), ratio in sorted(ratios.items(), key=lambda entry: WAYS.index(entry[0][1]))
        ),
        unit=unit.bars(reference),
        over=over,
    )


def finding_on_chains(
    verdicts: Verdicts, methods: Sequence[str], that: str, judge: Callable[[Compared], str], way: str, **more: Any
) -> Finding:
    """Return the finding on a claim about what methods forget of the earlier tasks of a chain.

    Args:
        that: the claim, after "That".
        judge: gives the verdict on the claim from a comparison with the reference.
        way: the one of `WAYS` that decides.
        more: see `finding_on_forgetting`.
    """
    if all(len(cell.links) == 1 for cell in verdicts.study.cells()):
        return not_measured("no task of the study is a chain: run one with --task addition+uppercase+sentiment")
    first = _kept_words(verdicts, [verdicts.study.reference, *methods])
    return finding_on_forgetting(
        verdicts, compared_in_chains(verdicts, methods), f"That {that}", judge, [way], first=first, unit=RISES, **more
    )


RISE_IN_A_CHAIN = (
    "In a study of a chain, whose rates are chosen by the mean loss over all tasks after the last link: by how much "
    "the held-out loss on the earlier tasks has risen since each was learned, paired by seed"
)
"""What the claims on chains measure."""


def _kept_words(verdicts: Verdicts, methods: Sequence[str]) -> str:
    """Say what methods forget of the earlier tasks of a study's chains, each at its best rate."""
    said = []
    for method in methods:
        known = [each.measures for each in verdicts.each if each.method == method and FORGOTTEN in each.measures]
        if known:
            loss, accuracy = (float(np.mean([of[name] for of in known])) for name in (FORGOTTEN, FORGOTTEN_ACCURACY))
            said.append(f"{method_name(method)} {loss:.3g} nats and {percent(accuracy)}")
    lost = f"Loss gained and accuracy lost on the earlier tasks since each was learned: {'; '.join(said)}."
    return lost if said else ""


def _place(study: Study, each: Compared) -> str:
    """Return why nothing is decided, and in which cell."""
    place = where(study, each.cell)
    return f"{each.why} ({place})" if place else each.why
