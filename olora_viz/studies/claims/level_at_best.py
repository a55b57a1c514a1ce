"""Claim: all starts are level once each has its best rate, which falls with λ_max at the start."""

from __future__ import annotations

import math

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
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
from olora_viz.studies.claims.evidence import ClaimEvidence, Sharpness
from olora_viz.studies.plan import best
from olora_viz.studies.statistics import BETTER, LEVEL, LEVEL_WITHIN, UNDECIDED, WORSE, Interval, slope_by_orders
from olora_viz.studies.verdicts import Verdicts, values_of

FLAT = math.log(LEVEL_WITHIN) / math.log(10)
"""A best rate does not depend on λ_max if it changes by less than `LEVEL_WITHIN` per factor of ten: the largest
absolute exponent."""

OF_LEVEL = {LEVEL: HOLDS, BETTER: FAILS, WORSE: FAILS, UNDECIDED: UNDECIDED}
"""The verdict on the claim that a method is level with the reference."""


def judge(found: Verdicts, sharpness: Sharpness) -> Finding:
    """Judge that every method is level with the reference, and that the best rate falls."""
    study = found.study
    compared = [one for one in found.each if one.init != study.reference]
    others = [one.verdict for one in compared]
    points = by_method(found, sharpness)
    x, y = np.array(list(points.values())).reshape(-1, 2).T
    its = slope_by_orders(x, y)
    falls = _falls(its)
    cells, reference = len(study.cells()), label_of(study.reference)
    names = ", ".join(label_of(init) for init in points)
    over = f"the orders of {len(points)} methods"
    interval = ends(its, over, "+.2g") if math.isfinite(its.low) else "no interval"
    level = f", {WITHIN} for ten times the λ_max" if is_flat(its, FLAT) else ""
    trend = (
        f"the best rate scales as λ_max at the start to the power {its.mean:+.2g} ({interval}; {falls}{level})"
        if math.isfinite(its.mean)
        else f"a trend of the best rate with λ_max is {falls}"
    )
    few = "; fewer than five decide nothing" if len(points) < 5 else ""
    return Finding(
        verdict=together([*(OF_LEVEL[one] for one in others), falls]),
        words=(
            f"Each at its best rate and against {reference}, the methods are "
            f"{counted(others, 'comparison')} ({basis_of(found)}). Over {len(points)} methods "
            f"with a best rate inside the rates tried ({names}{few}), {trend}."
            f"{level_within(study, others, [one.margin for one in compared])}"
        ),
        numbers={
            "cells": cells, "methods": len(points),
            **{word: others.count(word) for word in OF_LEVEL}, "exponent_of_lambda_max": its,
            **{f"lambda_max_{init}": math.exp(x) for init, (x, _) in points.items()},
            **{f"best_rate_{init}": math.exp(y) for init, (_, y) in points.items()},
        },
        seeds=study.seeds,
        bars=tuple(
            Bar(f"{label_of(init)}, {what}", value / math.log(10))
            for init, point in points.items()
            if init != study.reference
            for what, value in zip(("λ_max", "best rate"), point, strict=True)
        ),
        unit=f"powers of ten from {reference}'s",
        over=next((over_of([one.difference.gap]) for one in compared if one.seeds), ""),
    )  # fmt: skip


def by_method(found: Verdicts, sharpness: Sharpness) -> dict[str, tuple[float, float]]:
    """Return the log of each method's λ_max and best rate against the reference's.

    Both are means over the cells in which the best rates of the two lie inside the rates tried, and zero for the
    reference. The cells of a study share their methods, so they are not counted as observations of their own.
    """
    study, valid = found.study, values_of(found.rows, "valid_loss")
    points = {}
    for init in study.inits:
        each = []
        for cell in study.cells():
            chosen = [best(study, cell, one, valid) for one in (init, study.reference)]
            rates = [one.lr for one in chosen if one is not None and one.is_inside]
            if len(rates) < 2:
                continue
            its, theirs = (sharpness[cell][one] for one in (init, study.reference))
            if min(*its, *theirs) > 0:
                each.append((np.log(its / theirs).mean(), math.log(rates[0] / rates[1])))
        if each:
            x, y = np.mean(each, axis=0)
            points[init] = float(x), float(y)
    return points


def _falls(its: Interval) -> str:
    """Judge that an exponent is negative: one that is level with zero fails as well."""
    if is_flat(its, FLAT) or its.low > 0:
        return FAILS
    return HOLDS if its.high < 0 else UNDECIDED


def measure(evidence: ClaimEvidence, found: Verdicts) -> Finding:
    """Judge the claim on a study and the curvature at the start of its methods."""
    return judge(found, evidence.sharpness)


CLAIM = Claim(
    number=13,
    name="level-at-best",
    sentence="All starts are level at their best rates, which fall with λ_max.",
    source=RATE_MATTERS,
    measured=(
        "The verdict on every method of a study against its reference at best rates, and the "
        "exponent of the largest eigenvalue of the Hessian at the start in the best rate, over the "
        "methods, with its exact interval over their orders. Fewer than five methods have no "
        f"interval; within ±{FLAT:.1f}, a factor of {LEVEL_WITHIN} in the rate per factor of ten, "
        "it is zero."
    ),
    judge=OnStudy(measure, inits=()),
)
