"""A race's set-up as a link, and back: pure functions; `share_link` puts them on the page.

A link's query is ``model=…&task=…&steps=…&batch=…&seed=…&lane=SPEC&lane=SPEC…``, where a SPEC is
the command line's, ``olora:lr=3e-3,r=8``; what is left out has the value that it always had. A link
may also contain ``start=1``, which starts the race after a countdown, ``hide=setup,lanes``, names
of `PARTS` to hide, ``class=1`` for class mode, ``curvature=20``, the steps between curvature
measurements, and `SETTINGS` such as ``schedule=cosine``. Everything is checked as strictly as input
to the page.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from olora_viz.learn.lessons import NAMES
from olora_viz.machine.naming import unknown
from olora_viz.races.settings import SETTINGS
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race import presets
from olora_viz.web.race.cards import CARDS
from olora_viz.web.setup import SetUp

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
    **{f"preset-{preset.name}": f".preset-{preset.name}" for preset in presets.PRESETS},
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

    Raises
    ------
    ValueError
        A value breaks a rule of the page; the message is one sentence.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"a link must be a text of at most {LONGEST} characters")
    pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True)
    said: dict[str, str] = {}
    notes = []
    for key, value in pairs:
        if key == "lane":
            continue
        if key in said:
            raise ValueError(f"{key} occurs twice in the link")
        elif key in ONCE:
            said[key] = value
        elif not key.startswith("__"):  # Gradio's own, such as __theme
            notes.append(unknown("link parameter", key[:40], ("lane", *ONCE)))
    hidden = [name.strip() for name in said.get("hide", "").split(",")]
    notes += [
        unknown("part to hide", name[:40], PARTS) for name in hidden if name and name not in PARTS
    ]
    lesson = said.get("lesson")
    if lesson and lesson not in NAMES:
        notes.append(unknown("lesson", lesson[:40], NAMES))
        lesson = None
    for switch in ("start", "class"):
        if said.get(switch, "0") not in ("0", "1"):
            raise ValueError(f"{switch} must be 0 or 1, not {said[switch][:40]!r}")
    setup = SetUp.from_query(limits, text)
    if setup is None and "start" in said:
        setup = SetUp.first(limits)
        setup.to_config(limits)
    return Link(setup, said.get("start") == "1", tuple(notes[:MOST_NOTES]), lesson or None)


def hiding_css() -> str:
    """Return the rules by which the names in ``<html data-hide="…">`` hide their parts."""
    return "\n".join(
        f'[data-hide~="{name}"] :is({selector}) {{ display: none !important; }}'
        for name, selector in PARTS.items()
    )
