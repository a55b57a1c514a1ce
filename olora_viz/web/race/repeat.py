"""The button "Repeat with 5 seeds": the same lanes with several seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from olora_viz.views import html as fragments
from olora_viz.web.guard.limits import Limits, checked_lane
from olora_viz.web.race.lane_table import rows_of

SEEDS = 5

WORDS = f"Repeat with {SEEDS} seeds"

TITLE = (
    "Every lane is repeated with each seed. A seed sets the random numbers of the start and the "
    "order of the batches; lanes with the same seed see the same batches."
)


_PRESS = "(go) => { if (go) document.querySelector('#race-button')?.click(); }"


def build(limits: Limits, lanes: gr.HTML) -> None:
    """Make the button and the line below it.

    Parameters
    ----------
    lanes : the lane table, whose lanes it repeats.
    """
    button = gr.Button(WORDS, elem_id="repeat-button", size="sm", scale=0, min_width=0)
    hint = f'<p class="hint">{TITLE}</p>'
    note = gr.HTML(hint, elem_id="repeat-note", apply_default_css=False)
    go = gr.Checkbox(False, visible=False)

    def fill(rows: Any) -> tuple[Any, str, bool]:
        try:
            return repeated(limits, rows), hint, True
        except ValueError as error:
            return gr.skip(), fragments.problem(str(error)), False

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private",
    }  # fmt: skip
    button.click(fill, lanes, [lanes, note, go], **quiet).then(
        None, go, None, js=_PRESS, queue=False, show_progress="hidden"
    )


def repeated(limits: Limits, rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a lane table with the seeds 0, 1, … for every lane.

    Parameters
    ----------
    rows : of the table as it is; lanes that differ in their seed alone count once.

    Raises
    ------
    ValueError : a row is no lane, or there would be more lanes than a race takes.

    >>> [row["seed"] for row in repeated(Limits(), [{"init": "olora", "r": 8, "lr": "1e-3"}])]
    [0, 1, 2, 3, 4]
    """
    rows = rows if isinstance(rows, list) else []
    if not 1 <= len(rows) <= limits.max_lanes:
        raise ValueError(f"a race takes 1 to {limits.max_lanes} lanes, not {len(rows)}")
    lanes = list(dict.fromkeys(replace(checked_lane(limits, row), seed=0) for row in rows))
    count = len(lanes) * SEEDS
    if count > limits.max_lanes:
        raise ValueError(
            f"{len(lanes)} lanes with {SEEDS} seeds each are {count}; a race takes at most "
            f"{limits.max_lanes}: take lanes out first"
        )
    return rows_of([replace(lane, seed=seed) for lane in lanes for seed in range(SEEDS)])
