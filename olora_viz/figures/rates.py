"""Held-out loss against the learning rate as a figure; a pure function, see `figures.layout`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from olora_viz.figures.layout import CurveEnd, Figure, annotate, end_labels, layout, log_axis, log_range, nothing_yet
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
        curves: of `olora_viz.studies.story.rate_curves`, by the same measure.
        measure: one of `rate_sweep.MEASURES`.
        start_loss: held-out loss before the race, nats.
        plain_text: whether every token is supervised instead of an answer.
        examples: number of held-out examples; 0 if unknown.
        run: changes with the race; zoom and hidden curves are kept while it stays the same.
        chosen: the rates to mark, by the curves' labels; None for those of the optima.
    """
    if chosen is None:
        chosen = {curve.label: curve.optimum.lr for curve in curves if curve.optimum}
    title = f"{NAMES[measure]} against learning rate"
    rests = f", {counted(examples, 'held-out example')}" if examples else ""
    nats = loss_unit(plain_text) + rests
    seeds = max((curve.seeds for curve in curves), default=1)
    unit = f"{nats}; ○ optimum, × diverged"
    if seeds > 1:
        unit = f"{nats}; mean and range of {seeds} seeds; ○ optimum, × diverged"
    ceiling = math.inf if start_loss is None else HIGHEST * start_loss
    drawn = [loss for c in curves for p in c.points for loss in p.known if loss <= ceiling]
    if not drawn and not any(point.diverged for curve in curves for point in curve.points):
        return nothing_yet(title, unit, AXES, "Nothing is evaluated yet.", HEIGHT)
    low, high = log_range([np.array(drawn)])
    high += 0.09 * (high - low)  # for the crosses
    tried = np.array(sorted({point.lr for curve in curves for point in curve.points}))
    whole = [p.lr for curve in curves for p in curve.points if _on_scale(p, ceiling)]
    most = FAR * max(whole, default=tried[0])
    rates = np.minimum(tried, most)
    styles = curve_styles(curves)
    data: list[dict[str, Any]] = []
    for curve in curves:
        data += _band(curve, styles[curve.label], ceiling)
    for curve in curves:
        data += _curve(curve, styles[curve.label], ceiling, chosen.get(curve.label))
    data += _crosses(curves, styles, ceiling, (low, high), most)
    first, last = log_range([rates])
    made = layout(
        title,
        unit,
        x=log_axis(AXES[0], min(first, math.log10(rates.min()) - 0.08), last + 0.05),
        y=log_axis(AXES[1], low, high),
        height=HEIGHT,
        how=(
            "Too low a rate learns slowly, too high a rate diverges. Compare the lowest points "
            "of the curves, not their values at one rate."
        ),
        badge="log, log",
        revision=run or "rates",
    )
    made["hovermode"] = "closest"
    shown = _few([lr for lr in tried.tolist() if lr <= most])
    made["xaxis"] |= {"tickvals": shown, "ticktext": _apart(shown)}
    annotate(made, _names(curves, styles, ceiling, low, high))
    return {"data": data, "layout": made}


def curve_styles(curves: Sequence[RateCurve]) -> dict[str, LaneStyle]:
    """Return the style of every curve by its label."""
    its = lane_styles([curve.lane for curve in curves])
    return {curve.label: style for curve, style in zip(curves, its, strict=True)}


def _on_scale(point: Point, ceiling: float) -> bool:
    return point.mean <= ceiling  # not where it is NaN


def _band(curve: RateCurve, style: LaneStyle, ceiling: float) -> list[dict[str, Any]]:
    """Return the lower and the upper edge of a curve's seeds, filled between, and the seeds."""
    if curve.seeds == 1:
        return []
    x = [point.lr for point in curve.points]
    edge = {
        "type": "scatter", "mode": "lines", "x": x, "name": style.label,
        "legendgroup": style.label, "line": {"color": style.color, "width": 0},
        "hoverinfo": "skip",
    }  # fmt: skip
    ends = [[end(p.known) if _on_scale(p, ceiling) else math.nan for p in curve.points] for end in (min, max)]
    each = [(p.lr, loss) for p in curve.points for loss in p.known if loss <= ceiling]
    seeds = {
        **edge, "mode": "markers", "x": [lr for lr, _ in each],
        "y": plain(np.array([loss for _, loss in each])), "opacity": 0.45,
        "marker": {"color": style.color, "size": 3.5},
    }  # fmt: skip
    return [
        {**edge, "y": plain(np.array(ends[0]))},
        {**edge, "y": plain(np.array(ends[1])), "fill": "tonexty", "fillcolor": f"{style.color}-band"},
        seeds,
    ]


def _curve(curve: RateCurve, style: LaneStyle, ceiling: float, chosen: float | None) -> list[dict[str, Any]]:
    """Return the means of a curve, and a ring around one of them."""
    best = next((point for point in curve.points if point.lr == chosen), None)
    means = [p.mean if _on_scale(p, ceiling) else math.nan for p in curve.points]
    common = {"type": "scatter", "name": style.label, "legendgroup": style.label}
    line = {
        **common, "mode": "lines+markers", "x": [point.lr for point in curve.points],
        "y": plain(np.array(means)), "text": [_words(curve, point) for point in curve.points],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": style.color, "width": 2.2, "dash": style.dash},
        "marker": {"color": style.color, "size": 6, "symbol": style.symbol},
    }  # fmt: skip
    if best is None or not _on_scale(best, ceiling):
        return [line]
    ring = {
        **common, "mode": "markers", "x": [best.lr], "y": plain(np.array([best.mean])),
        "hoverinfo": "skip", "marker": {
            "color": style.color, "size": 15, "symbol": "circle-open", "line": {"width": 2},
        },
    }  # fmt: skip
    return [line, ring]


def _crosses(
    curves: Sequence[RateCurve], styles: dict[str, LaneStyle], ceiling: float, bounds: tuple[float, float], most: float
) -> list[dict[str, Any]]:
    """Return a cross at the top for every rate that does not fit on the scale."""
    low, high = bounds
    taken: dict[float, int] = {}
    made = []
    for curve in curves:
        off = [p for p in curve.points if p.diverged or p.mean > ceiling]
        if not off:
            continue
        places = []
        for point in off:
            places.append(10 ** (high - (0.03 + 0.055 * taken.get(point.lr, 0)) * (high - low)))
            taken[point.lr] = taken.get(point.lr, 0) + 1
        style = styles[curve.label]
        made.append(
            {
                "type": "scatter", "mode": "markers", "x": [min(point.lr, most) for point in off],
                "y": plain(np.array(places)), "name": f"{style.label}, off the scale",
                "legendgroup": style.label, "text": [_words(curve, point) for point in off],
                "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
                "marker": {
                    "color": style.color, "size": 9, "symbol": "x-thin",
                    "line": {"color": style.color, "width": 2.2},
                },
            }
        )  # fmt: skip
    return made


def _words(curve: RateCurve, point: Point) -> str:
    """Return the hover text of a point."""
    what = f"{curve.label} at {compact(point.lr)}"
    count = len(point.lanes)
    if point.diverged:
        return f"{what}: {'' if count == 1 else f'{point.diverged} of {count} seeds '}diverged"
    if count == 1 or not point.known:
        return f"{what}: {point.mean:.3g}"
    return f"{what}: {point.mean:.3g} ({min(point.known):.3g} to {max(point.known):.3g})"


def _names(
    curves: Sequence[RateCurve], styles: dict[str, LaneStyle], ceiling: float, low: float, high: float
) -> list[dict[str, Any]]:
    """Return the names at the right ends of the curves, kept apart."""
    ends = []
    for curve in curves:
        shown = [point for point in curve.points if _on_scale(point, ceiling)]
        if shown:
            style = styles[curve.label]
            x, y = round(math.log10(shown[-1].lr), 4), math.log10(shown[-1].mean)
            ends.append(CurveEnd(style.label, style.init, style.text, x, y))
    return end_labels(ends, bounds=(low, high), height=HEIGHT)


def _apart(rates: Sequence[float]) -> list[str]:
    """Return the tick labels: blank where they would meet on a narrow screen, the longest first.

    >>> _apart([1e-4, 3e-4, 1e-3, 1.73e-3, 3e-3, 5.48e-3, 1e-2])
    ['1e-4', '3e-4', '1e-3', '', '3e-3', '', '1e-2']
    """
    if not rates:
        return []
    gap = math.log10(max(rates) / min(rates)) / 7
    kept: list[float] = []
    for rate in sorted(rates, key=lambda rate: (len(compact(rate)), rate)):
        if all(abs(math.log10(rate / other)) >= gap for other in kept):
            kept.append(rate)
    return [compact(rate) if rate in kept else "" for rate in rates]


def _few(rates: Sequence[float]) -> list[float]:
    """Return the rates of the tick labels: all that were tried, or every second one, and so on."""
    return list(rates[:: math.ceil(len(rates) / MOST_TICKS)])
