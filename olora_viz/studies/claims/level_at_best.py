"""Claim: all starts are level once each has its best rate, which falls with λ_max at the start."""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OF_LEVEL,
    RATE_MATTERS,
    WITHIN,
    Bar,
    Claim,
    Finding,
    OnStudy,
    basis_of,
    counted,
    ends,
    is_flat,
    level_within,
    over_of,
    together,
)
from olora_viz.studies.claims.evidence import Sharpness
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import values_of
from olora_viz.studies.search import best
from olora_viz.studies.statistics import ERROR, LEVEL_WITHIN, RESAMPLES, UNDECIDED, Interval
from olora_viz.studies.verdicts import Verdicts

FLAT_SLOPE = math.log(LEVEL_WITHIN) / math.log(10)
"""A best rate does not depend on λ_max if it changes by less than `LEVEL_WITHIN` per factor of ten: the largest
absolute exponent."""


def judge(verdicts: Verdicts, sharpness: Sharpness) -> Finding:
    """Judge that every method is level with the reference, and that the best rate falls."""
    study, reference = verdicts.study, method_name(verdicts.study.reference)
    compared = [each for each in verdicts.each if each.method != study.reference]
    words = [each.verdict for each in compared]
    points = by_method(verdicts, sharpness)
    exponent = slope_by_orders(*np.array(list(points.values())).reshape(-1, 2).T)
    falls = _falls(exponent)
    if math.isfinite(exponent.mean):
        over = f"the orders of {len(points)} methods"
        interval = ends(exponent, over, "+.2g") if math.isfinite(exponent.low) else "no interval"
        level = f", {WITHIN} for ten times the λ_max" if is_flat(exponent, FLAT_SLOPE) else ""
        power = f"{exponent.mean:+.2g} ({interval}; {falls}{level})"
        trend = f"the best rate scales as λ_max at the start to the power {power}"
    else:
        trend = f"a trend of the best rate with λ_max is {falls}"
    names = ", ".join(method_name(init) for init in points)
    few = "; fewer than five decide nothing" if len(points) < 5 else ""
    return Finding(
        verdict=together([*(OF_LEVEL[word] for word in words), falls]),
        words=(
            f"Each at its best rate and against {reference}, the methods are {counted(words, 'comparison')} "
            f"({basis_of(verdicts)}). Over {len(points)} methods with a best rate inside the rates tried "
            f"({names}{few}), {trend}.{level_within(study, words, [each.margin for each in compared])}"
        ),
        numbers={
            "cells": len(study.cells()),
            "methods": len(points),
            **{word: words.count(word) for word in OF_LEVEL},
            "exponent_of_lambda_max": exponent,
            **{f"lambda_max_{init}": math.exp(x) for init, (x, _) in points.items()},
            **{f"best_rate_{init}": math.exp(y) for init, (_, y) in points.items()},
        },
        seeds=study.seeds,
        bars=tuple(
            Bar(f"{method_name(init)}, {what}", value / math.log(10))
            for init, point in points.items()
            if init != study.reference
            for what, value in zip(("λ_max", "best rate"), point, strict=True)
        ),
        unit=f"powers of ten from {reference}'s",
        over=next((over_of([each.difference.gap]) for each in compared if each.seeds), ""),
    )


def by_method(verdicts: Verdicts, sharpness: Sharpness) -> dict[str, tuple[float, float]]:
    """Return the log of each method's λ_max and best rate against the reference's.

    Both are means over the cells in which the best rates of the two lie inside the rates tried, and zero for the
    reference. The cells of a study share their methods, so they are not counted as observations of their own.
    """
    study, valid = verdicts.study, values_of(verdicts.rows, "valid_loss")
    points = {}
    for init in study.compare:
        logs = []
        for cell in study.cells():
            pair = init, study.reference
            rates = [chosen.at.lr for each in pair if (chosen := best(study, cell, each, valid)) and chosen.is_inside]
            ours, theirs = (sharpness[cell][each] for each in pair)
            if len(rates) == 2 and min(*ours, *theirs) > 0:
                logs.append((np.log(ours / theirs).mean(), math.log(rates[0] / rates[1])))
        if logs:
            x, y = np.mean(logs, axis=0)
            points[init] = float(x), float(y)
    return points


def _falls(exponent: Interval) -> str:
    """Judge that an exponent is negative: one that is level with zero fails as well."""
    if is_flat(exponent, FLAT_SLOPE) or exponent.low > 0:
        return FAILS
    return HOLDS if exponent.high < 0 else UNDECIDED


MOST_POINTS = 7
"""Up to so many points all their orders are tried; of more, `RESAMPLES` are drawn."""


def slope_by_orders(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Interval:
    """Return the least-squares slope of y on x, with its exact interval over the orders of x.

    If y − bx does not depend on x, all n! orders of x are equally likely (Pitman 1937). An order π correlates with y −
    bx as much as the observed one at the slope

        b_π = Σ (x − x_π) y / Σ (x − x_π) x.

    The interval has all b that neither one-sided test rejects at 2.5%, so its ends are order statistics of the b_π.
    They are infinite for fewer than five points, which have too few orders.

    >>> slope_by_orders(np.arange(3.0), np.array([0.0, -1.0, -2.0]))[:3]
    (-1.0, -inf, inf)
    """
    if len(x) < 2 or np.ptp(x) == 0:
        return Interval(math.nan, -math.inf, math.inf, 1.0)
    x, y = x - x.mean(), y - y.mean()
    orders = x[_orders(len(x))]
    across, along = (x - orders) @ y, (x - orders) @ x
    moved = along > 1e-12 * (x @ x)  # the others are the same order of the values
    same = int((~moved).sum())
    across[np.abs(across) < 1e-12 * np.linalg.norm(x) * np.linalg.norm(y)] = 0.0
    critical = np.sort(across[moved] / along[moved])
    k = math.floor(ERROR / 2 * len(orders) - same)
    low, high = (critical[k], critical[-1 - k]) if k >= 0 else (-math.inf, math.inf)
    tails = [(same + int(beyond.sum())) / len(orders) for beyond in (critical <= 0, critical >= 0)]
    return Interval(float(x @ y / (x @ x)), float(low), float(high), min(1.0, 2 * min(tails)))


def _orders(n: int) -> np.ndarray:
    """Return orders of n places, the identity among them."""
    if n <= MOST_POINTS:
        return np.array(list(itertools.permutations(range(n))))
    random = np.random.default_rng(0)
    return np.stack([np.arange(n), *(random.permutation(n) for _ in range(RESAMPLES - 1))])


CLAIM = Claim(
    number=13,
    name="level-at-best",
    sentence="All starts are level at their best rates, which fall with λ_max.",
    source=RATE_MATTERS,
    measured=(
        "The verdict on every method of a study against its reference at best rates, and the exponent of the largest "
        "eigenvalue of the Hessian at the start in the best rate, over the methods, with its exact interval over "
        f"their orders. Fewer than five methods have no interval; within ±{FLAT_SLOPE:.1f}, "
        f"a factor of {LEVEL_WITHIN} in the rate per factor of ten, it is zero."
    ),
    judge=OnStudy(lambda evidence, verdicts: judge(verdicts, evidence.sharpness), methods=()),
)
