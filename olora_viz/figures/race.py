"""A race as figures: loss, gradient norm and accuracy; pure functions, see `figures.layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from olora_viz.figures.labels import annotate, curve_ends
from olora_viz.figures.layout import (
    Figure,
    axis,
    layout,
    line,
    log_axis,
    log_range,
    steps_axis,
    unlabelled_until,
)
from olora_viz.figures.measure import column, measure_figure, stride
from olora_viz.figures.off_range import OFF_RANGE, off_range
from olora_viz.figures.seed_bands import (
    band_words,
    group_bands,
    groups_of,
    seed_band,
    seed_means,
    seeds_left,
)
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.numbers import counted, plain, smoothed
from olora_viz.measures.catalogue import MEASURES
from olora_viz.measures.training import loss_unit
from olora_viz.races.step import Step, held_out_at_start, held_out_count
from olora_viz.tasks.held_out import HeldOut

HIGHEST = 10.0
"""The loss axis ends at this multiple of the first loss, so that a diverging lane does not flatten
the others."""

DRAWN = frozenset({"loss", "grad_norm", "eval_loss", "eval_accuracy"})
"""Keys of the measurements that these figures show."""

PLOT_HEIGHT = {"accuracy": 268, "loss": 200}
"""Nominal heights of the plot areas in pixels, by which labels are kept apart."""

FIRST_WORDS = "Press Race: curves appear here as the lanes train."


def loss_figure(
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_loss: float | None = None,
    plain_text: bool = False,
    run: str = "",
    smoothing: float = 0.85,
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw training loss (raw behind, smoothed in front) and held-out loss, on a log axis.

    Parameters
    ----------
    styles : one per curve.
    steps : the steps so far.
    total : steps of the whole race, the end of the horizontal axis.
    start_loss : held-out loss of the base model, with which every lane starts whose initialization
        keeps the model's function; nats.
    plain_text : whether every token is supervised instead of an answer.
    run : changes with the race; zoom and hidden lanes are kept while it stays the same.
    smoothing : weight of the past in the exponential average, in [0, 1).
    seeds : the lanes of each curve, which differ only in their seed: their mean is drawn, with a
        band from the lowest to the highest. None for one curve per lane.
    """
    groups, K = groups_of(styles, seeds)
    loss = column(steps, "loss", K)
    numbers = [step.step for step in steps]
    every = stride(K, numbers, total)
    of_lanes = smoothed(loss, smoothing)
    smooth = seed_means(of_lanes, groups)
    at, held = _evaluations(steps, "eval_loss", _starts(styles, groups, start_loss))
    held = seed_means(held, groups)
    first = steps[0].step if steps else 1
    data = [
        *_behind(styles, groups, loss, of_lanes, first, every),
        *_in_front(styles, smooth, at, held, first, every),
    ]
    ceiling = HIGHEST * np.nanmax(loss[:1] if steps else held[:1], initial=0.0)
    drawn = loss if len(styles) == K else of_lanes
    low, high = log_range([np.minimum(v, ceiling) for v in (drawn, smooth, held)])
    beyond = off_range(styles, numbers, seed_means(loss, groups), (low, high))
    labels, crosses = curve_ends(
        styles, numbers, smooth, bounds=(low, high), height=PLOT_HEIGHT["loss"], total=total,
        left=seeds_left(steps, groups),
    )  # fmt: skip
    unit = _loss_words(plain_text, groups, held_out_count(steps))
    unit += OFF_RANGE if beyond else ""
    if every > 1:
        unit += f"; every {every} steps"
    made = layout(
        MEASURES["loss"].title,
        unit,
        x=steps_axis(total),
        y=unlabelled_until(bool(at or steps), log_axis(MEASURES["loss"].symbol, low, high)),
        height=PLOT_HEIGHT["loss"],
        how=(
            "Lower is better. The axis is logarithmic, so equal distances are equal factors. "
            "Dots that rise while their line falls mean overfitting."
        ),
        badge="log",
        message="" if at or steps else FIRST_WORDS,
        revision=run or "race",
    )
    annotate(made, labels)
    made["meta"]["smoothing"] = smoothing
    return {"data": data + beyond + crosses, "layout": made}


def _behind(
    styles: Sequence[LaneStyle],
    groups: Sequence[Sequence[int]],
    loss: np.ndarray,
    of_lanes: np.ndarray,
    first: int,
    every: int,
) -> list[dict[str, Any]]:
    """Return what is behind the curves: a band over the seeds, or the raw loss of a single lane.

    Parameters
    ----------
    loss, of_lanes : (N, K) as it was measured, and smoothed; the first row is step `first`.
    """
    data: list[dict[str, Any]] = []
    for style, group in zip(styles, groups, strict=True):
        common = {"legendgroup": style.label, "name": style.label, "x0": first, "dx": every}
        if len(group) > 1:
            data += seed_band(style, of_lanes[::every, list(group)], **common)
            continue
        raw = line(
            style, loss[::every, group[0]], 1.0, **common, meta="raw", opacity=0.16,
            hoverinfo="skip", hovertemplate=None,
        )  # fmt: skip
        data.append(raw | {"line": {"color": style.color, "width": 1}})
    return data


def _in_front(
    styles: Sequence[LaneStyle],
    smooth: np.ndarray,
    at: Sequence[int],
    held: np.ndarray,
    first: int,
    every: int,
) -> list[dict[str, Any]]:
    """Return the curves, and the held-out losses as marks.

    Parameters
    ----------
    smooth : (N, curves); the first row is step `first`.
    at, held : the evaluated steps, and (evaluations, curves) their losses.
    """
    data: list[dict[str, Any]] = []
    for k, style in enumerate(styles):
        common = {"legendgroup": style.label, "name": style.label, "x0": first, "dx": every}
        data.append(line(style, smooth[::every, k], 2.4, **common, meta="smooth"))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": at,
                "y": plain(held[:, k]),
                "name": f"{style.label}, held out",
                "legendgroup": style.label,
                "marker": {"color": style.color, "size": 5.5, "symbol": style.symbol},
                "hoverinfo": "skip",
            }
        )
    return data


def _loss_words(plain_text: bool, groups: Sequence[Sequence[int]], examples: int) -> str:
    """Say what the marks of the loss figure are, and in which unit."""
    behind = band_words(groups).removeprefix("; ") or "raw behind"
    rests = f" ({counted(examples, 'example')})" if examples else ""
    return f"{loss_unit(plain_text)}. Lines: training, smoothed, {behind}; dots: held-out{rests}"


def gradient_figure(
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw each lane's gradient norm before clipping, on a log axis that spikes do not stretch.

    See `loss_figure` for the parameters.
    """
    return measure_figure(
        MEASURES["grad_norm"], styles, steps, total=total, run=run, seeds=seeds, named=False
    )


def accuracy_figure(
    styles: Sequence[LaneStyle],
    steps: Sequence[Step],
    *,
    total: int | None = None,
    start_accuracy: float | None = None,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
    run: str = "",
    seeds: Sequence[Sequence[int]] | None = None,
) -> Figure:
    """Draw the share of held-out answers (tokens, in a plain text) that are right.

    Parameters
    ----------
    held_out : the number of examples, and the accuracy of guessing, drawn as a dotted line.
    """
    groups, _ = groups_of(styles, seeds)
    what = "right tokens" if plain_text else "right answers"
    at, of_lanes = _evaluations(steps, "eval_accuracy", _starts(styles, groups, start_accuracy))
    share = seed_means(of_lanes, groups)
    data = group_bands(styles, of_lanes, groups, x=at) + [
        line(style, share[:, k], 2.4, name=style.label, legendgroup=style.label)
        | {"x": at, "mode": "lines+markers", "marker": _mark(style, 6)}
        for k, style in enumerate(styles)
    ]
    for trace in data[-len(styles) :]:
        trace["hovertemplate"] = "%{y:.0%}"
    rests = f", {counted(held_out.examples, 'held-out example')}" if held_out else ""
    rests += band_words(groups)
    if held_out and held_out.guess is not None:
        ends = [0, total or max([1, *at])]
        data.insert(0, _guess(held_out.guess, held_out.guess_words, ends))
        rests += f"; dotted: {held_out.guess_words}"
    bounds = (-0.02, 1.03)
    shares = axis(what, range=list(bounds), tickformat=".0%", nticks=6)
    labels, crosses = curve_ends(
        styles, at, share, bounds=bounds, height=PLOT_HEIGHT["accuracy"], total=total, log=False,
        highest=True, left=seeds_left(steps, groups),
    )  # fmt: skip
    made = layout(
        MEASURES["eval_accuracy"].title,
        f"share of {what}{rests}",
        x=steps_axis(total),
        y=unlabelled_until(bool(at or steps), shares),
        height=PLOT_HEIGHT["accuracy"],
        how=(
            "Higher is better. A curve is the mean over its seeds, its band the range from the "
            "lowest to the highest one: where bands overlap, single seeds could have shown "
            "either order."
        ),
        message="" if at or steps else FIRST_WORDS,
        revision=run or "race",
    )
    if held_out and held_out.guess is not None and at and at[-1] < (total or 0):
        labels = [label | {"bgcolor": "@card"} for label in labels]  # over the dotted line
    annotate(made, labels)
    return {"data": data + crosses, "layout": made}


def _guess(share: float, words: str, ends: list[int]) -> dict[str, Any]:
    """Return a dotted line at the accuracy of guessing."""
    return {
        "type": "scatter", "mode": "lines", "x": ends, "y": [share, share], "name": words,
        "line": {"color": "@mute", "width": 1.2, "dash": "dot"}, "hoverinfo": "skip",
    }  # fmt: skip


def _starts(
    styles: Sequence[LaneStyle], groups: Sequence[Sequence[int]], base: float | None
) -> np.ndarray:
    """Return the lanes' results at step 0, (K,), see `held_out_at_start`."""
    of_lanes = {k: s.init for s, group in zip(styles, groups, strict=True) for k in group}
    return held_out_at_start([of_lanes[k] for k in sorted(of_lanes)], base)


def _evaluations(
    steps: Sequence[Step], name: str, starts: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the lanes were evaluated, (E,), and the results, (E, K)."""
    found = [step for step in steps if name in step.measures]
    at, values = [step.step for step in found], column(found, name, len(starts))
    if np.isnan(starts).all() or (steps and steps[0].step != 1):
        return at, values
    return [0, *at], np.vstack([starts, values])


def _mark(style: LaneStyle, size: float) -> dict[str, Any]:
    return {"color": style.color, "size": size, "symbol": style.symbol}
