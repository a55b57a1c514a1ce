"""An output of a notebook's cell that is replaced while the cell runs."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Mapping

Bundle = Mapping[str, object]
"""One content in several forms, by MIME type."""

EVERY = 0.25
"""Least seconds between two updates."""

SHARE = 0.2
"""The largest share of the time that updates take."""


def is_notebook() -> bool:
    """Whether a kernel runs this, so that outputs can be replaced."""
    shell = sys.modules.get("IPython.core.getipython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


class LiveOutput:
    """An output below the cell; made where `is_notebook`."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(8)
        self._is_there, self._next = False, 0.0

    def show(self, make: Callable[[], Bundle], *, at_once: bool = False) -> None:
        """Show a content in place of the one before, unless that is too recent.

        Parameters
        ----------
        make : returns the content; called only if it is shown.
        at_once : show it in any case.
        """
        began = time.monotonic()
        if at_once or began >= self._next:
            self._publish(make())
            now = time.monotonic()
            self._next = now + max(EVERY, (now - began) / SHARE)

    def clear(self) -> None:
        """Leave nothing below the cell."""
        if self._is_there:
            self._publish({"text/plain": ""})

    def _publish(self, bundle: Bundle) -> None:
        from IPython.display import publish_display_data

        where = {"display_id": self._id}
        publish_display_data(dict(bundle), transient=where, update=self._is_there)
        self._is_there = True
