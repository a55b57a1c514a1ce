"""The gradients of a race: by layer and step, of one layer, and against the depth."""

from __future__ import annotations

from dataclasses import dataclass

from olora_viz.figures.gradients import MEASURES, depth_figure, gradient_map, layer_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.spectrum import block_and_module
from olora_viz.measures.gradients import FACTORS, Gradients
from olora_viz.views.layers import Choices, chosen_among
from olora_viz.views.race_record import RaceRecord

UPDATES = 50
"""About how often a race has news of its gradients."""


@dataclass(frozen=True)
class GradientsView:
    """One measure of a race's gradients, in three ways."""

    choices: Choices
    measure: str
    numbers: tuple[int, ...]
    """The steps at which the gradients were looked at."""
    step: int
    """The one whose depth is shown."""
    map: Figure
    """Of one lane: steps across, layers down."""
    depth: Figure
    of_A: Figure
    """Of one layer's A, over the steps."""
    of_B: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All of them."""
        return self.map, self.depth, self.of_A, self.of_B


def looks(record: RaceRecord) -> tuple[tuple[int, ...], tuple[Gradients, ...]]:
    """Return the numbers of the steps that were looked at, and what was found."""
    known = [(s.step, s.gradients) for s in list(record.steps) if s.gradients is not None]
    return tuple(number for number, _ in known), tuple(found for _, found in known)


def news(record: RaceRecord) -> int:
    """Return a number that changes when what is shown should be drawn anew; 0: nothing is."""
    count = len(looks(record)[0])
    wait = max(1, record.config.steps // max(1, record.config.gradients_every) // UPDATES)
    # Another number at the end, also where the last look was news already: it may be out of sight.
    return -count if record.complete else max(min(1, count), count - count % wait)


def gradients_view(
    record: RaceRecord,
    *,
    lane: object = None,
    measure: object = None,
    layer: object = None,
    step: float | None = None,
    run: str | None = None,
) -> GradientsView | None:
    """Show the gradients of a race; None where they were not looked at (yet).

    Parameters
    ----------
    lane, layer : a label and a name, else the first OLoRA lane and the last layer.
    measure : a key of `olora_viz.figures.gradients.MEASURES`, else ``input``.
    step : the depth is that of the look nearest to it, else of the newest.
    run : see `race_view`.
    """
    numbers, found = looks(record)
    if not found:
        return None
    run = record.id if run is None else run
    # Into the last layer a gradient always flows; into the first ones, behind the frozen embedding,
    # it never does.
    its = chosen_among(record.styles, found[0].layers, lane, layer, default=found[0].layers[-1])
    named = measure if isinstance(measure, str) and measure in MEASURES else "input"
    at = _nearest(numbers, numbers[-1] if step is None else step)
    quantity = named.partition("_")[0] if named != "input" else "gradient"
    of_A, of_B = (
        layer_figure(
            numbers, found, record.styles, its.layer, f"{quantity}_{factor}",
            total=record.config.steps, run=f"{run} {its.layer} {quantity}",
        )
        for factor in FACTORS
    )  # fmt: skip
    view = GradientsView(
        its, named, numbers, numbers[at],
        gradient_map(
            numbers, found, record.styles[its.lane], its.lane, named,
            run=f"{run} {named} {its.lane}",
        ),
        _depth(record, numbers[at], found[at], named, its.layer, run), of_A, of_B,
    )  # fmt: skip
    for figure in view.figures:
        figure["layout"]["meta"]["race"] = run  # it hides a lane, shows a step, with the others
    return view


def depth_view(record: RaceRecord, measure: object, layer: object, step: float) -> Figure | None:
    """Show the depth alone, at another step; None where there is no such thing."""
    numbers, found = looks(record)
    if not found or not isinstance(measure, str) or measure not in MEASURES:
        return None
    if not isinstance(layer, str) or layer not in found[0].layers:
        return None
    at = _nearest(numbers, step)
    figure = _depth(record, numbers[at], found[at], measure, layer, record.id)
    figure["layout"]["meta"]["race"] = record.id
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
