"""The marks in the table of lanes, and what is wrong with its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane

Mark = dict[str, str]
"""``{"init", "dash", "wrong"}``: colour and dash of a row's mark, and its error, empty if valid."""


def lane_marks(rows: Sequence[Sequence[Lane] | str]) -> list[Mark]:
    """Return the mark of every row.

    Parameters
    ----------
    rows : the lanes that each row makes, or the sentence on what is wrong with it.

    >>> [mark["init"] for mark in lane_marks([[Lane("olora")], "no rank"])]
    ['olora', 'mute']
    """
    good = [its for its in rows if not isinstance(its, str)]
    repeated = any(len(its) > 1 for its in good)  # then the charts show a curve for all seeds
    firsts = [replace(its[0], seed=0) if repeated else its[0] for its in good]
    styles = iter(lane_styles(firsts))
    found = []
    for row in rows:
        style = None if isinstance(row, str) else next(styles)
        init, dash = (style.init, style.dash) if style else ("mute", "unknown")
        found.append({"init": init, "dash": dash, "wrong": row if isinstance(row, str) else ""})
    return found
