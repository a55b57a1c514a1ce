"""Claim: 1 to 5% of replay removes most of the forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.beside import replaying, without_drift
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    not_measured,
    on_study,
    over_cells,
    over_of,
    together,
)
from olora_viz.studies.difference import MethodRuns, RateRuns, interval_of
from olora_viz.studies.forgetting import BEST_RATES, ONE_RATE
from olora_viz.studies.method import lane_of, method_name
from olora_viz.studies.rows import Row, lost, number_or_nan
from olora_viz.studies.statistics import LEAST_SEEDS, UNDECIDED, Interval
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

LITTLE = 0.01, 0.05
"""The least and the largest share of replay that the claim is about."""

MOST = 0.5
"""More than this share of what is forgotten is most of it."""

FORGOTTEN: dict[str, Callable[[Row], float]] = {
    "rise of the loss": lost,
    "drift": lambda row: number_or_nan(row.get("drift")),
}
"""What a run forgets of the text to keep: by how much its loss there has risen, and its KL(base‖lane)."""


class Removed(NamedTuple):
    """How much of what the reference forgets a method does not, in one cell."""

    method: str
    what: str
    """Of `FORGOTTEN`."""
    way: str
    """`ONE_RATE` or `BEST_RATES`."""
    verdict: str
    shares: Float[np.ndarray, " k"]
    """Of every seed, see `shares_removed`; empty where nothing is known."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge both things that are forgotten, at one rate and at best rates, for every share and in every cell."""
    study, reference = verdicts.study, method_name(verdicts.study.reference)
    methods = [name for name in replaying(study, "text") if LITTLE[0] <= lane_of(name).replay <= LITTLE[1]]
    if not methods:
        return not_measured(
            f"the study compares {', '.join(study.compare)}: it needs lora and the same with 1 to 5% of the text to "
            "keep, such as lora:replay=0.05"
        )
    if lacking := without_drift(verdicts):
        return lacking
    parts = [part for cell in study.cells() for method in methods for part in _of_method(verdicts, cell, method)]
    shares: dict[tuple[str, str, str], tuple[Interval, str]] = {}
    for key in dict.fromkeys(part[:3] for part in parts):
        if known := [part.shares for part in parts if part[:3] == key and part.shares.size]:
            shares[key] = over_cells(known), over_of(known)
    names = {key: f"{method_name(key[0])}, {key[1]} {key[2]}" for key in shares}
    said = [f"{names[key]}: {its.mean:.2f} ({ends(its, over, '.2f')})" for key, (its, over) in shares.items()]
    judged = [
        f"of the {what} {counted([part.verdict for part in parts if part.what == what], 'comparison')}"
        for what in FORGOTTEN
    ]
    turned = sum(part.verdict == UNDECIDED != decided([part.shares]) for part in parts)
    sentences = [
        f"Of what {reference} forgets, the share that replay removes. {'; '.join(said)}." * bool(said),
        f"That it is most: {'; '.join(judged)}. Most means that the whole interval lies above {MOST:g}.",
        f"Undecided because it turns at rates as good as the best: {turned}." * bool(turned),
    ]
    return Finding(
        verdict=together([part.verdict for part in parts]),
        words=" ".join(filter(None, sentences)),
        numbers={
            "cells": len(study.cells()),
            **{f"removed_{' '.join(key)}".replace(" ", "_"): share for key, (share, _) in shares.items()},
        },
        seeds=study.seeds,
        bars=tuple(Bar.of(names[key], share) for key, (share, _) in shares.items()),
        unit=f"share of what {reference} forgets that is removed",
        over=next((over for _, over in shares.values()), ""),
    )


def _of_method(verdicts: Verdicts, cell: Cell, method: str) -> Iterator[Removed]:
    """Yield what a method removes in a cell."""
    ours, theirs = (verdicts.runs[cell, name] for name in (method, verdicts.study.reference))
    shared = verdicts.of(cell)[0].shared
    at_one = [runs.at(shared, verdicts.study.seeds).at_best for runs in (ours, theirs)]
    ways = {
        ONE_RATE: [(each, other) for each, other in [at_one] if each and other],
        BEST_RATES: [*product(_like_best(ours), _like_best(theirs))] if ours.is_inside and theirs.is_inside else [],
    }
    for (what, of), (way, pairs) in product(FORGOTTEN.items(), ways.items()):
        at = [
            shares_removed(
                _forgotten(verdicts, cell, method, mine, of),
                _forgotten(verdicts, cell, verdicts.study.reference, its, of),
            )
            for mine, its in pairs
        ]
        yield Removed(method, what, way, decided(at), at[0] if at else np.empty(0))


def _like_best(runs: MethodRuns) -> list[RateRuns]:
    """Return the runs at a method's best rate, and at those that may as well have been chosen."""
    return [runs.at_best, *runs.like_best] if runs.at_best else []


def _forgotten(
    verdicts: Verdicts, cell: Cell, method: str, at: RateRuns, of: Callable[[Row], float]
) -> Float[np.ndarray, " k"]:
    """Return what every seed of a method forgets at a rate; NaN where one has diverged."""
    trials = verdicts.study.trials(cell, method, [at.at], len(at.valid))
    return np.where(np.isfinite(at.valid).all(1), [of(verdicts.rows[trial]) for trial in trials], np.nan)


def shares_removed(ours: Float[np.ndarray, " _"], theirs: Float[np.ndarray, " _"]) -> Float[np.ndarray, " k"]:
    """Return for every seed how much of what the reference forgets a method does not.

    The mean is 1 − mean(ours) / mean(theirs), and they scatter as that does (delta method): what a seed forgets may
    be nothing or less, so that a share of its own would tell nothing. Empty if one of them has diverged, or if the
    reference forgets no more than its seeds scatter.

    Args:
        ours, theirs: what is forgotten by every seed.

    >>> shares_removed(np.array([0.1, 0.2, 0.3]), np.array([0.9, 1.0, 1.1])).round(3)
    array([0.88, 0.8 , 0.72])
    >>> shares_removed(np.array([0.1, 0.2, 0.3]), np.array([-0.2, 0.1, 0.3]))
    array([], dtype=float64)
    """
    seeds = min(len(ours), len(theirs))
    ours, theirs = ours[:seeds], theirs[:seeds]
    if seeds < LEAST_SEEDS or not np.isfinite([ours, theirs]).all() or interval_of(theirs).low <= 0:
        return np.empty(0)
    left, whole = ours.mean() / theirs.mean(), theirs.mean()
    return 1 - left - (ours - left * theirs) / whole


def decided(shares: Sequence[Float[np.ndarray, " _"]]) -> str:
    """Judge that most is removed.

    Args:
        shares: those at the rates that are compared, then at others that may as well have been chosen: the verdict
            has to be the same at all of them.

    >>> most, less = np.array([0.88, 0.8, 0.72]), np.array([0.38, 0.3, 0.22])
    >>> decided([most]), decided([less]), decided([most, less]), decided([])
    ('holds', 'fails', 'undecided', 'undecided')
    """
    if not all(each.size for each in shares) or not shares:
        return UNDECIDED
    interval, means = interval_of(shares[0]), [each.mean() for each in shares]
    if interval.low > MOST and min(means) > MOST:
        return HOLDS
    return FAILS if interval.high < MOST and max(means) < MOST else UNDECIDED


CLAIM = Claim(
    number=26,
    name="little-replay",
    sentence="1 to 5% of replay removes most of the forgetting.",
    source=(
        "Scaling Laws for Forgetting (Bethune et al. 2025, arXiv 2502.06042), for 1%; Simple and Scalable Strategies "
        "to Continually Pre-train (Ibrahim et al. 2024, arXiv 2403.08763), for 5%"
    ),
    measured=(
        "How much of what LoRA forgets of the text to keep, LoRA that also trains on other passages of it, 1 to 5% of "
        "its loss, does not: of the rise of the loss there, and of the drift, KL(base‖lane), paired by seed, at the "
        "one rate with the lowest validation loss over all methods and each at its best rate. Most: the whole "
        f"interval lies above {MOST:g}."
    ),
    judge=on_study(judge, ()),
)
