"""The buttons of links, the URL that follows the set-up, and the reading of links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures.live.bundle import bundle
from olora_viz.learn.lessons import find
from olora_viz.views import html as fragments
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Limits
from olora_viz.web.links import share
from olora_viz.web.setup import SetUp, of_recording

WITHOUT_FILE = (
    "The task of this set-up is a visitor's own file, which is in no link: choose it again under "
    "“Your own examples…”."
)

OTHERS_FILE = (
    "The task of this run is its owner's own file, which is in no link; the set-up here has "
    "another task."
)

COUNTDOWN = {"seconds": 5}
"""How long a page shows that it will start the race of its link."""

READ = (Path(__file__).parent / "arrive.js").read_text("utf-8")
"""Passes the key of this tab, and the request in the address, to the event `load`."""


def button(setup: SetUp) -> gr.HTML:
    """Make the button, inside the top bar; its value is the query of the set-up.

    Parameters
    ----------
    setup : the page's initial set-up.
    """
    return gr.HTML(
        value=setup.to_query(),
        elem_id="share",
        html_template='<button type="button" class="quiet" id="share-button" '
        'title="Copy a link that opens this page with the same set-up">Share</button>'
        '<span class="unseen" role="status"></span>',
        js_on_load=bundle(Path(__file__).parent / "share.js"),
        apply_default_css=False,
        names=[*share.OF_SETUP, "lane", "run"],
    )


def show_button() -> gr.HTML:
    """Make the button that copies a link to the run for others; its value is their key."""
    return gr.HTML(
        value="",
        elem_id="show-run",
        html_template=(
            '<button type="button" class="quiet" id="show-run-button" hidden title="Copy a link '
            'with which others watch this run: they cannot pause, step or stop it">'
            'Share run</button><span class="unseen" role="status"></span>'
        ),
        js_on_load=bundle(Path(__file__).parent / "show_run.js"),
        apply_default_css=False,
    )


def note() -> gr.HTML:
    """Make the place for notes on the ignored parts of a link."""
    return gr.HTML("", elem_id="link-note", apply_default_css=False)


def countdown() -> gr.HTML:
    """Make the bar that counts down to the race of a link; its value is None or `COUNTDOWN`."""
    return gr.HTML(
        value=None,
        elem_id="countdown",
        html_template='<div class="countdown" hidden><span class="ticking" aria-hidden="true">'
        '</span><button type="button" class="quiet">Start now</button>'
        '<button type="button" class="quiet" title="Cancel (Esc)">Cancel</button></div>'
        '<span class="unseen" role="status" aria-live="polite"></span>',
        js_on_load=(Path(__file__).parent / "start.js").read_text("utf-8"),
        apply_default_css=False,
    )


def follow(limits: Limits, controls: Sequence[Any], link: gr.HTML, files: OwnFiles) -> None:
    """Update the link whenever the set-up changes and is valid.

    Parameters
    ----------
    controls : of the set-up.
    files : the visitors' own files.
    """

    def written(*values: Any) -> Any:
        try:
            return SetUp.from_controls(limits, values, files).to_query()
        except ValueError:
            return gr.skip()

    gr.on(
        [its.change for its in controls], written, list(controls), link, queue=False,
        show_progress="hidden", api_visibility="private", trigger_mode="always_last",
    )  # fmt: skip


class Asked(NamedTuple):
    """What an address asks for."""

    link: share.Link
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
        sentence = f"This link cannot be opened: {self.refused}. The page shows {shown}."
        return fragments.problem(sentence)


def asked(limits: Limits, address: Any) -> Asked:
    """Return what an address asks for.

    Parameters
    ----------
    address : what `READ` sends, or anything else.
    """
    said = address if isinstance(address, dict) else {}
    try:
        link = share.read(limits, said.get("query", ""))
    except ValueError as error:
        return Asked(share.Link(), False, "", str(error))
    words = "".join(fragments.remark(f"In the link: {words}") for words in link.notes)
    return Asked(link, said.get("own") is True, words)


def lesson_race(link: share.Link, own: bool) -> str | None:
    """Return the id of the recorded race that a link's lesson opens with, or None.

    A set-up in the link takes precedence, and so does an address that this page wrote itself.
    """
    lesson = find(link.lesson) if link.lesson else None
    if lesson is None or lesson.config is None or own or link.start:
        return None
    same = link.setup is None or link.setup == of_recording(lesson.config)
    return lesson.race if same else None
