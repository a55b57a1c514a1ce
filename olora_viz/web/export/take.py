"""Take it with you: the run as numbers, code and a report, and a PEFT adapter of every lane."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.figures.live.serving import charts, script
from olora_viz.lanes.read_back import kept
from olora_viz.machine.files import write_zip
from olora_viz.web.export.everything import everything_zip
from olora_viz.web.export.exports import export
from olora_viz.web.guard.downloads import DOWNLOADS
from olora_viz.web.guard.visitor import visitor_of
from olora_viz.web.jobs.job import Job
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.card import showing
from olora_viz.web.race.held import stored

BUTTONS = (
    ("report", "Report", "the whole run as one self-contained page"),
    ("csv", "CSV", "every step and lane, for a spreadsheet"),
    ("json", "JSON", "set-up, steps and results"),
    ("code", "Code (olora_viz)", "a script that repeats this race"),
    ("peft", "Code (peft)", "a script that trains the same lanes with PEFT"),
)
"""The key of each export, its button's label, and its description."""


ALL = "all"
"""Asks for everything, instead of the number of a lane."""

EVERYTHING = (
    f'<button type="button" class="quiet" data-lane="{ALL}" title="the run, its report, all '
    'adapters and the code that repeats it, in one file" disabled>Everything (zip)</button>'
)

IN_IT = "In it: the run, its report, all adapters, and the code that repeats it."


def adapter_list(jobs: Jobs, *, elem_id: str) -> gr.HTML:
    """Make the card's content; its value is `RaceView.adapters`."""

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

    buttons = [
        f'<button type="button" class="quiet" data-kind="{kind}" title="{words}" disabled>{name}'
        "</button>"
        for kind, name, words in BUTTONS
    ]
    buttons.insert(3, EVERYTHING)  # which fills the row on a phone
    return gr.HTML(
        value=None,
        elem_id=elem_id,
        html_template=(
            f'<h2>Take it with you</h2><div class="exports">{"".join(buttons)}</div>'
            '<div class="adapters" id="adapters"></div><p class="hint" role="status"></p>'
        ),
        js_on_load=script(Path(__file__).parent / "take.js", **charts()),
        apply_default_css=False,
        server_functions=[adapter, taken],
        held=stored("run"),
    )


def find(jobs: Jobs, asked: Any) -> dict[str, str]:
    """Zip an adapter and return its URL, which expires, and the result of reading it back.

    If it is not available, return the reason.

    Parameters
    ----------
    asked : the owner's key of a race, and the number of a lane, or `ALL` for everything in one
        file.
    """
    try:
        name, lane = asked
        job = jobs.get(name)
        if job is None:
            raise ValueError("this race is no longer available: run it again for its adapters")
        if lane == ALL:
            return _offered(everything_zip(job), IN_IT)
        path = adapter_zip(job, int(lane))
        read = kept(job.folder / "adapters" / job.config.labels[int(lane)])
    except OSError as error:
        what = "everything" if asked[1] == ALL else "the adapter"
        return {"problem": f"{what} could not be zipped: {error.strerror or error}"}
    except (ValueError, TypeError, OverflowError) as error:
        return {"problem": str(error)}
    return _offered(path, read.sentence if read else "")


def _offered(path: Path, found: str) -> dict[str, str]:
    return {"url": DOWNLOADS.offer(path), "name": path.name, "found": found}


def adapter_zip(job: Job, k: int) -> Path:
    """Zip lane k's adapter, once, next to the run.

    Raises
    ------
    ValueError : there is no such lane, or its adapter is not written yet.
    """
    labels = job.config.labels
    if not 0 <= k < len(labels):
        raise ValueError(f"lane {k} must be from 0 to {len(labels) - 1}")
    source = job.folder / "adapters" / labels[k]
    if not job.complete or not source.is_dir():
        raise ValueError(f"lane {labels[k]!r} has no adapter yet: the race has not ended")
    name = f"{job.config.model}-{job.config.task}-{labels[k]}".replace("=", "")
    beside = job.zips or job.folder
    beside.mkdir(exist_ok=True)
    target = beside / f"{re.sub(r'[^A-Za-z0-9._+-]', '-', name)}.zip"
    if not target.exists():
        write_zip(target, source)
    return target


CARD = showing(
    "take",
    "adapters",
    build=lambda desk: [adapter_list(desk.jobs, elem_id="take")],
    column="right",
)
