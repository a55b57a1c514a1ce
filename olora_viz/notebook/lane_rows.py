"""Lanes as rows of the table in a panel; what has no column stays with its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_lists import write_lanes
from olora_viz.lanes.lane_text import parse_lanes

COLUMNS = ("r", "alpha", "lr", "seed")


def rows_of(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    """Return a row for each lane; neighbours that differ only in their seed share one.

    >>> rows_of([Lane("olora", lr=3e-3, seed=s, clip=1.0) for s in range(3)])
    [{'init': 'olora', 'r': '8', 'alpha': '', 'lr': '3e-3', 'seed': '0-2', 'rest': 'clip=1'}]

    Raises
    ------
    ValueError : a label has a comma.
    """
    return [_row(spec) for spec in write_lanes(lanes)]


def lanes_of(row: Any) -> list[Lane]:
    """Return the lanes of a row: one for each of its seeds and listed values.

    Raises
    ------
    ValueError : a value breaks a rule; the message is one sentence.
    """
    if not isinstance(row, dict):
        raise ValueError("a lane is a row with init, r, alpha, lr and seed")
    cells = {key: str(row.get(key, "")).strip() for key in ("init", *COLUMNS, "rest")}
    wanted = {key: cells[key] for key in COLUMNS if cells[key] or key in ("r", "lr")}
    parts = [f"{key}={word}" for key, word in wanted.items()]
    return parse_lanes(f"{cells['init']}:{','.join([*parts, *filter(None, [cells['rest']])])}")


def lanes_of_all(rows: Any) -> tuple[Lane, ...]:
    """Return the lanes of a table, see `lanes_of`."""
    return tuple(lane for row in rows for lane in lanes_of(row))


def understood(rows: Any) -> list[list[Lane] | str]:
    """Return the lanes of every row, or the sentence on what is wrong with it."""
    return [_understood(row) for row in rows] if isinstance(rows, list) else []


def _understood(row: Any) -> list[Lane] | str:
    try:
        return lanes_of(row)
    except ValueError as error:
        return str(error)


def _row(spec: str) -> dict[str, Any]:
    init, _, rest = spec.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(","))
    row = {"init": init, **{key: given.pop(key, "") for key in COLUMNS}}
    row["seed"] = row["seed"] or "0"
    return row | {"rest": ",".join(f"{key}={word}" for key, word in given.items())}
