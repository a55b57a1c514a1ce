"""The curvature of a race as figures: sharpness, and the stable rates; see `figures.layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import name_log_ends
from olora_viz.figures.layout import Figure, layout, line, log_axis, log_range, steps_axis
from olora_viz.figures.seed_bands import band_words, group_bands, groups_of, seed_means, seeds_left
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import compact
from olora_viz.measures.conditioning import CURVATURE
from olora_viz.races.step import Step

HEIGHT = 190
"""Height of the plot areas in pixels."""


def sharpness_figure(
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw the largest eigenvalue of every lane's Hessian during training, on a log axis.

    See `measure_figure` for the parameters.
    """
    groups, K = groups_of(styles, seeds)
    at, found = curvatures(steps, K)
    of_lanes = np.where(found > 0, found, np.nan)
    values = seed_means(of_lanes, groups)
    data = group_bands(styles, of_lanes, groups, x=at) + [
        line(style, values[:, k], 1.8, name=style.label, legendgroup=style.label)
        | {"x": at, "mode": "lines+markers", "marker": _mark(style, 4.5)}
        for k, style in enumerate(styles)
    ]
    low, high = log_range([of_lanes])
    made = layout(
        CURVATURE.title,
        CURVATURE.unit + band_words(groups),
        x=steps_axis(total),
        y=log_axis(CURVATURE.symbol, low, high) | ({} if at else {"showticklabels": False}),
        height=HEIGHT,
        how="How curved the loss is in its most curved direction; a falling curve flattens.",
        badge="log",
        message="" if at else "Choose how often to measure, then press Race.",
        revision=run or "race",
    )
    name_log_ends(made, styles, at, values, (low, high), left=seeds_left(steps, groups))
    return {"data": data, "layout": made}


def stability_figure(
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw 2/λₘₐₓ, gradient descent's largest stable rate, with each lane's learning rate.

    See `measure_figure` for the parameters.
    """
    groups, K = groups_of(styles, seeds)
    at, found = curvatures(steps, K)
    of_lanes = np.where(found > 0, 2 / np.where(found > 0, found, 1.0), np.nan)
    limit = seed_means(of_lanes, groups)
    rates = np.array([step.lr for step in steps if step.curvature is not None], dtype=float)
    rates = seed_means(rates.reshape(len(at), K), groups)
    data = group_bands(styles, of_lanes, groups, x=at)
    for k, style in enumerate(styles):
        common = {"legendgroup": style.label, "x": at}
        data.append(
            line(style, limit[:, k], 1.8, name=f"{style.label}: 2/λ", **common)
            | {"mode": "lines+markers", "marker": _mark(style, 4.5)}
        )
        data.append(
            line(style, rates[:, k], 1.4, name=f"{style.label}: rate", **common)
            | {"line": {"color": style.color, "width": 1.4, "dash": "dot"}}
        )
    low, high = log_range([of_lanes, rates])
    made = layout(
        "Stability: 2/λₘₐₓ and the learning rate",
        "solid: 2/λ, the limit of gradient descent (Adam's differs); dotted: learning rate"
        + band_words(groups),
        x=steps_axis(total),
        y=log_axis("learning rate", low, high) | ({} if at else {"showticklabels": False}),
        height=HEIGHT,
        how=(
            "Gradient descent is stable while its learning rate is below 2/λ. Adam rescales its "
            "steps, so for it the crossing is a hint, not a limit."
        ),
        badge="log",
        message="" if at else "2/λ and the learning rates appear here.",
        revision=run or "race",
    )
    name_log_ends(
        made, styles, at, limit, (low, high), extra=_rate_ends(rates),
        left=seeds_left(steps, groups),
    )  # fmt: skip
    return {"data": data, "layout": made}


def curvatures(steps: Sequence[Step], lanes: int) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the curvature was measured, and λₘₐₓ (N, K) there."""
    seen = [(step.step, step.curvature) for step in steps if step.curvature is not None]
    values = np.array([curved.lambda_max for _, curved in seen], dtype=float)
    return [number for number, _ in seen], values.reshape(len(seen), lanes)


def _rate_ends(rates: np.ndarray) -> list[tuple[float, str, str]]:
    if not rates.size:
        return []
    named = {f"rate {compact(rate)}": rate for rate in rates[-1].tolist()}
    return [(rate, name, "@mute") for name, rate in named.items()]


def _mark(style: LaneStyle, size: float) -> dict[str, Any]:
    return {"color": style.color, "size": size, "symbol": style.symbol}
