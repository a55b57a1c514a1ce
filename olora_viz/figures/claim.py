"""The figure of one claim: what was measured, with its intervals. A pure function, see `layout`."""

from __future__ import annotations

import math
from typing import Any

from olora_viz.figures.layout import Figure, axis, layout
from olora_viz.figures.study_verdicts import room_for, whiskers
from olora_viz.machine.numbers import number
from olora_viz.studies.claims.claim import FAILS, HOLDS, Claim, Finding

LINE = 28
"""Height of a bar in pixels."""

COLORS = {HOLDS: "@ok", FAILS: "@bad"}
"""The colours of verdicts; those of the others are plain."""


def claim_figure(claim: Claim, finding: Finding) -> Figure:
    """Draw the numbers on which a verdict rests, each with its 95% interval if it has one.

    Parameters
    ----------
    finding : with at least one bar.
    """
    color = COLORS.get(finding.verdict, "@mute")
    data: list[dict[str, Any]] = []
    ends = [0.0]
    for y, bar in enumerate(reversed(finding.bars)):
        dot = {"color": color, "size": 10}
        data.append(
            {"type": "scatter", "mode": "lines", "x": [0, bar.value], "y": [y, y],
             "line": {"color": "@line", "width": 8}, "hoverinfo": "skip", "name": bar.label}
        )  # fmt: skip
        if bar.low is not None and bar.high is not None and math.isfinite(bar.high - bar.low):
            data.append(whiskers(bar.low, bar.high, y, color) | {"name": bar.label})
            ends += [bar.low, bar.high]
        data.append(
            {"type": "scatter", "mode": "markers+text", "x": [bar.value], "y": [y],
             "text": [number(bar.value)], "textposition": "top center", "marker": dot,
             "hovertemplate": "%{x}<extra></extra>", "name": bar.label}
        )  # fmt: skip
        ends.append(bar.value)
    low, high = min(ends), max(ends)
    space = 0.08 * (high - low or 1.0)
    labels = [bar.label for bar in reversed(finding.bars)]
    whiskers_are = f"; {finding.interval_words}" if finding.interval_words else ""
    x = axis(finding.unit, range=[low - space, high + space], zeroline=True)
    y = axis(
        "", range=[-0.7, len(labels) - 0.2], tickvals=list(range(len(labels))), ticktext=labels,
        showgrid=False,
    )  # fmt: skip
    made = layout(
        f"{finding.verdict.capitalize()}: {claim.sentence}", f"claim {claim.number}{whiskers_are}",
        x=x, y=y, height=max(80, LINE * (len(labels) + 1)), revision=claim.name,
    )  # fmt: skip
    made["hovermode"] = "closest"
    made["margin"] |= {"l": room_for(labels)}
    return {"data": data, "layout": made}
