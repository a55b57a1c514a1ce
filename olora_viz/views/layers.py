"""Views by layer: gradients, update spectra and curvature of a race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olora_viz.background.record import RaceRecord
from olora_viz.figures.layers import (
    block_and_module,
    depth_figure,
    growth_figure,
    layer_figure,
    layer_map,
    layer_words,
)
from olora_viz.figures.layout import Figure
from olora_viz.figures.start import sharpness_figure, stability_figure
from olora_viz.measures.gradients import FACTORS, GRADIENTS, Gradients
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.races.step import out_at
from olora_viz.views.race import race_view


@dataclass(frozen=True)
class LayerChoices:
    """The lanes and layers to choose from, and the current choice."""

    labels: tuple[str, ...]
    lane: int
    layers: tuple[tuple[str, str], ...]
    """The displayed text and the name of every layer."""
    layer: str

    @property
    def label(self) -> str:
        """Of the chosen lane."""
        return self.labels[self.lane]


def chosen_among(record: RaceRecord, layers: Sequence[str], lane: object, layer: object, default: str) -> LayerChoices:
    """Return the choice, with the first OLoRA lane and the layer `default` for what the race does not have."""
    labels = tuple(style.label for style in record.styles)
    k = next((k for k, style in enumerate(record.styles) if style.init == "olora"), 0)
    if isinstance(lane, str) and lane in labels:
        k = labels.index(lane)
    named = tuple((layer_words(name), name) for name in layers)
    return LayerChoices(labels, k, named, layer if isinstance(layer, str) and layer in layers else default)


@dataclass(frozen=True)
class GradientsView:
    """One measure of a race's gradients, in three charts."""

    choices: LayerChoices
    measure: str
    numbers: tuple[int, ...]
    """The steps at which the gradients were measured."""
    step: int
    """The step shown in the chart against depth."""
    map: Figure
    """One lane as a map: steps across, layers down."""
    depth: Figure
    """All layers at one step, against depth."""
    of_A: Figure
    """One layer's A, over the steps."""
    of_B: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All charts."""
        return self.map, self.depth, self.of_A, self.of_B


def measured_gradients(record: RaceRecord) -> tuple[tuple[int, ...], tuple[Gradients, ...]]:
    """Return the numbers of the measured steps, and their gradients."""
    known = [(s.step, s.gradients) for s in list(record.steps) if s.gradients is not None]
    return tuple(number for number, _ in known), tuple(gradients for _, gradients in known)


def gradients_view(
    record: RaceRecord,
    *,
    lane: object = None,
    measure: object = None,
    layer: object = None,
    step: float | None = None,
    run: str | None = None,
) -> GradientsView | None:
    """Show the gradients of a race; None if they were not measured (yet).

    Args:
        lane: a label; otherwise the first OLoRA lane.
        layer: a name; otherwise the last layer.
        measure: a key of ``GRADIENTS.parts``; otherwise ``input``.
        step: the nearest measured step is drawn against depth; by default the latest one.
        run: see `race_view`.
    """
    numbers, gradients = measured_gradients(record)
    if not gradients:
        return None
    run = record.name if run is None else run
    # The last layer's input always receives a gradient; those of the first ones, after the frozen embedding, never do.
    chosen = chosen_among(record, gradients[0].layers, lane, layer, default=gradients[0].layers[-1])
    named = measure if isinstance(measure, str) and measure in GRADIENTS.parts else "input"
    at = _nearest(numbers, numbers[-1] if step is None else step)
    quantity = named.partition("_")[0] if named != "input" else "gradient"
    styles, k = record.styles, chosen.lane
    more = {"total": record.config.steps, "run": f"{run} {chosen.layer} {quantity}"}
    left = out_at(list(record.steps), len(styles))
    of_A, of_B = (
        layer_figure(numbers, gradients, styles, chosen.layer, f"{quantity}_{factor}", **more, left=left)
        for factor in FACTORS
    )
    lane_map = layer_map(GRADIENTS, named, numbers, gradients, styles[k], k, run=f"{run} {named} {k}")
    depth = _depth(record, numbers[at], gradients[at], named, chosen.layer, run)
    view = GradientsView(chosen, named, numbers, numbers[at], lane_map, depth, of_A, of_B)
    for figure in view.figures:
        figure["layout"]["meta"]["race"] = run  # it shares hidden lanes and the marked step with the others
    return view


def depth_view(record: RaceRecord, measure: object, layer: object, step: float) -> Figure | None:
    """Show only the chart against depth, at another step; None if it was not measured."""
    numbers, gradients = measured_gradients(record)
    if not gradients or not isinstance(measure, str) or measure not in GRADIENTS.parts:
        return None
    if not isinstance(layer, str) or layer not in gradients[0].layers:
        return None
    at = _nearest(numbers, step)
    figure = _depth(record, numbers[at], gradients[at], measure, layer, record.name)
    figure["layout"]["meta"]["race"] = record.name
    return figure


def _depth(record: RaceRecord, step: int, gradients: Gradients, measure: str, layer: str, run: str) -> Figure:
    module = block_and_module(layer)[1]
    return depth_figure(step, gradients, record.styles, measure, module, run=f"{run} {measure} {module}")


def _nearest(numbers: tuple[int, ...], step: float) -> int:
    return min(range(len(numbers)), key=lambda i: abs(numbers[i] - step))


@dataclass(frozen=True)
class SpectraView:
    """One lane's spectra: a map over layers and steps, and one layer's values as they grow."""

    choices: LayerChoices
    measure: str
    map: Figure
    growth: Figure


def spectra_view(
    record: RaceRecord, *, lane: object = None, measure: object = None, layer: object = None, run: str | None = None
) -> SpectraView | None:
    """Show the spectra of a race; None if it has none (yet).

    The layer is by default the first one, the measure, a key of ``UPDATE_SPECTRA.parts``, ``norm``; for the others see
    `gradients_view`.
    """
    measured = [(step.step, step.update_spectra) for step in list(record.steps) if step.update_spectra is not None]
    if not measured:
        return None
    numbers, spectra = zip(*measured, strict=True)
    run = record.name if run is None else run
    chosen = chosen_among(record, spectra[0].layers, lane, layer, default=spectra[0].layers[0])
    named = measure if isinstance(measure, str) and measure in UPDATE_SPECTRA.parts else "norm"
    k, total = chosen.lane, record.config.steps
    style = record.styles[k]
    lane_map = layer_map(UPDATE_SPECTRA, named, numbers, spectra, style, k, run=f"{run} {k} {named}")
    growth = growth_figure(numbers, spectra, style, k, chosen.layer, total=total, run=f"{run} {chosen.layer}")
    for figure in (lane_map, growth):
        figure["layout"]["meta"]["race"] = run  # they mark the same step as its other charts
    return SpectraView(chosen, named, lane_map, growth)


@dataclass(frozen=True)
class CurvatureView:
    """Sharpness and stability over the steps, a curve for lanes that differ only in their seed."""

    sharpness: Figure
    stability: Figure


def curvature_view(record: RaceRecord, *, run: str | None = None) -> CurvatureView:
    """Show the curvature of a race, which may have no measurement (yet); for `run` see `race_view`."""
    raced = race_view(record, run=run)
    return CurvatureView(raced.drawn(sharpness_figure), raced.drawn(stability_figure))
