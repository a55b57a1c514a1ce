"""A race's set-up as a link, and back: pure functions; `share_link` puts them on the page.

A link's query is ``model=…&task=…&steps=…&batch=…&seed=…&lane=SPEC&lane=SPEC…``, where a SPEC is
the command line's, ``olora:lr=3e-3,r=8``; what is left out stays as the page has it. Beside the
set-up it may say ``start=1``, which begins the race at once, ``hide=setup,lanes``, names of `PARTS`
to hide, and ``curvature=20``, the steps between curvature measurements. All
of it is checked as strictly as what is typed into the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from olora_viz.lanes.lane import Lane, parse_lanes, write_lane
from olora_viz.learn.lessons import NAMES
from olora_viz.machine.naming import unknown
from olora_viz.races.config import DEFAULT_LANES, RaceConfig
from olora_viz.tasks import TASKS
from olora_viz.web.guard.limits import Limits, checked_config

PARTS = {
    "setup": ".card:has(#setup-model)",
    "model": "#setup-model",
    "task": "#setup-task, #setup-sample, #setup-file",
    "steps": "#setup-steps",
    "batch": "#setup-batch",
    "seed": "#setup-seed",
    "lanes": ".card:has(#lanes)",
    "norms": ".card:has(> #gradient-figure)",
    "accuracy": ".card:has(> #accuracy-figure)",
    "story": ".card:has(> #story)",
    "standing": ".card:has(> #results)",
    "take": ".card:has(> #take)",
    "answers": ".card:has(> #answers)",
    "spectra": "#run-spectra",
    "gradients": "#run-gradients",
    "navigation": "#navigation",
    "share": "#share",
    "help": "#help-part",
}
"""What ``hide=`` takes, and the selector of it."""

LONGEST = 8192
"""The longest query, in characters: 64 lanes fit."""

ONCE = ("model", "task", "steps", "batch", "seed", "curvature", "start", "hide", "lesson")
"""Names that a query holds once at most; ``lane`` it may hold often."""

MOST_NOTES = 3
"""More names that mean nothing are not spoken of."""

OF_A_LANE = ("init", "lr", "r", "alpha", "seed")
"""Fields of a lane that the page's table has."""


class Link(NamedTuple):
    """What a link asks for."""

    config: RaceConfig | None = None
    """The set-up; ``None`` where it says nothing of one."""
    start: bool = False
    notes: tuple[str, ...] = ()
    """A few words for each name in it that means nothing here."""
    lesson: str | None = None
    """Name of the lesson that it opens."""


def query(config: RaceConfig) -> str:
    """Write a set-up of the page as a link's query.

    A visitor's own file is in no link: whoever opens it has the page's own task.

    >>> query(RaceConfig(lanes=(Lane("olora", lr=3e-3),), steps=50))
    'model=glassllm&task=number-words&steps=50&batch=16&seed=0&lane=olora:lr=3e-3,r=8'
    """
    pairs = [
        ("model", config.model),
        *([("task", config.task)] if config.task in TASKS else []),
        ("steps", str(config.steps)),
        ("batch", str(config.batch_size)),
        ("seed", str(config.seed)),
        *(("lane", write_lane(lane)) for lane in config.lanes),
    ]
    if config.curvature_every:
        pairs.append(("curvature", str(config.curvature_every)))
    return urlencode(pairs, safe=":,=", quote_via=quote)


def read(limits: Limits, text: Any) -> Link:
    """Read a link's query, with or without its question mark.

    Raises
    ------
    ValueError
        In one sentence, where a value breaks a rule of the page.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"a link must be a text of at most {LONGEST} characters")
    pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True)
    said: dict[str, str] = {}
    specs, notes = [], []
    for key, value in pairs:
        if key == "lane":
            specs.append(value)
        elif key in said:
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
    if not specs and not said.keys() - {"hide", "lesson"}:
        return Link(notes=tuple(notes[:MOST_NOTES]), lesson=lesson)
    if said.get("start", "0") not in ("0", "1"):
        raise ValueError(f"start must be 0 or 1, not {said['start'][:40]!r}")
    lanes = _lanes(limits, specs) if specs else DEFAULT_LANES
    config = _config(limits, said, lanes)
    return Link(config, said.get("start") == "1", tuple(notes[:MOST_NOTES]), lesson or None)


def hiding_css() -> str:
    """Return the rules by which the names in ``<html data-hide="…">`` hide their parts."""
    return "\n".join(
        f'[data-hide~="{name}"] :is({selector}) {{ display: none !important; }}'
        for name, selector in PARTS.items()
    )


def _lanes(limits: Limits, specs: Sequence[str]) -> list[Lane]:
    found: list[Lane] = []
    for spec in specs:
        found += parse_lanes(spec)
        if len(found) > limits.max_lanes:
            raise ValueError(f"a race takes 1 to {limits.max_lanes} lanes, not {len(found)}")
    for lane in found:
        plain = Lane(**{key: getattr(lane, key) for key in OF_A_LANE})
        if lane != plain:
            keys = ", ".join(OF_A_LANE[1:])
            raise ValueError(f"a lane of a link has {keys} alone, unlike {write_lane(lane)!r}")
    return found


def _config(limits: Limits, said: dict[str, str], lanes: Sequence[Lane]) -> RaceConfig:
    plain = RaceConfig()
    return checked_config(
        limits,
        model=said.get("model", limits.models[0]),
        task=said.get("task", plain.task),
        steps=said.get("steps", min(plain.steps, limits.max_steps)),
        batch=said.get("batch", min(plain.batch_size, limits.max_batch)),
        seed=said.get("seed", plain.seed),
        curvature_every=said.get("curvature", 0),
        lanes=[{key: getattr(lane, key) for key in OF_A_LANE} for lane in lanes],
    )
