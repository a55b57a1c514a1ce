"""The parts of a panel as plain values, from which its front end makes elements.

A part with a name shows the value of that name in the panel's `Feed`: HTML for `html`, a list of
charts for `charts`, a dict with ``value`` and so on for a control, see ``State`` in types.d.ts.
"""

from __future__ import annotations

from typing import Any

from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.notebook.lane_rows import rows_of

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


def lanes(name: str) -> Node:
    """Return the table of lanes, with every initialization in one line."""
    return {
        "kind": "lanes", "name": name, "most": MAX_LANES,
        "blank": rows_of([Lane("olora")])[0],
        "starts": {init: label_of(init) for init in INITIALIZERS},
        "meanings": {init: one.summary for init, one in INITIALIZERS.items()},
    }  # fmt: skip
