"""Panels of a notebook, used as a cell does, and as their front end does."""

from typing import Any

from support.races import PAIR, small

LANES = PAIR
CONFIG = small(LANES, steps=6, batch_size=2, eval_every=3)
LONG = small(LANES, steps=100_000, batch_size=2)


def send(panel, **message: Any) -> None:
    """Send a message of a front end."""
    panel._heard(panel, message, [])


def press(panel, word: str) -> None:
    """Press a button of a panel."""
    send(panel, press=word)


def choose(panel, name: str, value: Any) -> None:
    """Choose a value in a control."""
    send(panel, set=[name, value])


def shown(panel, name: str) -> Any:
    """Return what a part of a panel shows."""
    return panel._feed.values[name]


def figure(panel, name: str) -> Any:
    """Return a chart of a panel."""
    return panel._feed.figures[name]


def text(panel) -> str:
    """Return the line beside its buttons."""
    return shown(panel, "status")
