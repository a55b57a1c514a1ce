"""Options that events of all pages share, and of their answers."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of an event that shows no progress and is no part of an API."""

AT_ONCE: dict[str, Any] = {"queue": False, **PRIVATE}
"""The same of one that never waits behind others."""


def moved(value: Any, shown: Any) -> dict[str, Any]:
    """Return the update of a slider's value, if it is to show another one than it does.

    Else its value stays out of the answer: whoever sees the slider may have moved it meanwhile.

    >>> moved(8, shown=8), moved(64, shown=999)
    ({}, {'value': 64})
    """
    return {} if value == shown else {"value": value}
