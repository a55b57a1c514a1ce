"""A race's set-up as a link and back, and class mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import gradio as gr

from olora_viz.learn.lessons import NAMES, find
from olora_viz.machine.text import unknown
from olora_viz.races.config import SETTINGS
from olora_viz.views.html import problem, remark
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.card import QUIET, element
from olora_viz.web.parts.presets import PRESETS
from olora_viz.web.parts.setup import SetUp, of_recording
from olora_viz.web.race.cards import CARDS

PARTS = {
    "setup": "#setup-card",
    "model": "#setup-model",
    "task": "#setup-task, #setup-sample, #setup-file",
    "steps": "#setup-steps",
    "batch": "#setup-batch",
    "seed": "#setup-seed",
    "settings": "#more-settings",
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

LONGEST = 8192
"""The longest query, in characters: 64 lanes fit."""

OF_SETUP = ("model", "task", "steps", "batch", "seed", "curvature", *SETTINGS)
"""Names of the set-up that may occur only once in a query; ``lane`` may be repeated."""

ONCE = (*OF_SETUP, "start", "hide", "lesson", "class")
"""All names that may occur only once."""

MOST_NOTES = 3
"""Maximum number of notes on unknown names."""


class Link(NamedTuple):
    """The content of a link."""

    setup: SetUp | None = None
    """None if it has no set-up."""
    start: bool = False
    notes: tuple[str, ...] = ()
    """Notes on unknown names in it."""
    lesson: str | None = None
    """Name of the lesson that it opens."""


def read(limits: Limits, text: Any) -> Link:
    """Read a link's query, with or without its question mark.

    Raises:
        ValueError: a value breaks a rule of the page; the message is one sentence.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"a link must be a text of at most {LONGEST} characters")
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
    notes += [unknown("part to hide", name[:40], PARTS) for name in hidden if name and name not in PARTS]
    lesson = values.get("lesson")
    if lesson and lesson not in NAMES:
        notes.append(unknown("lesson", lesson[:40], NAMES))
        lesson = None
    for switch in ("start", "class"):
        if values.get(switch, "0") not in ("0", "1"):
            raise ValueError(f"{switch} must be 0 or 1, not {values[switch][:40]!r}")
    setup = SetUp.from_query(limits, text)
    if setup is None and "start" in values:
        setup = SetUp.first(limits)
        setup.to_config(limits)
    return Link(setup, values.get("start") == "1", tuple(notes[:MOST_NOTES]), lesson or None)


def hiding_css() -> str:
    """Return the rules by which the names in ``<html data-hide="…">`` hide their parts."""
    return "\n".join(
        f'[data-hide~="{name}"] :is({selector}) {{ display: none !important; }}' for name, selector in PARTS.items()
    )


WITHOUT_FILE = (
    "The task of this set-up is a visitor's own file, which is in no link: choose it again under “Your own examples…”."
)

OTHERS_FILE = "The task of this run is its owner's own file, which is in no link; the set-up here has another task."

COUNTDOWN = {"seconds": 5}
"""How long a page shows that it will start the race of its link."""

READ = (Path(__file__).parent / "arrive.js").read_text("utf-8")
"""Passes the key of this tab, and the request in the address, to the event `load`."""


def share_button(setup: SetUp) -> gr.HTML:
    """Make the button, inside the top bar; its value is the query of the set-up.

    Args:
        setup: the page's initial set-up.
    """
    return element(
        value=setup.to_query(),
        elem_id="share",
        html_template='<button type="button" class="quiet" id="share-button" '
        'title="Copy a link that opens this page with the same set-up">Share</button>'
        '<span class="unseen" role="status"></span>',
        script="race/share.js",
        names=[*OF_SETUP, "lane", "run"],
    )


def show_run_button() -> gr.HTML:
    """Make the button that copies a link to the run for others; its value is their key."""
    return element(
        value="",
        elem_id="show-run",
        html_template=(
            '<button type="button" class="quiet" id="show-run-button" hidden title="Copy a link '
            'with which others watch this run: they cannot pause, step or stop it">'
            'Share run</button><span class="unseen" role="status"></span>'
        ),
        script="race/show_run.js",
    )


def countdown() -> gr.HTML:
    """Make the bar that counts down to the race of a link; its value is None or `COUNTDOWN`."""
    return element(
        value=None,
        elem_id="countdown",
        html_template='<div class="countdown" hidden><span class="ticking" aria-hidden="true">'
        '</span><button type="button" class="quiet">Start now</button>'
        '<button type="button" class="quiet" title="Cancel (Esc)">Cancel</button></div>'
        '<span class="unseen" role="status" aria-live="polite"></span>',
        script="race/start.js",
    )


def keep_current(limits: Limits, controls: Sequence[Any], link: gr.HTML, files: OwnFiles) -> None:
    """Update the link whenever the set-up changes and is valid.

    Args:
        controls: of the set-up.
        files: the visitors' own files.
    """

    def written(*values: Any) -> Any:
        try:
            return SetUp.from_controls(limits, values, files).to_query()
        except ValueError:
            return gr.skip()

    gr.on([control.change for control in controls], written, list(controls), link, **QUIET)


class Asked(NamedTuple):
    """What an address asks for."""

    link: Link
    own: bool
    """Whether this page wrote the address itself."""
    notes: str
    """On the parts that were ignored, as HTML."""
    refused: str = ""
    """Why nothing of the link can be opened; empty if it can."""

    def refusal(self, shown: str) -> str:
        """Say why the link cannot be opened, and what the page shows instead, as HTML."""
        if not self.refused:
            return ""
        return problem(f"This link cannot be opened: {self.refused}. The page shows {shown}.")


def read_address(limits: Limits, address: Any) -> Asked:
    """Return what an address asks for.

    Args:
        address: what `READ` sends, or anything else.
    """
    values = address if isinstance(address, dict) else {}
    try:
        link = read(limits, values.get("query", ""))
    except ValueError as error:
        return Asked(Link(), False, "", str(error))
    notes = "".join(remark(f"In the link: {note}") for note in link.notes)
    return Asked(link, values.get("own") is True, notes)


def lesson_race(link: Link, own: bool) -> str | None:
    """Return the id of the recorded race that a link's lesson opens with, or None.

    A set-up in the link takes precedence, and so does an address that this page wrote itself.
    """
    lesson = find(link.lesson) if link.lesson else None
    if lesson is None or lesson.config is None or own or link.start:
        return None
    same = link.setup is None or link.setup == of_recording(lesson.config)
    return lesson.race if same else None


def class_button() -> gr.HTML:
    """Make the button; `style.css` does the rest, with ``data-class`` of the document."""
    return element(
        '<button type="button" class="quiet" id="class-button" aria-pressed="false" '
        'title="Class mode: larger text and lines, fewer cards" aria-label="A+ Class mode">A+'
        "</button>",
        elem_id="class-part",
        script="race/class_mode.js",
    )
