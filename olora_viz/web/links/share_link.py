"""The Share button, the URL that follows the set-up, and the reading of links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from olora_viz.learn.lessons import find
from olora_viz.races.config import RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.views import html as fragments
from olora_viz.web.guard.limits import Limits, OwnFiles, checked_config
from olora_viz.web.links import share
from olora_viz.web.race.lane_table import rows_of

READ = """
(...values) => {
  const query = window.location.search;
  const own = sessionStorage.getItem("olora-viz-link") === query;
  const kept = new URLSearchParams(query);
  if (kept.has("start")) {
    kept.delete("start"); // a reload does not begin the race once more
    const rest = query.replace(/([?&])start=[^&]*&?/g, "$1").replace(/[?&]$/, "");
    history.replaceState(history.state, "", window.location.pathname + rest + window.location.hash);
  }
  sessionStorage.setItem("olora-viz-link", window.location.search);
  values[values.length - 1] = { query, own };
  return values;
}
"""
"""The last input of the event `load` is what the address asks for, and whether it is new."""


def button(config: RaceConfig) -> gr.HTML:
    """Make the button, inside the top bar; its value is the query of the set-up.

    Parameters
    ----------
    config : the set-up that the page opens with.
    """
    return gr.HTML(
        value=share.query(config),
        elem_id="share",
        html_template='<button type="button" class="quiet" id="share-button">Share</button>'
        '<span class="unseen" role="status"></span>',
        js_on_load=(Path(__file__).parent / "share.js").read_text("utf-8"),
        apply_default_css=False,
    )


def note() -> gr.HTML:
    """Make the place where the page says what a link asked for in vain."""
    return gr.HTML("", elem_id="link-note", apply_default_css=False)


def follow(limits: Limits, setup: Sequence[Any], link: gr.HTML, files: OwnFiles) -> None:
    """Let the link say the set-up whenever it changes and is a possible one.

    Parameters
    ----------
    setup : the inputs model, task, steps, batch, seed, lanes, curvature_every.
    files : the visitors' own.
    """

    def written(*values: Any) -> Any:
        names = ("model", "task", "steps", "batch", "seed", "lanes", "curvature_every")
        said = dict(zip(names, values, strict=True))
        try:
            return share.query(checked_config(limits, **said, files=files))
        except ValueError:
            return gr.skip()

    gr.on(
        [its.change for its in setup], written, list(setup), link, queue=False,
        show_progress="hidden", api_visibility="private", trigger_mode="always_last",
    )  # fmt: skip


def asked(limits: Limits, address: Any) -> tuple[share.Link, bool, str]:
    """Return what an address asks for, whether this page wrote it itself, and the note about it.

    Parameters
    ----------
    address : what `READ` sends, or anything else.
    """
    said = address if isinstance(address, dict) else {}
    try:
        link = share.read(limits, said.get("query", ""))
    except ValueError as error:
        sentence = f"This link cannot be opened: {error}. The page shows its default set-up."
        return share.Link(), False, fragments.problem(sentence)
    words = "".join(fragments.remark(f"In the link: {words}") for words in link.notes)
    return link, said.get("own") is True, words


def lesson_race(link: share.Link, own: bool) -> str | None:
    """Return the id of the recorded race that a link's lesson opens with, None where it has none.

    A set-up of its own in the link wins, and so does a race of this page's own address.
    """
    lesson = find(link.lesson) if link.lesson else None
    if lesson is None or lesson.config is None or own or link.start:
        return None
    same = link.config is None or share.query(link.config) == share.query(lesson.config)
    return lesson.race if same else None


def possible(limits: Limits, config: RaceConfig) -> RaceConfig | None:
    """Return a set-up as this server may race it, None where it may not."""
    try:
        return share.read(limits, share.query(config)).config
    except ValueError:
        return None


def chosen(config: RaceConfig) -> tuple[Any, ...]:
    """Return the values of the set-up's inputs that show a set-up, in the order of `follow`.

    A file of a visitor's own is chosen by bringing it, so that the task stays as it is.
    """
    task = config.task if config.task in TASKS else gr.skip()
    return (
        config.model, task, config.steps, config.batch_size, config.seed,
        rows_of(config.lanes), config.curvature_every,
    )  # fmt: skip
