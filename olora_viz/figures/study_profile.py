"""The performance profile of a study: how often a method is within a factor of the fastest.

A pure function, see `figures.layout`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from olora_viz.figures.labels import CurveEnd, annotate, end_labels
from olora_viz.figures.layout import Figure, axis, layout, line, log_axis, nothing_yet
from olora_viz.figures.study_curves import HEIGHT, examples, many, method_styles
from olora_viz.initializers import label_of
from olora_viz.studies.statistics import performance_profile
from olora_viz.studies.verdicts import Verdicts

FARTHEST = 16.0
"""The largest factor that is drawn."""

SHARES = {"range": [-0.04, 1.04], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]}
"""The vertical axis."""


PROFILE = (
    "The share of cells and seeds in which a method reached the target within a factor of the "
    "fastest one's steps. Higher and further left is better; a run that never reaches it counts as "
    "infinite."
)
"""How to read the chart."""


def profile_figure(found: Verdicts) -> Figure:
    """Draw the share of all runs in which a method took at most some multiple of the fastest's
    steps to the reference's final loss, each at its best rate.

    A run that never gets there keeps its method's curve below 100%.
    """
    study, who = found.study, label_of(found.study.reference)
    times = times_to_target(found)
    runs = next(iter(times.values())).size
    title = f"How often each method is among the fastest to {who}'s final validation loss"
    unit = (
        f"share of {many(runs, 'run')}: {many(study.seeds, 'seed')} in each of "
        f"{many(runs // study.seeds, 'cell')}, {examples(found, None, 'valid')}; best rates; "
        "never there: infinite"
    )
    names = "steps, as a multiple of the fastest method's", "share of runs"
    if not runs:
        why = f"{who} has no rate at which every seed has finished."
        return nothing_yet(title, unit, names, why, HEIGHT)
    stacked = np.array(list(times.values()))
    factors = _corners(stacked)
    shares = performance_profile(stacked, factors)
    styles, data, ends = method_styles(times), [], []
    last = float(factors[-1])
    for init, its in zip(times, shares, strict=True):
        style = styles[init]
        name: dict[str, Any] = {"name": style.label, "legendgroup": style.label}
        stair = np.repeat(its, 2)[:-1]
        x = np.repeat(factors, 2)[1:].tolist()
        data.append(line(style, stair, 2.2, x=x, hovertemplate="%{y:.0%}", **name))
        got = int(np.isfinite(times[init]).sum())
        end = CurveEnd(
            style.label, init, style.text, math.log10(last), float(its[-1]), f": {got} of {runs}"
        )
        ends.append(end)
    x_axis = log_axis(names[0], -0.005, math.log10(last) + 0.005)
    y_axis = axis(names[1], **SHARES, ticktext=["0%", "25%", "50%", "75%", "100%"])
    made = layout(
        title,
        unit,
        x=x_axis,
        y=y_axis,
        height=HEIGHT,
        badge="log",
        how=PROFILE,
        revision="profile",
    )
    annotate(made, end_labels(ends, bounds=(-0.04, 1.04), height=HEIGHT))
    return {"data": data, "layout": made}


def times_to_target(found: Verdicts) -> dict[str, np.ndarray]:
    """Return when each method reached the reference's final loss, over all cells and seeds.

    A method without a rate never does; cells without a final loss of the reference are left out.
    """
    study = found.study
    cells = [cell for cell in study.cells() if any(one.reached_at for one in found.of(cell))]
    of = {(one.cell, one.init): _padded(one.reached_at, study.seeds) for one in found.each}
    return {
        init: np.array([at for cell in cells for at in of[cell, init]], dtype=float)
        for init in study.inits
    }


def _padded(times: tuple[float, ...], seeds: int) -> tuple[float, ...]:
    """Return the times of the first seeds; those that did not run never get there."""
    return (*times, *[math.inf] * seeds)[:seeds]


def _corners(times: np.ndarray) -> np.ndarray:
    """Return the factors at which some method's share changes, from 1 to the end of the axis."""
    fastest = times.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # at step 0, or never
        ratios = (times / fastest).ravel()
    inside = ratios[np.isfinite(ratios) & (ratios >= 1) & (ratios <= FARTHEST)]
    return np.unique([1.0, *inside, min(FARTHEST, 1.1 * inside.max(initial=1.0))])
