"""The update spectra of a race, by layer and step."""

from __future__ import annotations

from dataclasses import dataclass

from olora_viz.figures.layout import Figure
from olora_viz.figures.maps import layer_map
from olora_viz.figures.update_spectra import growth_figure
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.views.layers import Choices, chosen_among
from olora_viz.views.race_record import RaceRecord


@dataclass(frozen=True)
class SpectraView:
    """One lane's spectra: a map over layers and steps, and one layer's values as they grow."""

    choices: Choices
    measure: str
    map: Figure
    growth: Figure


def spectra_view(
    record: RaceRecord,
    *,
    lane: object = None,
    measure: object = None,
    layer: object = None,
    run: str | None = None,
) -> SpectraView | None:
    """Show the spectra of a race; None if it has none (yet).

    Parameters
    ----------
    lane, layer : a label and a name; otherwise the first OLoRA lane and the first layer.
    measure : a key of ``UPDATE_SPECTRA.parts``; otherwise ``norm``.
    run : see `race_view`.
    """
    looks = [
        (step.step, step.update_spectra)
        for step in list(record.steps)
        if step.update_spectra is not None
    ]
    if not looks:
        return None
    numbers, spectra = zip(*looks, strict=True)
    run = record.name if run is None else run
    its = chosen_among(record.styles, spectra[0].layers, lane, layer, default=spectra[0].layers[0])
    named = measure if isinstance(measure, str) and measure in UPDATE_SPECTRA.parts else "norm"
    style, k = record.styles[its.lane], its.lane
    view = SpectraView(
        its,
        named,
        layer_map(UPDATE_SPECTRA, named, numbers, spectra, style, k, run=f"{run} {k} {named}"),
        growth_figure(
            numbers, spectra, style, k, its.layer, total=record.config.steps,
            run=f"{run} {its.layer}",
        ),
    )  # fmt: skip
    for figure in (view.map, view.growth):
        figure["layout"]["meta"]["race"] = run  # they mark the same step as its other charts
    return view
