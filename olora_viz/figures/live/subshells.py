"""Widgets that hear their reader while a cell runs, where the kernel has subshells."""

from __future__ import annotations

from typing import Any


def heard_while_a_cell_runs(widget: Any) -> None:
    """Handle a widget's messages in the subshell to which the front end sends them.

    ipykernel 7.4 moves them to the shell that used the widget last. For a widget made in a cell
    that is the main shell, where a click would wait for the end of the running cell. Kernels
    without this rule, and those without subshells, are left as they are.

    Parameters
    ----------
    widget : an ipywidgets.Widget whose handlers may run in any thread.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = _as_sent


def _as_sent(_: Any, subshell: str | None) -> str | None:
    """Return the subshell that the front end named; None for the main shell."""
    return subshell
