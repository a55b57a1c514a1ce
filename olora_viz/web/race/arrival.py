"""What a link asks for, and the state of a page when it is opened or reloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from olora_viz.learn.gallery.recording import RECORDED_ID
from olora_viz.learn.lessons import LESSON_NAMES, find
from olora_viz.machine.checks import unknown
from olora_viz.races.config import KEPT
from olora_viz.tasks import TASKS
from olora_viz.views.html import problem, remark
from olora_viz.web.classroom.votes import checked_name
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.guard.visitor_files import EXAMPLES, TEXT, Brought, FileKind, VisitorFiles
from olora_viz.web.jobs.job import Access, own_fields
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.setup import IN_QUERY, ON_CPU, PLAIN_SETTINGS, SetUp, first_recording, of_recording, setup_of
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.presets import PRESETS
from olora_viz.web.race.shelf import checked
from olora_viz.web.race.stream import AGAIN

HIDEABLE = {
    "setup": "#setup-card",
    "model": "#setup-model",
    "task": "#setup-task, #setup-sample, #setup-file",
    "steps": "#setup-steps",
    "batch": "#setup-batch",
    "seed": "#setup-seed",
    "settings": "#more-settings, #setup-text",
    "lanes": "#lanes-card",
    "sweep": ".sweep",
    "presets": "#presets",
    **{f"preset-{preset.name}": f".preset-{preset.name}" for preset in PRESETS},
    **{card.name: f"#{card.id}" for card in CARDS},
    "teachers": "#lesson-teachers, #to-teachers",
    "navigation": "#navigation",
    "share": "#share, #show-run",
    "class": "#class-part",
    "help": "#help-part",
}
"""The names for ``hide=`` and their selectors: parts of the set-up, every card, and the bar's."""

LONGEST_QUERY = 8192
"""The longest query, in characters: 64 lanes fit."""

ONCE = (*IN_QUERY, "start", "hide", "lesson", "guide", "at", "class", "projector", "view")
"""All names that may occur only once."""


class Link(NamedTuple):
    """The content of a link."""

    setup: SetUp | None = None
    start: bool = False
    notes: tuple[str, ...] = ()
    lesson: str | None = None
    """Name of the lesson that it opens."""


def read(limits: Limits, text: Any) -> Link:
    """Read a link's query, with or without its question mark.

    Raises:
        ValueError: a value breaks a rule of the page; the message is one sentence.
    """
    if not isinstance(text, str) or len(text) > LONGEST_QUERY:
        raise ValueError(f"a link must be a text of at most {LONGEST_QUERY} characters")
    values: dict[str, str] = {}
    notes = []
    for key, value in parse_qsl(text.removeprefix("?"), keep_blank_values=True):
        if key == "lane":
            continue
        if key in values:
            raise ValueError(f"{key} occurs twice in the link")
        elif key in ONCE:
            values[key] = value
        elif not key.startswith("__"):  # Gradio's own, such as __theme
            notes.append(unknown("link parameter", key[:40], ("lane", *ONCE)))
    hidden = [name.strip() for name in values.get("hide", "").split(",")]
    notes += [unknown("part to hide", name[:40], HIDEABLE) for name in hidden if name and name not in HIDEABLE]
    lesson = values.get("lesson")
    if lesson and lesson not in LESSON_NAMES:
        notes.append(unknown("lesson", lesson[:40], LESSON_NAMES))
        lesson = None
    for switch in ("start", "projector"):
        if values.get(switch, "0") not in ("0", "1"):
            raise ValueError(f"{switch} must be 0 or 1, not {values[switch][:40]!r}")
    if values.get("class", "0") not in ("0", "1"):
        checked_name(values["class"])
    setup = SetUp.from_query(limits, text)
    if setup is None and "start" in values:
        setup = SetUp.first(limits)
        setup.to_config(limits)
    return Link(setup, values.get("start") == "1", tuple(notes[:3]), lesson or None)


def hiding_css() -> str:
    """Return the rules by which the names in ``<html data-hide="…">`` hide their parts."""
    return "\n".join(
        f'[data-hide~="{name}"] :is({selector}) {{ display: none !important; }}' for name, selector in HIDEABLE.items()
    )


class Asked(NamedTuple):
    """What an address asks for."""

    link: Link
    own: bool = False
    """Whether this page wrote the address itself."""
    notes: str = ""
    refused: str = ""
    """Why nothing of the link can be opened; empty if it can."""


def read_address(limits: Limits, address: Any) -> Asked:
    """Return what an address asks for, as `ARRIVE_SCRIPT` sends it."""
    values = address if isinstance(address, dict) else {}
    try:
        link = read(limits, values.get("query", ""))
    except ValueError as error:
        return Asked(Link(), refused=str(error))
    notes = "".join(remark(f"In the link: {note}") for note in link.notes)
    return Asked(link, values.get("own") is True, notes)


def lesson_race(link: Link, own: bool) -> str | None:
    """Return the id of the recorded race that a link's lesson opens with, or None.

    A set-up in the link takes precedence, and so does an address that this page wrote itself.
    """
    lesson = find(link.lesson) if link.lesson and not own and not link.start else None
    if lesson is None or lesson.config is None:
        return None
    return lesson.race if link.setup in (None, of_recording(lesson.config)) else None


WITHOUT_FILE = (
    "The task of this set-up is a visitor's own file, which is in no link: choose it again under “Your own examples…”."
)

WITHOUT_TEXT = (
    "The text to keep of this set-up is a visitor's own file, which is in no link: choose it again under “Your own "
    "text to keep…”."
)

OTHERS_FILE = "The task of this run is its owner's own file, which is in no link; the set-up here has another task."

OTHERS_TEXT = "The text to keep of this run is its owner's own file, which is in no link; the set-up here has another."

ARRIVE_SCRIPT = (Path(__file__).parent / "arrive.js").read_text("utf-8")
"""Passes the key of this tab, and the request in the address, to the event `load`."""

GONE = "The race that this tab showed is no longer on the server, which keeps only the latest ones"
NOT_HERE = "The race of this link is not on this server, which keeps only the latest ones."

FIRST_RECORDED = f"{RECORDED_ID}{ON_CPU}"
"""The race shown to a visitor without a run, on a server without a GPU of its own."""


class Arrival(NamedTuple):
    """The initial values of a page."""

    run: str | None
    """A key, of its owner or its readers."""
    setup: SetUp | None
    words: str
    """Notes on the parts of the link that were ignored, and on what is gone, as HTML."""
    brought: Brought | None = None
    """The visitor's own examples, again on the server."""
    starts: bool = False
    """Whether the page starts the race of the set-up, after a countdown."""


def arrive(
    limits: Limits, jobs: Jobs, files: VisitorFiles, run_id: Any, visit: Any, address: Any,
    page: str | None = None, owner: Visitor = NOBODY,
) -> Arrival:  # fmt: skip
    """Show the run of the address, else of this tab, else the latest one of this browser.

    A set-up in a link takes precedence over the run of the tab, and a run in a link, ``?run=KEY``, over both;
    reloading the page's own address keeps run and set-up. A run that another tab shows stays there, and an older one
    is not shown in its place. Without any run the page shows a recorded race.

    Args:
        run_id: key of the run that this tab shows; None in a new tab.
        visit: the runs of this browser.
        address: what `ARRIVE_SCRIPT` sends.
        page: Gradio's session hash of the page.
        owner: whose page it is.
    """
    address = address if isinstance(address, dict) else {}
    link, own, words, refused = read_address(limits, address)
    mine = [row["id"] for row in checked(jobs, visit)]
    wanted = address.get("run")
    linked = _linked(jobs, wanted, (run_id, *mine))
    if linked is not None:
        run_id, link = linked, Link()
    words += (
        problem(NOT_HERE)
        if wanted and linked is None
        else _gone(jobs, run_id, len(visit) - len(mine) if isinstance(visit, list) else 0)
    )
    key = run_id
    if run_id is None:
        elsewhere = address.get("elsewhere")
        key = next((each for each in mine[:1] if not (isinstance(elsewhere, list) and each in elsewhere)), None)
    run = jobs.opened(key)
    setup = link.setup
    new = setup is not None and not own
    if new and (run is None or setup_of(limits, run) != setup or (link.start and run.record.complete)):
        run = None
    if run is not None and setup is None and run.race is not None:
        setup = setup_of(limits, run)
    source = run if link.setup is None else None
    brought = _brought(files, page, owner, source, address.get("file"), EXAMPLES)
    if setup is not None and setup.task not in TASKS:
        if brought is not None:
            setup = replace(setup, task=brought.token)
        elif not _on_anothers_file(run, "task"):
            words += remark(WITHOUT_FILE)
    if setup is not None and setup.settings.keep not in KEPT:
        text = _brought(files, page, owner, source, address.get("text"), TEXT)
        setup = setup.keeping(PLAIN_SETTINGS.keep if text is None else text.token)
        if text is None and not _on_anothers_file(run, "keep"):
            words += remark(WITHOUT_TEXT)
    starts = link.start and run is None
    if setup and starts:
        try:
            setup.to_config(limits, files)
        except ValueError as error:
            words, starts = problem(str(error)), False
    lesson = lesson_race(link, own)
    if lesson or (run is None and setup is None):
        key = lesson or RECORDED_ID + first_recording(limits)
        run = jobs.opened(key)
    # A recorded race comes with its set-up, so that Race repeats what is seen.
    if link.setup is None and run and run.record.recorded:
        setup = setup_of(limits, run)
    for name, remarked in (("task", OTHERS_FILE), ("keep", OTHERS_TEXT)):
        if _on_anothers_file(run, name):
            words += remark(remarked)
    if refused:
        shown = "its default set-up"
        if run is not None and run.record.recorded and key != RECORDED_ID + first_recording(limits):
            shown = "a recorded race and its set-up"
        if run is not None and not run.record.recorded:
            shown = ("your latest run" if linked is None else "the run of the link") + " and its set-up" * bool(setup)
        words = problem(f"This link cannot be opened: {refused}. The page shows {shown}.") + words
    return Arrival(key if run else None, setup, words, brought, starts)


def _on_anothers_file(run: Access | None, name: str) -> bool:
    """Return whether a run is somebody else's, and a field of it their own file, which no set-up here can name."""
    return run is not None and not run.owned and name in own_fields(run.record.config)


def _linked(jobs: Jobs, wanted: Any, keys: Sequence[Any]) -> str | None:
    """Return the key by which a page shows the run of its address; None if there is no such run.

    An address opens a run for reading, also if it holds the owner's key, as addresses once did. A browser that has the
    owner's key anyway keeps its rights, and so does the address that ``show`` prints for a run of the server's owner.

    Args:
        keys: of the runs of the browser.
    """
    run = jobs.opened(wanted)
    if run is None or run.race is None:
        return None
    if run.owned and not run.forgettable:
        return wanted
    return next((key for key in keys if jobs.get(key) is run.race), run.readers_key)


def _brought(
    files: VisitorFiles, page: str | None, owner: Visitor, run: Access | None, sent: Any, kind: FileKind
) -> Brought | None:
    """Take the visitor's own file from the own run that is shown, else as the browser sent it."""
    copy = run.race.own_files.get(kind.field) if run and run.owned and run.race else None
    try:
        if copy is not None:
            return files.bring(page, copy.name, copy.read_text("utf-8"), owner, kind=kind)
        if isinstance(sent, dict):
            return files.bring(page, sent.get("name"), sent.get("text"), owner, kind=kind)
    except (OSError, ValueError):  # it was removed, or does not fit into the limits any more
        return None
    return None


def _gone(jobs: Jobs, run_id: Any, lost: int) -> str:
    """Say that the tab's run, or so many runs of the visit, are no longer on the server."""
    if isinstance(run_id, str) and run_id and jobs.shown(run_id) is None:
        others = f", and {lost - 1} more of this visit" if lost > 1 else ""
        return remark(f"{GONE}{others}. {AGAIN}")
    if lost:
        runs = "One run of this visit is" if lost == 1 else f"{lost} runs of this visit are"
        return remark(f"{runs} no longer on the server: it keeps the latest ones.")
    return ""
