"""The charts of a race: curves with seed bands, and comparisons of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Any

import numpy as np

from olora_viz.figures.layout import (
    LABEL_GAP,
    OFF_RANGE,
    CurveEnd,
    Figure,
    axis,
    band_fill,
    curve_ends,
    ends_of,
    layout,
    line,
    linear_range,
    log_axis,
    log_range,
    off_range,
    placed_ends,
    points,
    robust_log_range,
    steps_axis,
    unlabelled_until,
)
from olora_viz.figures.theme import DASHES, MARKERS, LaneStyle
from olora_viz.machine.tables import plain
from olora_viz.machine.wording import counted
from olora_viz.measures.catalogue import MEASURES
from olora_viz.measures.measure import Measure
from olora_viz.measures.training import loss_unit
from olora_viz.races.step import Step, held_out_at_start, held_out_count, out_at
from olora_viz.studies.contest import latest_examples
from olora_viz.tasks.evaluation import HeldOut

MAX_POINTS = 60_000
"""Maximum points of one kind in a figure; larger races show every second step, and so on."""

MEASURE_HEIGHT, COMPARISON_HEIGHT = 150, 230
PLOT_HEIGHT = {"accuracy": 268, "loss": 200}
"""Nominal heights of the plot areas in pixels, by which labels are kept apart."""

LEFT_MARGIN = 70
"""Left margin in pixels, with room for numbers of any size."""


@dataclass(frozen=True)
class RaceCurves:
    """The lanes of a race as curves over its steps so far."""

    styles: Sequence[LaneStyle]
    """One per curve."""
    steps: Sequence[Step]
    total: int | None = None
    """Steps of the whole race, the end of the horizontal axis."""
    run: str = ""
    """Changes with the race; zoom and hidden lanes are kept while it stays the same."""
    seeds: Sequence[Sequence[int]] | None = None
    """The lanes of each curve, which differ only in their seed: their mean is drawn, with a band from the lowest to
    the highest. None for one curve per lane."""

    @property
    def groups(self) -> Sequence[Sequence[int]]:
        """The lanes of every curve."""
        return [(k,) for k in range(len(self.styles))] if self.seeds is None else self.seeds

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return sum(map(len, self.groups))

    @property
    def left(self) -> list[tuple[int, ...]]:
        """The steps at which the lanes of every curve diverged, 0 for one that has not."""
        left = out_at(self.steps, self.lanes)
        return [tuple(left[k] for k in group) for group in self.groups]

    @property
    def band_words(self) -> str:
        """What a band is, for the end of a chart's unit; empty without bands."""
        most = max(map(len, self.groups), default=1)
        return f"; band: range of {most} seeds" if most > 1 else ""

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of every curve, (N, curves), of (N, K); NaN from the step at which a lane of it diverged."""
        return np.stack([values[:, list(group)].mean(1) for group in self.groups], axis=1)

    def bands(self, values: np.ndarray, **place: Any) -> list[dict[str, Any]]:
        """Return the bands of the curves that have several lanes."""
        return [
            trace
            for style, group in zip(self.styles, self.groups, strict=True)
            if len(group) > 1
            for trace in seed_band(style, values[:, list(group)], **place)
        ]

    def at_start(self, base: float | None) -> np.ndarray:
        """Return the lanes' results at step 0, (K,), see `held_out_at_start`."""
        keep = {k: s.begins_as_base for s, group in zip(self.styles, self.groups, strict=True) for k in group}
        return held_out_at_start([keep[k] for k in sorted(keep)], base)


def measure_figure(measure: Measure, curves: RaceCurves, *, named: bool = True) -> Figure:
    """Draw a measurement of one number per lane; spikes do not stretch a log axis.

    Args:
        measure: an entry of `MEASURES` of shape (K,).
        curves: those of the steps in which it was measured are drawn.
        named: whether the curves have names at their ends.
    """
    styles, total = curves.styles, curves.total
    numbers, values = _measured(curves.steps, measure.key, curves.lanes)
    every = stride(curves.lanes, numbers, total)
    place, means = places(numbers[::every]), curves.means(values)
    data = curves.bands(values[::every], **place)
    data += [line(style, curve, 1.6, **place) for style, curve in zip(styles, means[::every].T, strict=True)]
    bounds, y = value_axis(measure, [values])
    log = measure.scale == "log"
    beyond = off_range(styles, numbers, means, bounds) if log else []
    labels, crosses = None, []
    if named:
        labels, crosses = curve_ends(
            styles, numbers, means, bounds=bounds, height=MEASURE_HEIGHT, total=total, log=log, left=curves.left
        )
    drawn = layout(
        measure.title,
        measure.unit + (OFF_RANGE if beyond else ""),
        x=steps_axis(total),
        y=unlabelled_until(numbers, y),
        height=MEASURE_HEIGHT,
        how=(
            "Each curve is one lane, or the mean of its seeds with a band from the lowest to the highest. Point at it "
            "for the values of a step."
        ),
        revision=curves.run or "race",
        labels=labels,
        margin={"l": LEFT_MARGIN} if named else {},
    )
    return {"data": data + beyond + crosses, "layout": drawn}


def value_axis(measure: Measure, values: Sequence[np.ndarray]) -> tuple[tuple[float, float], dict[str, Any]]:
    """Return the range of a measurement's values and Plotly's axis for it, on its scale."""
    name = measure.symbol or measure.unit
    if measure.scale == "log":
        bounds = robust_log_range(values)
        return bounds, log_axis(name, *bounds)
    bounds = linear_range(values)
    return bounds, axis(name, range=list(bounds))


def column(steps: Sequence[Step], key: str, lanes: int) -> np.ndarray:
    """Stack a measurement of some steps that all have it: (N, K), NaN where it is not finite."""
    if not steps:
        return np.empty((0, lanes))
    values = np.array([step.measures[key] for step in steps], dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _measured(steps: Sequence[Step], key: str, lanes: int) -> tuple[list[int], np.ndarray]:
    """Return the steps that have a measurement, (N,), and its values, (N, K)."""
    having = [step for step in steps if key in step.measures]
    return [step.step for step in having], column(having, key, lanes)


def stride(lanes: int, numbers: Sequence[int], total: int | None = None) -> int:
    """Return the number of measurements per point of a curve, which limits the number of points.

    It is that of the whole race, of `total` steps, from the start: during a race points are only appended.

    >>> stride(64, range(1, 11), 2000), stride(64, range(1, 2001)), stride(64, [100, 200], 2000)
    (3, 3, 1)
    """
    apart = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return max(1, math.ceil(lanes * max(len(numbers), (total or 0) / apart) / MAX_POINTS))


def places(numbers: Sequence[int]) -> dict[str, Any]:
    """Return Plotly's x values of some steps, by two numbers if they are evenly spaced."""
    apart = set(np.diff(numbers).tolist())
    if len(apart) > 1:
        return {"x": list(numbers)}
    return {"x0": numbers[0] if numbers else 1, "dx": apart.pop() if apart else 1}


def seed_band(style: LaneStyle, values: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    """Return the edges of a group's band, filled between: its lowest and its highest lane that has not diverged.

    Args:
        values: (N, lanes), of the group's lanes.
    """
    known = np.where(np.isfinite(values), values, np.nan)
    edges = np.fmin.reduce(known, axis=1), np.fmax.reduce(known, axis=1)
    low, high = (line(style, edge, 0, **more, hoverinfo="skip") for edge in edges)
    return [low, high | band_fill(style)]


@dataclass(frozen=True)
class NamedRun:
    """A run with the name that the user gave it."""

    name: str
    styles: tuple[LaneStyle, ...]
    steps: Sequence[Step]
    total: int | None = None
    """Steps of the whole race; None if unknown."""
    seeds: Sequence[Sequence[int]] | None = None
    """The lanes of each curve, see `RaceCurves`."""

    @property
    def curves(self) -> RaceCurves:
        """Its lanes as curves."""
        return RaceCurves(self.styles, self.steps, self.total, seeds=self.seeds)


LONGEST_LABEL = 28
"""Characters of a label at the end of a curve that the right margin has room for."""


def _within(name: str, most: int) -> str:
    """Return a name of at most so many characters, but for its beginning and its end.

    >>> _within("glassllm, sentiment 12", 12), _within("first", 12)
    ('glass…ent 12', 'first')
    """
    if len(name) <= most:
        return name
    half = max(2, most // 2)
    return f"{name[: half - 1]}…{name[-half:]}"


def overlay_figure(runs: Sequence[NamedRun], key: str = "eval_loss", *, revision: str = "overlay") -> Figure:
    """Draw a measurement of the curves of some runs; runs differ by dash, initializations by colour.

    Args:
        key: of a measurement of one number per lane, in `MEASURES`.
        revision: changes with the runs.
    """
    measure, measured = MEASURES[key], [_measured(run.steps, key, run.curves.lanes) for run in runs]
    log = measure.scale == "log"
    bounds, y = value_axis(measure, [values for _, values in measured])
    total = max((run.total or (run.steps[-1].step if run.steps else 1) for run in runs), default=1)
    data: list[dict[str, Any]] = []
    racing: list[CurveEnd] = []
    out: list[CurveEnd] = []
    for i, (run, (at, values)) in enumerate(zip(runs, measured, strict=True)):
        if not at:
            continue
        dash, shape = DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)]
        own = [replace(style, label=f"{run.name}: {style.label}", dash=dash, symbol=shape) for style in run.styles]
        curves = replace(run.curves, styles=own)
        every, means = stride(values.shape[1], at, run.total), curves.means(values)
        # Marks show the measured steps, unless every step is measured.
        marks = 5 if len(at) < len(run.steps) else 0
        data += curves.bands(values[::every], x=at[::every])
        data += [line(style, means[::every, k], 1.8, marks=marks, x=at[::every]) for k, style in enumerate(own)]
        on, off, crosses = ends_of(own, at, means, bounds=bounds, log=log, left=curves.left)
        racing, out = racing + on, out + off
        data += crosses + (off_range(own, at, means, bounds) if log else [])
    most = COMPARISON_HEIGHT // LABEL_GAP
    labels = placed_ends(racing, out, bounds, COMPARISON_HEIGHT, total, most=most)
    for label in labels:
        run = next((run.name for run in runs if label["text"].startswith(f"{run.name}: ")), "")
        of_lane = label["text"].removeprefix(run)
        label["text"] = f"{escape(_within(run, LONGEST_LABEL - len(of_lane)), quote=False)}{of_lane}"
    drawn = layout(
        f"{measure.title}, runs overlaid",
        f"{measure.unit}; dash: run, colour: initialization",
        x=steps_axis(total),
        y=y,
        height=COMPARISON_HEIGHT,
        how=(
            "Each run keeps one dash, each initialization its colour. Compare curves of one colour to see what the "
            "changed setting did."
        ),
        message="" if data else f"These runs have no measurement of the {measure.title.lower()} yet.",
        revision=revision,
        labels=labels,
        margin={"l": LEFT_MARGIN},
    )
    return {"data": data, "layout": drawn}


SMOOTHING, SHORT_SMOOTHING = 0.85, 0.6
"""Weights of the past in the exponential average of the training loss, of long races and of short ones."""

SMOOTHED_FROM = 200
"""Steps of a race from which on the lag of `SMOOTHING` is below 3% of its axis."""

LOSS_AXIS = 10.0
"""The loss axis ends at this multiple of the first loss, so that a diverging lane does not flatten the others."""

FIRST_WORDS = "Curves appear here as the lanes train."


def without_figure(steps: Sequence[Step]) -> list[str]:
    """Return the keys of the measurements of one number per lane that have no figure of their own."""
    shown = {"loss", "grad_norm", "eval_loss", "eval_accuracy", "text_loss", "drift"}
    measured = set().union(*(step.measures for step in steps)) - shown
    return [key for key, measure in list(MEASURES.items()) if key in measured and not measure.record]


OTHER_LOSSES = {"margin": "−log σ(β × margin) of a step's pairs", "reward": "1 − the mean reward of a step's answers"}
"""What the loss of a step is that has one of these measures."""


def loss_figure(
    curves: RaceCurves, *, start_loss: float | None = None, plain_text: bool = False, smoothing: float | None = None
) -> Figure:
    """Draw training loss (raw behind, smoothed in front) and held-out loss, on a log axis.

    Args:
        start_loss: held-out loss of the base model, with which every lane starts whose initialization keeps the
            model's function; nats.
        smoothing: weight of the past in the exponential average, in [0, 1); by default less for short races.
    """
    styles, steps, groups, total, K = curves.styles, curves.steps, curves.groups, curves.total, curves.lanes
    if smoothing is None:
        smoothing = SMOOTHING if (total or len(steps)) >= SMOOTHED_FROM else SHORT_SMOOTHING
    loss = column(steps, "loss", K)
    numbers = [step.step for step in steps]
    every = stride(K, numbers, total)
    of_lanes = smoothed(loss, smoothing)
    smooth = curves.means(of_lanes)
    at, held = _evaluations(steps, "eval_loss", curves.at_start(start_loss))
    held = curves.means(held)
    place = {"x0": steps[0].step if steps else 1, "dx": every}
    data: list[dict[str, Any]] = []
    for style, group in zip(styles, groups, strict=True):
        if len(group) > 1:
            data += seed_band(style, of_lanes[::every, list(group)], **place)
        own = loss[::every, list(group)].mean(1)
        raw = line(style, own, 1.0, **place, meta="raw", opacity=0.16, hoverinfo="skip")
        data.append(raw | {"line": {"color": style.color, "width": 1}})
    for k, style in enumerate(styles):
        data.append(line(style, smooth[::every, k], 2.4, **place, meta="smooth"))
        more = {"name": f"{style.label}, held out", "legendgroup": style.label, "hoverinfo": "skip"}
        data.append(points(at, plain(held[:, k]), style.color, 5.5, symbol=style.symbol, **more))
    ceiling = LOSS_AXIS * np.nanmax(loss[:1] if steps else held[:1], initial=0.0)
    in_front = loss if len(styles) == K else of_lanes
    low, high = log_range([np.minimum(v, ceiling) for v in (in_front, smooth, held)])
    beyond = off_range(styles, numbers, curves.means(loss), (low, high))
    height = PLOT_HEIGHT["loss"]
    labels, crosses = curve_ends(
        styles, numbers, smooth, bounds=(low, high), height=height, total=total, left=curves.left
    )
    behind, examples = "raw behind" + curves.band_words, held_out_count(steps)
    count = f" ({counted(examples, 'example')})" if examples else ""
    other = next((words for key, words in OTHER_LOSSES.items() if steps and key in steps[0].measures), "")
    unit = f"{loss_unit(plain_text)}. Lines: training{_of_all(steps)}, smoothed, {behind}; dots: held-out{count}"
    if other:
        unit = f"lines: {other}, smoothed, {behind}; dots: held-out, {loss_unit(plain_text)}{count}"
    unit += (OFF_RANGE if beyond else "") + (f"; every {every} steps" if every > 1 else "")
    drawn = layout(
        MEASURES["loss"].title,
        unit,
        x=steps_axis(total),
        y=unlabelled_until(at or steps, log_axis("loss" if other else MEASURES["loss"].symbol, low, high)),
        height=PLOT_HEIGHT["loss"],
        how=(
            "Lower is better: one nat less multiplies the probability of the right token by e. The axis is "
            "logarithmic, so equal distances are equal factors. Dots that rise while their line falls mean "
            "overfitting. A smoothed line averages past steps, so it comes late: about 1.5 steps at 0.6, 6 at 0.85 "
            "and 19 at 0.95."
        ),
        message="" if at or steps else FIRST_WORDS,
        revision=curves.run or "race",
        labels=labels,
    )
    drawn["meta"]["smoothing"] = smoothing
    return {"data": data + beyond + crosses, "layout": drawn}


def _of_all(steps: Sequence[Step]) -> str:
    """Say of which tokens a training loss is, where a held-out one is of fewer."""
    examples = latest_examples(steps)
    apart = examples is not None and np.isfinite(examples.boilerplate_loss).any()
    return ", of all supervised tokens" * bool(apart)


gradient_figure = partial(measure_figure, MEASURES["grad_norm"], named=False)
"""Draw each lane's gradient norm before clipping, see `measure_figure`."""


def accuracy_figure(
    curves: RaceCurves,
    *,
    start_accuracy: float | None = None,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
) -> Figure:
    """Draw the share of held-out answers (tokens, in a plain text) that are right, see `loss_figure`.

    Args:
        held_out: the number of examples, and the accuracy of guessing, drawn as a dotted line.
    """
    styles, steps, total = curves.styles, curves.steps, curves.total
    what = "right tokens" if plain_text else "right answers"
    at, of_lanes = _evaluations(steps, "eval_accuracy", curves.at_start(start_accuracy))
    share = curves.means(of_lanes)
    data = curves.bands(of_lanes, x=at) + [
        line(style, share[:, k], 2.4, marks=6, x=at, hovertemplate="%{y:.0%}") for k, style in enumerate(styles)
    ]
    count = counted(held_out.examples, "held-out example") if held_out else f"share of {what}"
    unit = f"{count}{curves.band_words}"
    guess = held_out.guess if held_out else None
    if held_out and guess is not None:
        dotted = {"color": "@mute", "width": 1.2, "dash": "dot"}
        level = {"x": [0, total or max([1, *at])], "y": [guess, guess], "line": dotted}
        common = {"type": "scatter", "mode": "lines", "name": held_out.guess_words, "hoverinfo": "skip"}
        data.insert(0, common | level)
    bounds, height = (-0.02, 1.03), PLOT_HEIGHT["accuracy"]
    _, losses = _evaluations(steps, "eval_loss", curves.at_start(None))
    labels, crosses = curve_ends(
        styles, at, share, bounds=bounds, height=height, total=total, log=False, highest=True, left=curves.left,
        ties=curves.means(losses)[-1:],
    )  # fmt: skip
    if guess is not None and at and at[-1] < (total or 0):
        labels = [label | {"bgcolor": "@card"} for label in labels]  # over the dotted line
    if held_out and guess is not None:
        labels.append({
            "name": "guess", "text": held_out.guess_words, "x": 0, "y": guess, "xanchor": "left", "yanchor": "bottom",
            "showarrow": False, "font": {"size": 11, "color": "@mute"},
        })  # fmt: skip
    drawn = layout(
        MEASURES["eval_accuracy"].title,
        unit,
        x=steps_axis(total),
        y=unlabelled_until(at or steps, axis(what, range=list(bounds), tickformat=".0%", nticks=6)),
        height=height,
        how=(
            "Higher is better. Held-out examples are those that no lane trains on. A curve is the mean over its "
            "seeds, its band the range from the lowest to the highest one: where bands overlap, single seeds could "
            "have shown either order."
        ),
        message="" if at or steps else FIRST_WORDS,
        revision=curves.run or "race",
        labels=labels,
    )
    return {"data": data + crosses, "layout": drawn}


def _evaluations(steps: Sequence[Step], name: str, starts: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the steps at which the lanes were evaluated, (E,), and the results, (E, K)."""
    at, values = _measured(steps, name, len(starts))
    if np.isnan(starts).all() or (steps and steps[0].step != 1):
        return at, values
    return [0, *at], np.vstack([starts, values])


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average over the steps, Σ wⁿ⁻ⁱ vᵢ / Σ wⁿ⁻ⁱ, lane by lane.

    The weights of the steps so far add up to one, so the first step counts no more than its age.

    Args:
        values: (N, K); after a NaN, the rest of the lane is NaN.
        weight: w, the weight of a step against the next one, in [0, 1).
    """
    out = np.array(values, dtype=float)
    weights = 1.0
    for n in range(1, len(out)):
        weights = weight * weights + 1
        out[n] = out[n - 1] + (out[n] - out[n - 1]) / weights
    return out
