"""The editable table of lanes: native inputs, checked and marked by the server as one types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.figures import theme
from olora_viz.figures.live.gradio_figure import IMPORT, installed
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact
from olora_viz.web.guard.limits import Limits, checked_lane, problems

DEFAULT_LANES = (
    Lane("lora", lr=1e-3),
    Lane("lora", lr=3e-3),
    Lane("olora", lr=1e-3),
    Lane("olora", lr=3e-3),
    Lane("pissa", lr=1e-3),
)
"""The race that a visitor finds: two starts at two shared rates, and a third start."""

_ON_LOAD = (
    IMPORT
    + """
load(props.module).then(({ mount }) => {
  const table = mount(element.querySelector(".lane-table"), {
    rows: props.value, starts: props.starts, most: props.most,
    seen: (rows) => server.seen(rows), changed: (rows) => { props.value = rows; },
  });
  watch("value", () => table.replace(props.value));
});
"""
)


def lane_table(limits: Limits, *, elem_id: str) -> gr.HTML:
    """Make the table; as an event's input its value is a list of rows, see `checked_lane`."""

    def seen(rows: list[Any]) -> list[dict[str, str]]:
        return marks(limits, rows)

    return gr.HTML(
        value=rows_of(DEFAULT_LANES),
        elem_id=elem_id,
        html_template='<div class="lane-table"></div>',
        js_on_load=_ON_LOAD,
        apply_default_css=False,
        server_functions=[seen],
        module=installed(Path(__file__).parent / "lane_table.js"),
        starts={name: label_of(name) for name in INITIALIZERS},
        most=limits.max_lanes,
    )


def rows_of(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    """Return the rows that show some lanes.

    >>> rows_of([Lane("olora", lr=1e-3, r=8)])
    [{'init': 'olora', 'r': 8, 'alpha': '', 'lr': '1e-3', 'seed': 0}]
    """
    return [
        {
            "init": lane.init,
            "r": lane.r,
            "alpha": "" if lane.alpha is None else _exact(lane.alpha),
            "lr": _exact(lane.lr),
            "seed": lane.seed,
        }
        for lane in lanes
    ]


def _exact(number: float) -> str:
    short = compact(number)
    return short if float(short) == number else repr(number)


def marks(limits: Limits, rows: Any) -> list[dict[str, str]]:
    """Return the mark of every row, and what is wrong with it.

    >>> marks(Limits(), [{"init": "olora", "r": "8", "lr": "1e-3", "seed": 0}])
    [{'init': 'olora', 'dash': 'solid', 'wrong': ''}]
    """
    rows = rows[: limits.max_lanes] if isinstance(rows, list) else []
    wrong = problems(limits, rows)
    good = [checked_lane(limits, row) for row, why in zip(rows, wrong, strict=True) if not why]
    styles = iter(theme.lane_styles(good))
    found = []
    for why in wrong:
        style = None if why else next(styles)
        init, dash = (style.init, style.dash) if style else ("mute", "unknown")
        found.append({"init": init, "dash": dash, "wrong": why})
    return found
