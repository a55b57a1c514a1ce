"""Plain Plotly figures of races, without panels.

Each function returns one `plotly.graph_objects.Figure` with the requested figures below each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import plotly.graph_objects as go

from olora_viz.figures import curvature as curvature_figures
from olora_viz.figures import gradients as gradient_figures
from olora_viz.figures import race as figures
from olora_viz.figures import rates as rate_figures
from olora_viz.figures.comparison import Run, overlay_figure
from olora_viz.figures.drawing import Drawing, drawing
from olora_viz.figures.layout import Figure
from olora_viz.figures.plots import chosen
from olora_viz.figures.theme import DASHES, SHAPES, LaneStyle, lane_styles
from olora_viz.machine.live_output import LiveOutput, is_notebook
from olora_viz.machine.naming import listed
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.source import Raced, Source, named
from olora_viz.races.state import RACING
from olora_viz.races.step import Step, held_out_count
from olora_viz.studies.rate_sweep import rate_curves


def styles_of(raced: Raced) -> tuple[LaneStyle, ...]:
    """Return the style of every lane; lanes known only by number share one colour."""
    if raced.lanes is not None:
        return lane_styles(raced.lanes, [lane.label for lane in raced.lanes])
    return tuple(
        LaneStyle(label, "ink", "@ink", "@ink", DASHES[k % len(DASHES)], SHAPES[k % len(SHAPES)])
        for k, label in enumerate(raced.labels)
    )


_OF_RACE: dict[str, Callable[[Raced], Figure]] = {
    "loss": lambda raced: figures.loss_figure(
        styles_of(raced), raced.steps, total=raced.total, start_loss=raced.start_loss,
        plain_text=raced.plain_text,
    ),
    "gradient": lambda raced: figures.gradient_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
    "accuracy": lambda raced: figures.accuracy_figure(
        styles_of(raced), raced.steps, total=raced.total, start_accuracy=raced.start_accuracy,
        plain_text=raced.plain_text,
    ),
    "sharpness": lambda raced: curvature_figures.sharpness_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
    "stability": lambda raced: curvature_figures.stability_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
}  # fmt: skip


REST = 0.5
"""Seconds without a step after which nobody runs a race."""

_OVERLAID = {"loss": "eval_loss", "gradient": "grad_norm", "accuracy": "eval_accuracy"}
"""The measurements that can be overlaid for several races, by the names of their figures."""


def plot_race(
    steps: Source | Sequence[Source] | Mapping[str, Source],
    config: RaceConfig | Race | None = None,
    *,
    what: str | Sequence[str] = ("loss", "gradient", "accuracy"),
    theme: str = "light",
) -> go.Figure:
    """Draw a race, or overlay several.

    Parameters
    ----------
    steps : a `Race` (with its steps so far, or run to its end if it has not started; in a notebook
        the figure grows meanwhile, also while another thread runs the race), its steps, a
        `SavedRun`, or a run folder. To overlay several, a list of them, or a dict with a name for
        each; runs then differ by dash, initializations by colour, and the loss is the held-out
        loss.
    config : the config of the steps, for the lanes' names and colours; a `Race` also provides the
        loss before the first step. Without it, lanes are labelled by number.
    what : ``loss``, ``gradient``, ``accuracy``, ``sharpness`` or ``stability`` (both of one race
        with ``curvature_every``), or several.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : a name is unknown, there is no run or no step, the steps are not of one race in
        order, or have another number of lanes.
    """
    several = _several(steps)
    if several is not None:
        names = chosen(what, _OVERLAID, theme)
        if not several:
            raise ValueError("there is no run to draw")
        runs = [_run(name, Raced.of(source, config)) for name, source in several.items()]
        return drawing([overlay_figure(runs, _OVERLAID[name]) for name in names], theme)
    names = chosen(what, _OF_RACE, theme)

    def drawn(raced: Raced) -> Drawing:
        return drawing([_OF_RACE[name](raced) for name in names], theme)

    if isinstance(steps, Race) and steps.history is not None and is_notebook():
        _live(steps, drawn)
    raced = Raced.of(cast("Source", steps), config)
    if not raced.labels:
        raise ValueError(
            "there are no steps to draw: pass a Race, its steps, a saved run or its folder"
        )
    if {"sharpness", "stability"} & {*names} and not any(s.curvature for s in raced.steps):
        raise ValueError(
            "these steps have no curvature: run the race with curvature_every=10, for example"
        )
    return drawn(raced)


def plot_rates(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "final",
    start_loss: float | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draw held-out loss against the learning rate, one curve per initialization.

    Parameters
    ----------
    steps, config, theme : see `plot_race`; steps need the config that made them.
    measure : which held-out loss to draw, ``final`` or ``best``.
    start_loss : held-out loss before the race, nats, if known: losses far above it are drawn as
        marks. A `Race` and a run folder provide it.

    Raises
    ------
    ValueError : a name is unknown, or the steps have no config or another number of lanes.
    """
    (measure,) = chosen(measure, rate_figures.NAMES, theme)
    raced = Raced.of(steps, config)
    if raced.lanes is None:
        raise ValueError(
            "steps do not contain their learning rates: call plot_rates(steps, config)"
        )
    if start_loss is None:
        start_loss = raced.start_loss
    figure = rate_figures.rate_figure(
        rate_curves(raced.lanes, raced.steps, measure), measure, start_loss=start_loss,
        plain_text=raced.plain_text, examples=held_out_count(raced.steps),
    )  # fmt: skip
    return drawing([figure], theme)


def plot_gradients(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "gradient_B",
    step: int | None = None,
    module: str = "",
    theme: str = "light",
) -> go.Figure:
    """Draw norms of gradients, parameters or updates against depth, one curve per lane.

    Parameters
    ----------
    steps, config, theme : see `plot_race`; of a race with ``gradients_every``.
    measure : ``gradient_A``, ``gradient_B``, ``update_A``, ``parameter_A``, ``ratio_A`` and so on,
        or ``input``, the gradient that reaches a layer's input.
    step : the step to show; None for the last measured one.
    module : the last part of the names of the layers that a curve joins; "" joins all.

    Raises
    ------
    ValueError : the measure is unknown, or the steps or this step have no gradients.
    """
    (measure,) = chosen(measure, GRADIENTS.parts, theme)
    raced = Raced.of(steps, config)
    seen = {one.step: one.gradients for one in raced.steps if one.gradients is not None}
    if not seen:
        raise ValueError(
            "these steps have no gradients by layer: run the race with gradients_every=10, for "
            "example"
        )
    if step is not None and step not in seen:
        raise ValueError(f"step {step} was not measured, only {listed(map(str, seen))}")
    at = step or max(seen)
    return drawing(
        [gradient_figures.depth_figure(at, seen[at], styles_of(raced), measure, module)], theme
    )


def _live(racing: Race, drawn: Callable[[Raced], Drawing]) -> None:
    """Show the figure of a race below the cell until it ends, or nobody runs it any more.

    A race that has not started runs here; one that another thread runs is followed.
    """
    output = LiveOutput()
    for _ in racing if not racing.done else _made_elsewhere(racing):
        output.show(lambda: drawn(Raced.of(racing)).without_picture())
    output.clear()


def _made_elsewhere(racing: Race) -> Iterator[int]:
    """Yield the number of each new step of a race that another thread runs, as far as seen.

    A race is at rest if nothing happens for `REST` seconds, in which no step is being computed.
    """
    seen, quiet = racing.done, time.monotonic()
    while racing.status == RACING and time.monotonic() - quiet < REST:
        time.sleep(REST / 50)
        if racing.in_step:
            quiet = time.monotonic()
        if racing.done > seen:
            seen = racing.done
            yield seen
            quiet = time.monotonic()  # drawing takes its time


def _several(steps: Any) -> dict[str, Source] | None:
    """Return several races by name; None for one race."""
    if isinstance(steps, Mapping):
        return named(steps)
    first = next(iter(steps), None) if isinstance(steps, list | tuple) else None
    return None if first is None or isinstance(first, Step) else named(steps)


def _run(name: str, raced: Raced) -> Run:
    return Run(name, styles_of(raced), raced.steps, raced.total)
