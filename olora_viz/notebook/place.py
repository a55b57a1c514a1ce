"""Where a panel was made: the cell, and which run of it."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.getipython import get_ipython


def place() -> tuple[Any, str]:
    """Return which cell is running, and which of its runs this is."""
    shell = get_ipython()
    if shell is None:
        return _in_marimo() or (object(), "")
    parent = getattr(shell, "get_parent", dict)() or {}  # a plain IPython has no messages
    cell = parent.get("metadata", {}).get("cellId")
    code = shell.user_ns.get("In", [""])[-1]
    return (("cell", cell) if cell else ("code", code)), str(shell.execution_count)


def _in_marimo() -> tuple[Any, str] | None:
    """Return marimo's cell and its run, from the frame in which the cell's code runs.

    marimo names the code of a cell after the cell, and each run of it has a frame of its own.
    """
    frame: Any = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if "__marimo__cell_" in name:
            return ("marimo", name), str(id(frame))
        frame = frame.f_back
    return None
