"""The curvature of a race: the largest eigenvalue during training, and the stable rates."""

from __future__ import annotations

from dataclasses import dataclass

from olora_viz.figures.curvature import sharpness_figure, stability_figure
from olora_viz.figures.layout import Figure
from olora_viz.views.race import race_view
from olora_viz.views.race_record import RaceRecord


@dataclass(frozen=True)
class CurvatureView:
    """Sharpness and stability over the steps, a curve for lanes that differ only in their seed."""

    sharpness: Figure
    stability: Figure


def curvature_view(record: RaceRecord, *, run: str | None = None) -> CurvatureView:
    """Show the curvature of a race; it may have no measurement (yet).

    Parameters
    ----------
    run : see `race_view`.
    """
    raced = race_view(record, run=run)
    return CurvatureView(raced.drawn(sharpness_figure), raced.drawn(stability_figure))
