"""Earlier runs of a visit: reopened, named, pinned, overlaid and compared.

The browser keeps the list of a visit: a row ``{"id", "name", "pinned", "overlaid"}`` per run. The id is a key: the
owner's, or the readers' for a run that was opened from a link. Without a key a page cannot list the runs of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.background.record import RaceRecord
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.figures.race import overlay_figure
from olora_viz.views.runs import OVERLAID, differences, named_run, run_words
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import LATEST_ONLY, Card, Desk, again, element

STORAGE = "olora-viz-visit"
"""The key of the list in the browser's storage."""

MOST_RUNS = 12
"""Maximum number of runs in a list; the oldest unpinned ones are removed."""

TAB = "runs"
"""The tab of the list and of the comparison."""

LONGEST_NAME = 40
"""Maximum length of a run's name, in characters."""

_ASKED = (Path(__file__).parent / "shelf_asked.js").read_text("utf-8")


def build(desk: Desk) -> list[Any]:
    """Make the list; every action in it triggers ``select``.

    One event answers all of them, and every update of the run as well, one after the other: an answer that comes late
    cannot undo a newer action. It reads what is asked for when it is sent, not when it was triggered.
    """
    rows = element(
        value=[],
        elem_id="shelf",
        html_template='<h2>Runs of this visit</h2><ol class="shelf"></ol><p class="hint"></p>',
        script="race/shelf.js",
        longest=LONGEST_NAME,
    )
    visit = element(value=[], html_template="<span hidden></span>", script="race/visit.js", storage=STORAGE)
    desk.parts["visit"] = visit
    seen = gr.Textbox("", visible=False)
    jobs, run = desk.jobs, desk.run

    def shelve(asked: Any, kept: Any, shown: Any) -> dict[Any, Any]:
        """Apply the actions, list the run that the page shows, and draw the comparison."""
        wish = asked if isinstance(asked, dict) else {}
        opens = _raced(jobs, wish.get("open")) is not None
        current = wish["open"] if opens else shown
        mine = changed(added(jobs, kept, current), wish.get("edits"))
        return {
            rows: listed(jobs, mine, current),
            **dict(zip(comparison, compared(jobs, mine, current), strict=True)),
            **({} if mine == kept else {visit: mine}),  # another tab may have changed its own list meanwhile
            **({run: current, desk.again: again()} if opens else {}),
        }

    comparison = desk.parts["comparison"]
    outputs = [visit, rows, *comparison, run, desk.again]
    gr.on([seen.change, rows.select], shelve, [rows, visit, run], outputs, js=_ASKED, **LATEST_ONLY)
    return [seen]


def build_comparison(desk: Desk) -> list[Any]:
    """Make the card that overlays runs; the list of runs fills it."""
    with gr.Column(elem_classes=COMPARISON.classes(away=True), elem_id="run-comparison") as card:
        figure = live_figure(elem_id="overlay-figure")
        words = element("", elem_id="run-differences")
    desk.parts["comparison"] = (card, figure, words)
    return []


def added(jobs: Jobs, visit: Any, name: Any) -> list[dict[str, Any]]:
    """Return a visit's list with a run in front, without unavailable runs.

    Args:
        visit: the list that the browser keeps, or anything else.
        name: key of the run that the page shows.
    """
    rows = checked(jobs, visit)
    run = _raced(jobs, name)
    if run is not None and all(row["id"] != name for row in rows):
        words = f"{run.config.model}, {run.config.task.replace('-', ' ')}"
        count = 1 + sum(row["name"].startswith(words) for row in rows)
        rows.insert(0, {"id": name, "name": f"{words} {count}"[:LONGEST_NAME], "pinned": False, "overlaid": False})
    while len(rows) > MOST_RUNS:
        unpinned = [i for i, row in enumerate(rows) if not row["pinned"]]
        del rows[unpinned[-1] if unpinned else -1]
    return rows


def checked(jobs: Jobs, visit: Any) -> list[dict[str, Any]]:
    """Return the rows of a visit whose runs are available, whatever the browser sent."""
    rows = []
    for row in visit[: 2 * MOST_RUNS] if isinstance(visit, list) else []:
        name = row.get("name") if isinstance(row, dict) else None
        if isinstance(name, str) and _raced(jobs, row.get("id")) is not None:
            flags = {key: row.get(key) is True for key in ("pinned", "overlaid")}
            rows.append({"id": row["id"], "name": name[:LONGEST_NAME], **flags})
    return rows


def changed(rows: Sequence[dict[str, Any]], edits: Any) -> list[dict[str, Any]]:
    """Return a visit's list after actions on the page.

    Args:
        edits: the new ``name``, ``pinned`` and ``overlaid`` of a run, or some of them, or that it is ``removed``, by
            the run's id. Anything else changes nothing.
    """
    edits = edits if isinstance(edits, dict) else {}
    pairs = [(row, _edit(edits.get(row["id"]))) for row in rows]
    return [row | edit for row, edit in pairs if not edit.pop("removed", False)]


def _raced(jobs: Jobs, key: Any) -> RaceRecord | None:
    """Return a race of this server; recorded ones are in no list."""
    access = jobs.opened(key)
    return access.record if access and access.race else None


def _edit(edit: Any) -> dict[str, Any]:
    """Return the valid part of an edit."""
    edit = edit if isinstance(edit, dict) else {}
    name = edit.get("name")
    words = " ".join(name.split())[:LONGEST_NAME] if isinstance(name, str) else ""
    flags = {key: edit[key] is True for key in ("pinned", "overlaid", "removed") if key in edit}
    return flags | ({"name": words} if words else {})


def listed(jobs: Jobs, rows: Sequence[dict[str, Any]], current: Any) -> list[dict[str, Any]]:
    """Return the displayed list: pinned runs first, then the newest; ``link`` is the key for others."""
    available = [(row, access) for row in rows if (access := jobs.opened(row["id"])) is not None]
    return [
        {**row, "current": row["id"] == current, "link": access.readers_key, "words": run_words(access.record)}
        for row, access in sorted(available, key=lambda pair: not pair[0]["pinned"])
    ]


def compared(jobs: Jobs, rows: Sequence[dict[str, Any]], current: Any) -> tuple[Any, Any, Any]:
    """Return the card: its visibility, its chart, and its table of differences."""
    chosen = [row for row in rows if row["overlaid"] or row["id"] == current][:OVERLAID]
    if not any(row["overlaid"] for row in rows) or len(chosen) < 2:
        return gr.update(elem_classes=COMPARISON.classes(away=True)), gr.skip(), gr.skip()
    races = [(row["name"], race) for row in chosen if (race := _raced(jobs, row["id"])) is not None]
    runs = [named_run(name, race) for name, race in races]
    return (
        gr.update(elem_classes=COMPARISON.classes()),
        pack(overlay_figure(runs, revision=" ".join(race.name for _, race in races))),
        differences([(name, race.config) for name, race in races]),
    )


COMPARISON = Card("comparison", (), build_comparison, lambda view: [], tab=TAB, frame=False, elem_id="run-comparison")

CARD = Card("runs", ("name", "state", "complete"), build, tab=TAB, elem_id="visit")
