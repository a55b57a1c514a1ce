"""A card of the Race page: its inputs, when it has news, and its outputs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from olora_viz.views.race import RaceView
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs

SHOWN = ["card"]
"""CSS classes of a visible card."""

AWAY = ["card", "away"]
"""CSS classes of a hidden card. Its charts stay in the page: they cannot draw outside of it."""

QUIET: dict[str, Any] = {
    "queue": False, "show_progress": "hidden", "api_visibility": "private",
    "trigger_mode": "always_last",
}  # fmt: skip
"""Options of a card's own events."""


@dataclass
class Desk:
    """The context in which the cards of a page are built."""

    limits: Limits
    jobs: Jobs
    run: gr.HTML
    """The id of the run that the page shows, an input of every event."""
    again: gr.HTML
    """Events that change what the page shows set it to `again()`."""
    blank: RaceView
    """The view of the race that the page opens with, before it has started."""
    parts: dict[str, Any] = field(default_factory=dict)
    """Components that one card creates and another one fills, by name."""


@dataclass(frozen=True)
class Card:
    """One card; a list of them is the page, see `cards.CARDS`."""

    name: str
    """Its name in ``hide=``."""
    needs: tuple[str, ...]
    """Fields of a `RaceView`, or keys of its ``news``; a change of any of them is news."""
    build: Callable[[Desk], Sequence[Any]]
    """Builds the content of the card; returns the components that `draw` fills."""
    draw: Callable[[RaceView], Sequence[Any]] | None = None
    """Returns their values. ``None``: drawing depends on choices that only the page knows; the
    value is a text of what the card needs, and its change triggers the card's own event."""
    only_with: str = ""
    """A key of the view's ``news``: while that is 0, the card is hidden and not drawn."""
    column: str = "middle"
    """middle, right or after."""
    half: bool = False
    """Whether it shares its row with the next or the previous card."""
    frame: bool = True
    """Whether its column is made around what `build` makes."""
    slim: bool = False
    """Whether it has less padding."""
    elem_id: str = ""
    """The id of its element; by default it is made of the name."""

    @property
    def id(self) -> str:
        """The id of its element."""
        return self.elem_id or f"{self.name}-card"

    def drawn(self, view: RaceView) -> Sequence[Any]:
        """Return the values of its components."""
        if self.draw is not None:
            return self.draw(view)
        return [" ".join(str(fact(view, need)) for need in self.needs)]

    def news(self, view: RaceView, cursor: Mapping[str, Any]) -> bool:
        """Whether there is something new to draw for a page.

        Parameters
        ----------
        cursor : `Board.facts` of the last update; empty at first.
        """
        return any(need not in cursor or fact(view, need) != cursor[need] for need in self.needs)


def fact(view: RaceView, need: str) -> Any:
    """Return a field of a view, or one of its news."""
    return view.news[need] if need in view.news else getattr(view, need)


def again() -> dict[str, str]:
    """Return the value that makes a page follow its run from the start."""
    return {"again": secrets.token_hex(4)}
