"""The curvature of a race: the largest eigenvalue during training, and the stable rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from olora_viz.figures.conditioning import sharpness_figure, stability_figure
from olora_viz.figures.layout import Figure
from olora_viz.views.race_record import RaceRecord


@dataclass(frozen=True)
class CurvatureView:
    """Sharpness and stability of every lane, over the steps."""

    sharpness: Figure
    stability: Figure


def curvature_view(record: RaceRecord, *, run: str | None = None) -> CurvatureView:
    """Show the curvature of a race; it may have no measurement (yet).

    Parameters
    ----------
    run : see `race_view`.
    """
    steps = list(record.steps)
    named = record.name if run is None else run
    common: dict[str, Any] = {"total": record.config.steps, "run": named}
    return CurvatureView(
        sharpness_figure(record.styles, steps, **common),
        stability_figure(record.styles, steps, **common),
    )
