"""What every open page shows: one race at a time, whole or up to a step."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

MOST = 5000
"""Pages that are remembered; the one that did nothing for longest is forgotten first."""

_turns = itertools.count(1)


@runtime_checkable
class Visitor(Protocol):
    """What is read of a request: Gradio's name of the page that it came from."""

    session_hash: str | None


@dataclass
class Screen:
    """What one open page shows."""

    name: str | None = None
    """Of the race; None where it shows a set-up alone."""
    upto: int | None = None
    """The step that its reader went back to; None follows the race."""
    turn: int = 0
    """Changes whenever the page is to show something else: what follows an older one ends."""

    def show(self, name: str | None) -> int:
        """Show a race from now on, or none; return the new turn."""
        self.name, self.upto, self.turn = name, None, next(_turns)
        return self.turn


class Screens:
    """The open pages of this server, by Gradio's session."""

    def __init__(self) -> None:
        self._screens: OrderedDict[str, Screen] = OrderedDict()

    def of(self, request: Visitor) -> Screen:
        """Find the screen that an event came from."""
        session = request.session_hash or ""
        screen = self._screens.setdefault(session, Screen())
        self._screens.move_to_end(session)
        while len(self._screens) > MOST:
            self._screens.popitem(last=False)
        return screen

    def close(self, request: Visitor) -> None:
        """Forget a page that was closed, and end what follows for it."""
        screen = self._screens.pop(request.session_hash or "", None)
        if screen is not None:
            screen.show(None)
