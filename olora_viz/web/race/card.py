"""A card of the Race page: what it needs of a race, when it has news, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from olora_viz.views.race import RaceView
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs

SHOWN = ["card"]
"""Classes of a card that is seen."""

AWAY = ["card", "away"]
"""Classes of a card that is not. Its charts stay: taken off the page they could not draw."""

QUIET: dict[str, Any] = {
    "queue": False, "show_progress": "hidden", "api_visibility": "private",
    "trigger_mode": "always_last",
}  # fmt: skip
"""How a card's own events are called."""


@dataclass
class Desk:
    """What the cards of one page are built with."""

    limits: Limits
    jobs: Jobs
    run: gr.HTML
    """The id of the run that the page shows, an input of every event."""
    again: gr.HTML
    """To be set to `pulse.again()` by what lets the page show something else."""
    blank: RaceView
    """Of the race that the page opens with, before it has begun."""
    parts: dict[str, Any] = field(default_factory=dict)
    """Components that one card makes and another one fills, by name."""


@dataclass(frozen=True)
class Card:
    """One card; a list of them is the page, see `cards.CARDS`."""

    name: str
    """What ``hide=`` calls it."""
    needs: tuple[str, ...]
    """Fields of a `RaceView`, or keys of its ``news``: when one has changed, the card has news."""
    build: Callable[[Desk], Sequence[Any]]
    """Lays it out, inside the card, and returns the components that `draw` fills."""
    draw: Callable[[RaceView], Sequence[Any]]
    """Returns their values. Of what is drawn by choices of the reader's that only the page knows,
    the value is a text, whose change is the card's own event, see `change`."""
    column: str = "middle"
    """middle, right or after."""
    half: bool = False
    """Whether it shares its row with the next one, or with the one before it."""
    frame: bool = True
    """Whether its column is made for it; otherwise `build` does."""
    slim: bool = False
    elem_id: str = ""
    """Of the card."""

    @property
    def id(self) -> str:
        """The id of its element."""
        return self.elem_id or f"{self.name}-card"

    def news(self, view: RaceView, cursor: Mapping[str, Any]) -> bool:
        """Whether there is something to draw that a page has not been shown yet.

        Parameters
        ----------
        cursor : `Board.facts` of what it was shown last; empty at first.
        """
        return any(need not in cursor or fact(view, need) != cursor[need] for need in self.needs)


def fact(view: RaceView, need: str) -> Any:
    """Return a field of a view, or one of its news."""
    return view.news[need] if need in view.news else getattr(view, need)


def change(view: RaceView, need: str) -> str:
    """Return what changes when there is more to draw of one of a view's news; "" is nothing."""
    return f"{view.id} {fact(view, need)}" if fact(view, need) else ""
