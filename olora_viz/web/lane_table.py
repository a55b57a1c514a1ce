"""The editable table of lanes: native inputs, checked and marked by the server as one types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz import theme
from olora_viz.initializers import INITIALIZERS
from olora_viz.live.gradio_figure import IMPORT, installed
from olora_viz.web.limits import Limits, checked_lane, problems

DEFAULT_LANES = (
    ("lora", "1e-3"),
    ("lora", "3e-3"),
    ("olora", "1e-3"),
    ("olora", "3e-3"),
    ("pissa", "1e-3"),
)
"""The race that a visitor finds: two starts at two shared rates, and a third start."""

_ON_LOAD = (
    IMPORT
    + """
load(props.module).then(({ mount }) => mount(element.querySelector(".lane-table"), {
  rows: props.value, starts: props.starts, most: props.most,
  seen: (rows) => server.seen(rows), changed: (rows) => { props.value = rows; },
}));
"""
)


def lane_table(limits: Limits, *, elem_id: str) -> gr.HTML:
    """Make the table; as an event's input its value is a list of rows, see `checked_lane`."""

    def seen(rows: list[Any]) -> list[dict[str, str]]:
        return marks(limits, rows)

    return gr.HTML(
        value=[{"init": i, "r": 8, "alpha": "", "lr": lr, "seed": 0} for i, lr in DEFAULT_LANES],
        elem_id=elem_id,
        html_template='<div class="lane-table"></div>',
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[seen],
        module=installed(Path(__file__).parent / "lane_table.js"),
        starts={name: theme.label(name) for name in INITIALIZERS},
        most=limits.max_lanes,
    )


def marks(limits: Limits, rows: Any) -> list[dict[str, str]]:
    """Return the mark of every row, and what is wrong with it.

    >>> marks(Limits(), [{"init": "olora", "r": "8", "lr": "1e-3", "seed": 0}])
    [{'init': 'olora', 'dash': 'solid', 'wrong': ''}]
    """
    rows = rows[: limits.max_lanes] if isinstance(rows, list) else []
    wrong = problems(limits, rows)
    good = [checked_lane(limits, row) for row, why in zip(rows, wrong, strict=True) if not why]
    looks = iter(theme.looks(good))
    found = []
    for why in wrong:
        look = None if why else next(looks)
        init, dash = (look.init, look.dash) if look else ("mute", "unknown")
        found.append({"init": init, "dash": dash, "wrong": why})
    return found
