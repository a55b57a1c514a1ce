"""Lanes as a table in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact
from olora_viz.machine.showing import table


def lanes_table(lanes: Sequence[Lane], labels: Sequence[str], caption: str = "") -> Markup:
    """Return a row for each lane."""
    rows = [
        (label, label_of(lane.init), "fair" if lane.fair else compact(lane.lr), lane.r,
         f"{lane.scale:g}", lane.seed)
        for label, lane in zip(labels, lanes, strict=True)
    ]  # fmt: skip
    head = ["lane", "initialization", "learning rate", "rank", "scale s", "seed"]
    return table(head, rows, caption)
