"""What the checks of a machine found, as rows of a table and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from olora_viz.machine.tables import table
from olora_viz.machine.wording import about, and_, counted

STATES = {True: "holds", False: "FALLS SHORT", None: "–"}
"""What a line says of what must hold; a dash where nothing has to, or could not be tried."""


def line_rows(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the table of a terminal, with what must hold below what falls short of it.

    >>> line_rows([{"name": "step 0", "must": "be the base", "holds": True, "words": "bit for bit"}])
    [['check', '', 'found'], ['step 0', 'holds', 'bit for bit']]
    """
    rows = [["check", "", "found"]]
    for line in lines:
        rows.append([line["name"], STATES[line["holds"]], line["words"]])
        if line["holds"] is False:
            rows.append(["", "", f"but must: {line['must']}"])
    return rows


def ended(summary: Mapping[str, Any]) -> str:
    """Return the sentence below the table.

    >>> ended({"holds": 2, "falls_short": ["waits"], "device": "CPU", "seconds": 70.0})
    'on CPU 2 checks hold, and waits falls short, after 70 s'
    """
    short = summary["falls_short"]
    rest = f"{and_(short)} fall{'s' * (len(short) == 1)} short" if short else "none falls short"
    hold = f"{counted(summary['holds'], 'check')} hold{'s' * (summary['holds'] == 1)}"
    return f"on {summary['device']} {hold}, and {rest}, after {about(summary['seconds'])}"


HOW = "python -m olora_viz check"


def checked_html(result: Mapping[str, Any] | None) -> Markup:
    """Return the latest result for the page, see `olora_viz.checks.run.latest`, or how to get one."""
    how = Markup("<code>{}</code>").format(HOW)
    if result is None:
        return Markup("<p>This machine has not been checked yet: {} does so in two minutes.</p>").format(how)
    when = result["when"].replace("T", ", ").replace("+00:00", " UTC")
    packages = and_([f"{name} {result['versions'][name]}" for name in ("olora_viz", "torch")])
    latest = Markup("<p>{}, with {}: {}. {} checks again.</p>").format(when, packages, ended(result), how)
    found = Markup('{}<br><span class="hint">{}</span>')
    lines = [
        (line["name"], STATES[line["holds"]], found.format(line["words"], line["must"])) for line in result["lines"]
    ]
    return latest + table(("check", "", "what was found, and what must hold"), lines)
