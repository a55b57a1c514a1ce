"""The line of a race whose steps an equal one computes: when, how fast they are shown, and how to compute it anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from olora_viz.background.record import AT_ONCE, SPEEDS
from olora_viz.views.race import RaceView
from olora_viz.web.parts.card import Card, Desk, element

COPIED_TITLE = "The same set-up gives the same steps, bit for bit: this server computes them once for all who race it."

SPEED_WORDS = {AT_ONCE: "all at once"}


def build(desk: Desk) -> Sequence[Any]:
    """Make the line; a press in it triggers ``select`` with a speed, or ``anew``."""
    speeds = Markup("").join(
        Markup('<button type="button" class="quiet" data-speed="{}" aria-pressed="false">{}</button>').format(
            "all" if speed == AT_ONCE else f"{speed:g}", SPEED_WORDS.get(speed, f"×{speed:g}")
        )
        for speed in SPEEDS
    )
    desk.parts["copied"] = element(
        value={},
        elem_id="copied",
        html_template=Markup(
            '<div class="copied"><p class="hint" title="{}"></p><span class="speeds" role="group" aria-label="Speed">'
            '{}</span><button type="button" class="quiet" data-anew>Race anew</button></div>'
        ).format(COPIED_TITLE, speeds),
        script="race/copied.js",
    )
    return [desk.parts["copied"]]


def draw(view: RaceView) -> list[Any]:
    """Say whose steps they are."""
    copied = view.copied
    if copied is None:
        return [{}]
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(copied.began))
    before = "The same race, being computed since " if copied.live else "The same race, computed at "
    after = ": you follow it live." if copied.live else "."
    speed = "all" if copied.speed == AT_ONCE else f"{copied.speed:g}"
    return [{"before": before, "when": when, "after": after, "speed": speed, "behind": copied.behind}]


def asked_speed(value: Any) -> float | None:
    """Return the speed that the line asks for; None for anything else.

    >>> asked_speed("4"), asked_speed("all"), asked_speed("anew")
    (4.0, inf, None)
    """
    return next((speed for speed in SPEEDS if value in (f"{speed:g}", "all" * (speed == AT_ONCE))), None)


CARD = Card("copied", ("copied",), build, draw, only_with="copied", column="top")
