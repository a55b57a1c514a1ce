"""Where a panel was made: the cell, and which run of it."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.getipython import get_ipython


def place() -> tuple[Any, Any]:
    """Return which cell is running, and which of its runs this is."""
    return _in_marimo() or _in_ipython() or (object(), "")


def _in_ipython() -> tuple[Any, str] | None:
    shell = get_ipython()
    if shell is None:
        return None
    parent = getattr(shell, "get_parent", dict)() or {}  # a plain IPython has no messages
    cell = parent.get("metadata", {}).get("cellId")
    code = shell.user_ns.get("In", [""])[-1]
    return (("cell", cell) if cell else ("code", code)), str(shell.execution_count)


def _in_marimo() -> tuple[Any, Any] | None:
    """Return marimo's cell, after which it names the code of the cell, and its run."""
    frame = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if "__marimo__cell_" in name:
            run = getattr(sys.modules.get("marimo._messaging.context"), "RUN_ID_CTX", None)
            return ("marimo", name), (run and run.get(None)) or frame
        frame = frame.f_back
    return None
