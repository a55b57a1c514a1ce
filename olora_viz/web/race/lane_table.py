"""The editable table of lanes: native inputs, validated by the server while the user types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.figures.live.serving import HERE, installed, script
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import Lane
from olora_viz.views.lane_marks import Mark, lane_marks
from olora_viz.web.guard.config import checked_lanes, problems
from olora_viz.web.guard.limits import Limits
from olora_viz.web.setup import rows_of

SCRIPT = HERE / "lane_table.js"
"""The table, which the notebook's panels have too."""


def lane_table(limits: Limits, lanes: Sequence[Lane], *, elem_id: str) -> gr.HTML:
    """Make the table; as an event's input its value is a list of rows, see `checked_lanes`."""

    def seen(rows: list[Any]) -> list[Mark]:
        return marks(limits, rows)

    return gr.HTML(
        value=rows_of(lanes),
        elem_id=elem_id,
        html_template='<div class="lane-table"></div>',
        js_on_load=script(Path(__file__).parent / "mount_lane_table.js", module=installed(SCRIPT)),
        apply_default_css=False,
        server_functions=[seen],
        starts={name: label_of(name) for name in INITIALIZERS},
        meanings={name: one.summary for name, one in INITIALIZERS.items()},
        most=limits.max_lanes,
        blank=rows_of([Lane("olora")])[0],
    )


def marks(limits: Limits, rows: Any) -> list[Mark]:
    """Return the mark of every row, and its error.

    >>> marks(Limits(), [{"init": "olora", "r": "8", "lr": "1e-3", "seed": 0}])
    [{'init': 'olora', 'dash': 'solid', 'wrong': ''}]
    """
    rows = rows[: limits.max_lanes] if isinstance(rows, list) else []
    wrong = problems(limits, rows)
    return lane_marks(
        [why or checked_lanes(limits, row) for row, why in zip(rows, wrong, strict=True)]
    )
