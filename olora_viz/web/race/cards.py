"""Cards that are not always there.

A chart that is taken off the page and put back would have lost what it needs to draw: so a card is
hidden by its class, and its charts stay.
"""

from __future__ import annotations

SHOWN = ["card"]
"""Classes of a card that is seen."""

AWAY = ["card", "away"]
"""Classes of a card that is not."""
