"""What runs at night and before a release alone."""

from typing import Any

import pytest


def at_night(*values: Any) -> list[Any]:
    """Return the parameters of a law of which other members run every day."""
    return [pytest.param(value, marks=pytest.mark.nightly) for value in values]
