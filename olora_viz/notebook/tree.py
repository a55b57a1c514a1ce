"""The tree of a panel's controls, and rows of lanes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import MAX_LANES, Lane, parse_lanes, write_lanes

COLUMNS = ("r", "alpha", "lr", "seed")


def rows_of(lanes: Sequence[Lane]) -> list[dict[str, Any]]:
    """Return a row for each lane; neighbours that differ only in their seed share one.

    >>> rows_of([Lane("olora", lr=3e-3, seed=s, clip=1.0) for s in range(3)])
    [{'init': 'olora', 'r': '8', 'alpha': '', 'lr': '3e-3', 'seed': '0-2', 'rest': 'clip=1'}]

    Raises:
        ValueError: a label has a comma.
    """
    return [_row(spec) for spec in write_lanes(lanes)]


def lanes_of(row: Any) -> list[Lane]:
    """Return the lanes of a row: one for each of its seeds and listed values.

    Raises:
        ValueError: a value breaks a rule; the message is one sentence.
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


def lanes_or_problems(rows: Any) -> list[list[Lane] | str]:
    """Return the lanes of every row, or the sentence on what is wrong with it."""
    results: list[list[Lane] | str] = []
    for row in rows if isinstance(rows, list) else ():
        try:
            results.append(lanes_of(row))
        except ValueError as error:
            results.append(str(error))
    return results


def _row(spec: str) -> dict[str, Any]:
    init, _, rest = spec.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(","))
    row = {"init": init, **{key: given.pop(key, "") for key in COLUMNS}}
    row["seed"] = row["seed"] or "0"
    return row | {"rest": ",".join(f"{key}={word}" for key, word in given.items())}


Node = dict[str, Any]


def box(*items: Node, kind: str = "") -> Node:
    """Return a group of parts; `kind` is its class in notebook.css."""
    return {"kind": "box", "class": kind, "items": list(items)}


def card(*items: Node, kind: str = "") -> Node:
    """Return a group with a border around it."""
    return box(*items, kind=f"card {kind}".strip())


def html(name: str, kind: str = "") -> Node:
    """Return a fragment of HTML."""
    return {"kind": "html", "name": name, "class": kind}


def code(name: str, label: str) -> Node:
    """Return code with a button that copies it."""
    return {"kind": "code", "name": name, "label": label}


def charts(name: str, kind: str = "") -> Node:
    """Return charts side by side."""
    return {"kind": "charts", "name": name, "class": kind}


def section(name: str, title: str, *items: Node) -> Node:
    """Return a part that the reader opens."""
    return {"kind": "section", "name": name, "title": title, "items": list(items)}


def button(name: str, label: str, title: str = "", kind: str = "") -> Node:
    """Return a button."""
    return {"kind": "button", "name": name, "label": label, "title": title, "class": kind}


def control(kind: str, name: str, label: str, title: str = "", **more: Any) -> Node:
    """Return a control: a field, a select, a range or checks."""
    return {"kind": kind, "name": name, "label": label, "title": title, **more}


def bar(*buttons: Node) -> Node:
    """Return the buttons of a panel, and beside them the line that says how far it is."""
    return box(*buttons, html("status", kind="grow"), kind="bar")


def named_options(names: Iterable[str]) -> list[list[str]]:
    """Return the options of a menu whose words are the values."""
    return [[name, name] for name in names]


def start_options(names: Iterable[str]) -> list[list[str]]:
    """Return initializations as options: label, name and meaning."""
    return [[label_of(name), name, INITIALIZERS[name].summary] for name in names]


def lanes(name: str) -> Node:
    """Return the table of lanes, with every initialization in one line."""
    return {
        "kind": "lanes", "name": name, "most": MAX_LANES,
        "blank": rows_of([Lane("olora")])[0],
        "starts": {init: label_of(init) for init in INITIALIZERS},
        "meanings": {init: entry.summary for init, entry in INITIALIZERS.items()},
    }  # fmt: skip
