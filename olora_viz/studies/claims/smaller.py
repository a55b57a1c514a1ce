"""Claim: the gain is larger for lower ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from olora_viz.studies.claims.claim import (
    OF_WORSE,
    OLORA_PAPER,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    level_within,
    not_measured,
    on_study,
    ours,
    over_of,
    rise,
    together,
)
from olora_viz.studies.claims.evidence import OURS, REFERENCE
from olora_viz.studies.difference import Difference, between
from olora_viz.studies.statistics import Interval, verdict
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Compare the gain at the lowest rank with that at the highest, for each model and task."""
    pairs = list(_pairs(ours(verdicts)))
    if not pairs:
        return not_measured("the study has one rank, or too few finished seeds: give it several")
    margins = [max(low.margin, high.margin) for low, high in pairs]
    compared = [more_at_the_lower(verdicts, low.cell, high.cell) for low, high in pairs]
    parts = [
        OF_WORSE[verdict(each.interval, each.interval.p_value, margin, each.seeds)]
        for each, margin in zip(compared, margins, strict=True)
    ]
    more, over, (low, high) = compared[0].interval, over_of([compared[0].gap]), pairs[0]
    gains = [
        Interval(-each.mean, -each.high, -each.low, each.p_value)
        for each in (cell.difference.interval for cell in (low, high))
    ]
    return Finding(
        verdict=together(parts),
        words=(
            f"OLoRA's gain in test loss over LoRA, each at its best rate, is {gains[0].mean:+.3g} nats at rank "
            f"{low.cell.r} and {gains[1].mean:+.3g} at rank {high.cell.r}: a difference of {more.mean:+.3g} "
            f"({ends(more, over)}), on {low.cell.model}, {low.cell.task}. That it is larger at the lower rank: "
            f"{counted(parts, 'pair')}.{level_within(verdicts.study, parts, margins)}"
        ),
        numbers={"pairs": len(pairs), "more_at_the_lower_rank": more},
        seeds=low.seeds,
        bars=tuple(Bar.of(f"r {cell.cell.r}", gain) for cell, gain in zip((low, high), gains, strict=True)),
        unit="gain in test loss over LoRA, nats",
        over=over,
    )


def more_at_the_lower(verdicts: Verdicts, low: Cell, high: Cell) -> Difference:
    """Return by how much OLoRA gains more at the lower rank: by how much its test loss rises more to the higher."""
    rises = {}
    for init in verdicts.study.compare:
        at_low, at_high = (verdicts.runs[cell, init].at_best for cell in (low, high))
        if at_low and at_high:
            rises[init] = rise(at_low.test, at_high.test)
    return between(rises[OURS], rises[REFERENCE], list(rises.values()))


def _pairs(cells: Sequence[Verdict]) -> Iterator[tuple[Verdict, Verdict]]:
    """Yield the cells of the lowest and the highest rank of each model and task."""
    for _, of_task in groupby(cells, key=lambda each: (each.cell.model, each.cell.task)):
        by_rank = sorted(of_task, key=lambda each: each.rank)
        low, high = by_rank[0], by_rank[-1]
        if low.rank < high.rank and low.seeds == high.seeds > 0:
            yield low, high


CLAIM = Claim(
    number=6,
    name="smaller",
    sentence="The gain over LoRA is larger at lower ranks.",
    source=f"{OLORA_PAPER}, its experiments over ranks",
    measured=(
        "The gain in test loss at the lowest rank of a study minus that at the highest, each "
        "method at its best rate, paired by seed and example."
    ),
    judge=on_study(judge),
)
