"""What runs at night and before a release alone."""

from typing import Any

import pytest


def at_night(*values: Any) -> list[Any]:
    """Return the parameters of a law of which other members run every day; a tuple is of several arguments."""
    each = (value if isinstance(value, tuple) else (value,) for value in values)
    return [pytest.param(*its, marks=pytest.mark.nightly) for its in each]
