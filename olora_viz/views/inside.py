"""What is inside the adapters of a race, at one of its steps: what the figure of a page draws."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from olora_viz.background.record import RaceRecord
from olora_viz.figures.layers import layer_words
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.machine.wording import compact
from olora_viz.races.step import latest_factors
from olora_viz.studies.contest import seed_groups
from olora_viz.views import html as fragments
from olora_viz.views.results import group_styles


def layers_inside(record: RaceRecord) -> list[tuple[str, str]]:
    """Return the layers that can be looked at: the displayed text and the name of each."""
    return [(layer_words(name), name) for name in record.inside.weights] if record.inside else []


def inside_view(record: RaceRecord, layer: object = None, step: float | None = None) -> dict[str, Any] | None:
    """Return what is drawn of one layer, see ``figures/live/adapter.js``; None if there are no pictures.

    Args:
        layer: its name; another one, or none, is the first.
        step: the latest pictures up to it, 0 for those before the first step; by default the last ones.
    """
    inside = record.inside
    if inside is None or not inside.weights:
        return None
    name = layer if isinstance(layer, str) and layer in inside.weights else next(iter(inside.weights))
    at = latest_factors(record.steps, step)
    moved = at.factors if at else None
    lanes, (ranks, rates) = [], [len({getattr(lane, key) for lane in record.config.lanes}) > 1 for key in ("r", "lr")]
    groups = seed_groups(record.config.lanes)
    styles = {
        k: style for group, style in zip(groups, group_styles(groups, record.styles), strict=True) for k in group.lanes
    }
    for k, (lane, label) in enumerate(zip(record.config.lanes, record.config.labels, strict=True)):
        start = inside.start.of.get(label, {}).get(name)
        if start is None:
            continue
        now = moved.of.get(label, {}).get(name) if moved else None
        entry = INITIALIZERS.get(lane.init)
        lanes.append({
            "mark": fragments.mark(styles[k]), "init": lane.init, "scaling": lane.scale,
            "label": label_of(lane.init) + f", rank {lane.r}" * ranks + f", {compact(lane.lr)}" * rates
            + f", ranks by {lane.rank_by}" * bool(lane.rank_by),
            "short": entry.short if entry else "", "summary": entry.summary if entry else "",
            "A0": asdict(start.A), "B0": asdict(start.B),
            "A": asdict(now.A) if now else None, "B": asdict(now.B) if now else None,
            "sigma": list(now.sigma) if now else [],
        })  # fmt: skip
    return {
        "layer": name, "name": layer_words(name), "step": at.step if at else 0, "shape": list(inside.shapes[name]),
        "W": asdict(inside.weights[name]), "lanes": lanes,
    }  # fmt: skip
