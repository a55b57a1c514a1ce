"""Take it with you: the run as numbers, code and a report, and a PEFT adapter of every lane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.figures import theme
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.serving import HERE, PLOTLY, installed
from olora_viz.views.race import RaceView
from olora_viz.web.export.exports import export
from olora_viz.web.guard.downloads import DOWNLOADS
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.card import Card
from olora_viz.web.race.held import stored

BUTTONS = (
    ("report", "Report", "the whole run as one self-contained page"),
    ("csv", "CSV", "every step and lane, for a spreadsheet"),
    ("json", "JSON", "set-up, steps and results"),
    ("code", "Code (olora_viz)", "a script that repeats this race"),
    ("peft", "Code (peft)", "a script that trains the same lanes with PEFT"),
)
"""The key of each export, its button's label, and its description."""


def adapter_list(jobs: Jobs, *, elem_id: str) -> gr.HTML:
    """Make the card's content; its value is what `value` returns."""

    pool = Pool(few("exports"))

    async def adapter(request: gr.Request, asked: Any) -> dict[str, str]:
        return await in_turn(request, find, asked)

    async def taken(request: gr.Request, asked: Any) -> dict[str, Any]:
        return await in_turn(request, export, asked)

    async def in_turn(request: Any, make: Any, asked: Any) -> dict[str, Any]:
        try:
            return await pool.run(visitor_of(request), make, jobs, asked)
        except ValueError as error:
            return {"problem": str(error)}

    buttons = "".join(
        f'<button type="button" class="quiet" data-kind="{kind}" title="{words}" disabled>{name}'
        "</button>"
        for kind, name, words in BUTTONS
    )
    return gr.HTML(
        value=None,
        elem_id=elem_id,
        html_template=(
            f'<h2>Take it with you</h2><div class="exports">{buttons}</div>'
            '<div class="adapters" id="adapters"></div><p class="hint" role="status"></p>'
        ),
        js_on_load=bundle(Path(__file__).parent / "take.js"),
        apply_default_css=False,
        server_functions=[adapter, taken],
        held=stored("run"),
        sibling=installed(HERE / "figure.js"),
        module=installed(HERE / "figure.js"),
        exporter=installed(HERE / "figure_export.js"),
        plotly=installed(PLOTLY),
        palette={name: theme.palette(name) for name in theme.THEMES},
    )


def value(view: RaceView) -> dict[str, Any] | None:
    """Return what the card shows: nothing before the first step, adapters after the end."""
    if not view.made:
        return None
    has_adapters = view.complete and not view.recorded and view.owned
    lanes = [
        {"lane": k, "label": style.label, "init": style.init, "dash": style.dash}
        for k in (view.order if has_adapters else ())
        for style in [view.styles[k]]
    ]
    return {"lanes": lanes, "recorded": view.recorded, "owned": view.owned}


def find(jobs: Jobs, asked: Any) -> dict[str, str]:
    """Zip an adapter and return its URL, which expires, and the result of reading it back.

    If it is not available, return the reason.

    Parameters
    ----------
    asked : the owner's key of a race, and the number of a lane.
    """
    try:
        name, lane = asked
        job = jobs.get(name)
        if job is None:
            raise ValueError("this race is no longer available: run it again for its adapters")
        path, found = job.adapter_zip(int(lane)), job.read_back(int(lane))
    except OSError as error:
        return {"problem": f"the adapter could not be zipped: {error.strerror or error}"}
    except (ValueError, TypeError, OverflowError) as error:
        return {"problem": str(error)}
    return {"url": DOWNLOADS.offer(path), "name": path.name, "found": found}


CARD = Card(
    "take",
    ("name", "complete", "order"),
    lambda desk: [adapter_list(desk.jobs, elem_id="take")],
    lambda view: [value(view)],
    column="right",
)
