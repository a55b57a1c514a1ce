"""The gradients of a race: by layer and step, of one layer, and against depth."""

from __future__ import annotations

from dataclasses import dataclass

from olora_viz.figures.gradients import depth_figure, layer_figure
from olora_viz.figures.layer_grid import block_and_module
from olora_viz.figures.layout import Figure
from olora_viz.figures.maps import layer_map
from olora_viz.measures.gradients import FACTORS, GRADIENTS, Gradients
from olora_viz.races.step import out_at
from olora_viz.views.layers import Choices, chosen_among
from olora_viz.views.race_record import RaceRecord


@dataclass(frozen=True)
class GradientsView:
    """One measure of a race's gradients, in three charts."""

    choices: Choices
    measure: str
    numbers: tuple[int, ...]
    """The steps at which the gradients were measured."""
    step: int
    """The step shown in the chart against depth."""
    map: Figure
    """One lane as a map: steps across, layers down."""
    depth: Figure
    of_A: Figure
    """One layer's A, over the steps."""
    of_B: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All layers at one step, against depth."""
        return self.map, self.depth, self.of_A, self.of_B


def looks(record: RaceRecord) -> tuple[tuple[int, ...], tuple[Gradients, ...]]:
    """Return the numbers of the measured steps, and their gradients."""
    known = [(s.step, s.gradients) for s in list(record.steps) if s.gradients is not None]
    return tuple(number for number, _ in known), tuple(found for _, found in known)


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

    Parameters
    ----------
    lane, layer : a label and a name; otherwise the first OLoRA lane and the last layer.
    measure : a key of ``GRADIENTS.parts``; otherwise ``input``.
    step : the nearest measured step is drawn against depth; by default the latest one.
    run : see `race_view`.
    """
    numbers, found = looks(record)
    if not found:
        return None
    run = record.name if run is None else run
    # The last layer's input always receives a gradient; those of the first ones, after the frozen
    # embedding, never do.
    its = chosen_among(record.styles, found[0].layers, lane, layer, default=found[0].layers[-1])
    named = measure if isinstance(measure, str) and measure in GRADIENTS.parts else "input"
    at = _nearest(numbers, numbers[-1] if step is None else step)
    quantity = named.partition("_")[0] if named != "input" else "gradient"
    of_A, of_B = (
        layer_figure(
            numbers, found, record.styles, its.layer, f"{quantity}_{factor}",
            total=record.config.steps, run=f"{run} {its.layer} {quantity}",
            left=out_at(list(record.steps), len(record.styles)),
        )
        for factor in FACTORS
    )  # fmt: skip
    view = GradientsView(
        its, named, numbers, numbers[at],
        layer_map(
            GRADIENTS, named, numbers, found, record.styles[its.lane], its.lane,
            run=f"{run} {named} {its.lane}",
        ),
        _depth(record, numbers[at], found[at], named, its.layer, run), of_A, of_B,
    )  # fmt: skip
    for figure in view.figures:
        figure["layout"]["meta"]["race"] = (
            run  # it shares hidden lanes and the marked step with the others
        )
    return view


def depth_view(record: RaceRecord, measure: object, layer: object, step: float) -> Figure | None:
    """Show only the chart against depth, at another step; None if it was not measured."""
    numbers, found = looks(record)
    if not found or not isinstance(measure, str) or measure not in GRADIENTS.parts:
        return None
    if not isinstance(layer, str) or layer not in found[0].layers:
        return None
    at = _nearest(numbers, step)
    figure = _depth(record, numbers[at], found[at], measure, layer, record.name)
    figure["layout"]["meta"]["race"] = record.name
    return figure


def _depth(
    record: RaceRecord, number: int, found: Gradients, measure: str, layer: str, run: str
) -> Figure:
    module = block_and_module(layer)[1]
    return depth_figure(
        number, found, record.styles, measure, module, run=f"{run} {measure} {module}"
    )


def _nearest(numbers: tuple[int, ...], step: float) -> int:
    return min(range(len(numbers)), key=lambda i: abs(numbers[i] - step))
