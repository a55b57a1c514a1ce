"""Lanes that differ only in their seed, drawn as one curve: their mean, and a band around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from olora_viz.figures.layout import line
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.races.step import Step, out_at
from olora_viz.studies.seed_groups import SeedGroup


def group_styles(groups: Sequence[SeedGroup], styles: Sequence[LaneStyle]) -> tuple[LaneStyle, ...]:
    """Return the style of every group: its lane's if no seed is repeated, otherwise a new one.

    Parameters
    ----------
    groups : of `seed_groups`.
    styles : of the lanes.
    """
    if len(groups) == len(styles):
        return tuple(styles)
    return lane_styles([replace(group.lane, seed=0) for group in groups])


def one_each(count: int) -> list[tuple[int, ...]]:
    """Return groups of one lane each, where no seeds are repeated."""
    return [(k,) for k in range(count)]


def seed_means(values: np.ndarray, seeds: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the mean of every group; NaN from the step at which one of its lanes diverged.

    Parameters
    ----------
    values : (N, K), a column per lane.
    seeds : the lanes of every group.

    Returns
    -------
    (N, groups)
    """
    return np.stack([values[:, list(group)].mean(1) for group in seeds], axis=1)


def seeds_left(steps: Sequence[Step], seeds: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the steps at which the lanes of every group diverged, 0 for one that has not."""
    left = out_at(steps, sum(map(len, seeds)))
    return [tuple(left[k] for k in group) for group in seeds]


def seed_band(style: LaneStyle, values: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    """Return the edges of a group's band, filled between: its lowest and its highest lane.

    Diverged lanes are left out.

    Parameters
    ----------
    look : the group's style.
    values : (N, lanes), of the group's lanes.
    more : passed to both traces.
    """
    there = np.isfinite(values)
    some = there.any(1)
    edges = [
        np.where(some, np.where(there, values, far).min(1) * sign, np.nan)
        for values, far, sign in ((values, np.inf, 1), (-values, np.inf, -1))
    ]
    made = [line(style, edge, 0, **more, hoverinfo="skip") for edge in edges]
    made[1] |= {"fill": "tonexty", "fillcolor": f"{style.color}-band"}
    return made


def groups_of(
    styles: Sequence[LaneStyle], seeds: Sequence[Sequence[int]] | None
) -> tuple[Sequence[Sequence[int]], int]:
    """Return the lanes of every curve, and how many lanes there are."""
    groups = one_each(len(styles)) if seeds is None else seeds
    return groups, sum(map(len, groups))


def band_words(groups: Sequence[Sequence[int]]) -> str:
    """Return what a band is, for the end of a chart's unit; empty without bands.

    >>> band_words([(0, 1, 2), (3, 4, 5)])
    '; band: range of 3 seeds'
    """
    most = max(map(len, groups), default=1)
    return f"; band: range of {most} seeds" if most > 1 else ""


def group_bands(
    styles: Sequence[LaneStyle], values: np.ndarray, groups: Sequence[Sequence[int]], **place: Any
) -> list[dict[str, Any]]:
    """Return the bands of the groups that have several lanes."""
    return [
        trace
        for style, group in zip(styles, groups, strict=True)
        if len(group) > 1
        for trace in seed_band(
            style, values[:, list(group)], name=style.label, legendgroup=style.label, **place
        )
    ]
