"""Held-out loss against the learning rate as a figure; a pure function, see `figures.layout`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    CurveEnd,
    Figure,
    band_edges,
    crosses,
    layout,
    line,
    log_axis,
    log_range,
    nothing_yet,
    points,
)
from olora_viz.figures.theme import LaneStyle, lane_styles
from olora_viz.machine.text import compact, counted, plain
from olora_viz.measures.training import loss_unit
from olora_viz.studies.story import Point, RateCurve

HEIGHT = 250
"""Height of the plot area in pixels."""

HIGHEST = 2.0
"""The loss axis ends at this multiple of the loss before the race; losses above are marked at its upper end."""

FAR = 30.0
"""Rates beyond this multiple of the highest one with a loss are drawn at the right end."""

MOST_TICKS = 9
"""Maximum number of tick labels on the axis of rates."""

NAMES = {"final": "Final held-out loss", "best": "Best held-out loss"}

AXES = ("learning rate", "held-out loss, nats")


def rate_figure(
    curves: Sequence[RateCurve],
    measure: str = "final",
    *,
    start_loss: float | None = None,
    plain_text: bool = False,
    examples: int = 0,
    run: str = "",
    chosen: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a curve for every start, its optimum, and its seeds as a band, on log axes.

    Rates at which a seed diverged or the loss is off the scale are crosses at the top.

    Args:
        curves: of `rate_curves`, by the same measure, one of `NAMES`.
        start_loss: held-out loss before the race, nats.
        examples: number of held-out examples; 0 if unknown.
        run: changes with the race, see `measure_figure`.
        chosen: the rates to mark, by the curves' labels; None for those of the optima.
    """
    if chosen is None:
        chosen = {curve.label: curve.optimum.lr for curve in curves if curve.optimum}
    title = f"{NAMES[measure]} against learning rate"
    nats = loss_unit(plain_text) + (f", {counted(examples, 'held-out example')}" if examples else "")
    seeds = max((curve.seeds for curve in curves), default=1)
    unit = f"{nats}{f'; mean and range of {seeds} seeds' if seeds > 1 else ''}; ○ optimum, × diverged"
    tried = [point for curve in curves for point in curve.points]
    ceiling = math.inf if start_loss is None else HIGHEST * start_loss
    losses = [loss for point in tried for loss in point.known if loss <= ceiling]
    if not losses and not any(point.diverged for point in tried):
        return nothing_yet(title, unit, AXES, "Nothing is evaluated yet.", HEIGHT)
    low, high = log_range([np.array(losses)])
    high += 0.09 * (high - low)  # for the crosses
    rates = sorted({point.lr for point in tried})
    most = FAR * max((point.lr for point in tried if _on_scale(point, ceiling)), default=rates[0])
    styles = curve_styles(curves)
    ends = []
    bands: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    for curve in curves:
        style = styles[curve.label]
        bands += _band(curve, style, ceiling)
        data += _curve(curve, style, ceiling, chosen.get(curve.label))
        if shown := [point for point in curve.points if _on_scale(point, ceiling)]:
            ends.append(CurveEnd.of(style, round(math.log10(shown[-1].lr), 4), math.log10(shown[-1].mean)))
    off_scale = _crosses(curves, styles, ceiling, (low, high), most)
    first, last = log_range([np.minimum(rates, most)])
    ticks = [rate for rate in rates if rate <= most]
    ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]  # all that were tried, or every second one, and so on
    x = log_axis(AXES[0], min(first, math.log10(min(rates[0], most)) - 0.08), last + 0.05)
    drawn = layout(
        title,
        unit,
        x=x | {"tickvals": ticks, "ticktext": _apart(ticks)},
        y=log_axis(AXES[1], low, high),
        height=HEIGHT,
        how=(
            "Too low a rate learns slowly, too high a rate diverges. Compare the lowest points of the curves, not "
            "their values at one rate."
        ),
        revision=run or "rates",
        closest=True,
        ends=ends,
    )
    return {"data": bands + data + off_scale, "layout": drawn}


def curve_styles(curves: Sequence[RateCurve]) -> dict[str, LaneStyle]:
    """Return the style of every curve by its label."""
    styles = lane_styles([curve.lane for curve in curves])
    return {curve.label: style for curve, style in zip(curves, styles, strict=True)}


def _on_scale(point: Point, ceiling: float) -> bool:
    return point.mean <= ceiling  # not where it is NaN


def _band(curve: RateCurve, style: LaneStyle, ceiling: float) -> list[dict[str, Any]]:
    """Return the edges of the band of a curve's seeds, and the seeds."""
    if curve.seeds == 1:
        return []
    low, high = (
        np.array([end(p.known) if _on_scale(p, ceiling) else math.nan for p in curve.points]) for end in (min, max)
    )
    edges = band_edges(style, [point.lr for point in curve.points], low, high)
    losses = [(p.lr, loss) for p in curve.points for loss in p.known if loss <= ceiling]
    y = plain(np.array([loss for _, loss in losses]))
    common = {"name": style.label, "legendgroup": style.label, "line": {"color": style.color, "width": 0}}
    seeds = points([lr for lr, _ in losses], y, style.color, 3.5, opacity=0.45, hoverinfo="skip", **common)
    return [*edges, seeds]


def _curve(curve: RateCurve, style: LaneStyle, ceiling: float, chosen: float | None) -> list[dict[str, Any]]:
    """Return the means of a curve, and a ring around one of them."""
    means = np.array([p.mean if _on_scale(p, ceiling) else math.nan for p in curve.points])
    drawn = [line(style, means, 2.2, marks=6, x=[point.lr for point in curve.points], **_hover(curve, curve.points))]
    best = next((point for point in curve.points if point.lr == chosen), None)
    if best is not None and _on_scale(best, ceiling):
        common = {"name": style.label, "legendgroup": style.label, "hoverinfo": "skip"}
        y = plain(np.array([best.mean]))
        drawn.append(points([best.lr], y, style.color, 15, symbol="circle-open", edge={"width": 2}, **common))
    return drawn


def _crosses(
    curves: Sequence[RateCurve], styles: dict[str, LaneStyle], ceiling: float, bounds: tuple[float, float], most: float
) -> list[dict[str, Any]]:
    """Return a cross at the top for every rate that does not fit on the scale."""
    low, high = bounds
    above: Counter[float] = Counter()  # the crosses at a rate
    traces = []
    for curve in curves:
        off = [p for p in curve.points if p.diverged or p.mean > ceiling]
        if not off:
            continue
        places = []
        for point in off:
            places.append(10 ** (high - (0.03 + 0.055 * above[point.lr]) * (high - low)))
            above[point.lr] += 1
        style = styles[curve.label]
        x, y = [min(point.lr, most) for point in off], plain(np.array(places))
        traces.append(crosses(style, x, y, name=f"{style.label}, off the scale", **_hover(curve, off)))
    return traces


def _hover(curve: RateCurve, points: Sequence[Point]) -> dict[str, Any]:
    """Return the hover texts of points."""
    words = []
    for point in points:
        count = len(point.lanes)
        if point.diverged:
            what = f"{'' if count == 1 else f'{point.diverged} of {count} seeds '}diverged"
        else:
            what = f"{point.mean:.3g}"
            what += f" ({min(point.known):.3g} to {max(point.known):.3g})" if count > 1 and point.known else ""
        words.append(f"{curve.label} at {compact(point.lr)}: {what}")
    return {"text": words, "hovertemplate": "%{text}<extra></extra>"}


def _apart(rates: Sequence[float]) -> list[str]:
    """Return the tick labels: blank where they would meet on a narrow screen, the longest first.

    >>> _apart([1e-4, 3e-4, 1e-3, 1.73e-3, 3e-3, 5.48e-3, 1e-2])
    ['1e-4', '3e-4', '1e-3', '', '3e-3', '', '1e-2']
    """
    if not rates:
        return []
    gap = math.log10(max(rates) / min(rates)) / 7
    named: list[float] = []
    for rate in sorted(rates, key=lambda rate: (len(compact(rate)), rate)):
        if all(abs(math.log10(rate / other)) >= gap for other in named):
            named.append(rate)
    return [compact(rate) if rate in named else "" for rate in rates]
