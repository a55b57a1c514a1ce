"""Runs laid over each other: each in a line, and what differs in their set-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from olora_viz.machine.numbers import nats
from olora_viz.races.config import RaceConfig
from olora_viz.races.setups import differing
from olora_viz.studies.standings import standings
from olora_viz.views.html import remark, table
from olora_viz.views.race_record import RaceRecord

OVERLAID = 6
"""Maximum number of runs in one chart: the number of dash styles."""


def run_words(run: RaceRecord) -> str:
    """Return a run in a line: its state, its steps, and the range of its held-out losses."""
    rows = standings(list(run.steps), len(run.styles))
    losses = [row.loss for row in rows if math.isfinite(row.loss)]
    ends = dict.fromkeys(nats(end(losses)) for end in (min, max)) if losses else ()
    loss = f"held-out loss {' to '.join(ends)}" if losses else ""
    return " · ".join(part for part in (run.state, f"{len(run.steps)} steps", loss) if part)


def differences(setups: Sequence[tuple[str, RaceConfig]]) -> Markup:
    """Return a table of what differs in the set-ups of runs, which have names."""
    rows = differing([config for _, config in setups])
    if not rows:
        return remark("Their set-ups are the same.")
    return Markup(
        '<h2>What differs <span class="hint">in their set-ups; + marks lanes of one run only'
        "</span></h2>"
    ) + table(
        ("", *(name for name, _ in setups)),
        [(name, *(value or "–" for value in values)) for name, values in rows],
        kind="standing differences",
        scrolls=True,
    )
