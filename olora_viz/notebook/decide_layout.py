"""The parts of a decision's panel, in the order of the page."""

from __future__ import annotations

from olora_viz.notebook.tree import Node, box, button, card, charts, control, html

DECIDE, CONTINUE = "▶ Decide", "▶ Continue"
"""The first button: of a new decision, and of one that ended without an adapter."""


def tree_of() -> Node:
    """Return the bar, the recommendation, the choices on the left, and the results next to them."""
    bar = box(
        button("decide", DECIDE, kind="primary"),
        button("stop", "■ Stop", "end it, with the best answer so far"),
        html("status", kind="grow"), kind="bar",
    )  # fmt: skip
    side = box(
        card(
            control("field", "model", "Model", "a name, or the path of a folder"),
            control("field", "task", "Task", "a name, or the path of a task file"),
            control("range", "minutes", "Minutes"), control("range", "rank", "Rank"),
            control("field", "folder", "Folder", "new, or of an earlier decision"),
        ),
        card(control("checks", "starts", "Compared with plain LoRA")),
        card(html("plan")),
        kind="side",
    )  # fmt: skip
    middle = box(
        card(charts("rates")), card(charts("differences")), card(html("table")),
        card(html("answers")), kind="middle",
    )  # fmt: skip
    return box(bar, card(html("headline"), html("taken")), box(side, middle, kind="body"))
