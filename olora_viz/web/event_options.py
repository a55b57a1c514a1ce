"""Options that events of all pages share."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of an event that shows no progress and is no part of an API."""

AT_ONCE: dict[str, Any] = {"queue": False, **PRIVATE}
"""The same of one that never waits behind others."""
