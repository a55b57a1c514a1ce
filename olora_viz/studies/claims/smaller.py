"""Claim: the gain is larger for lower ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from olora_viz.studies.claims.claim import (
    OLORA,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    judged,
    level_within,
    not_measured,
    on_study,
    ours,
    over_of,
    together,
)
from olora_viz.studies.difference import interval_of
from olora_viz.studies.verdicts import Verdict, Verdicts


def judge(verdicts: Verdicts) -> Finding:
    """Compare the gain at the lowest rank with that at the highest, for each model and task."""
    pairs = list(_pairs(ours(verdicts)))
    if not pairs:
        return not_measured("the study has one rank, or too few finished seeds: give it several")
    # A gain is a negative difference, so these are negative where the lower rank gains more.
    gaps = [low.difference.gap - high.difference.gap for low, high in pairs]
    margins = [max(low.margin, high.margin) for low, high in pairs]
    parts = [judged(gap, margin)[0] for gap, margin in zip(gaps, margins, strict=True)]
    more = interval_of(-gaps[0])
    low, high = pairs[0]
    gains = [interval_of(-cell.difference.gap) for cell in (low, high)]
    over = over_of(gaps[:1])
    return Finding(
        verdict=together(parts),
        words=(
            f"OLoRA's gain in test loss over LoRA, each at its best rate, is {gains[0].mean:+.3g} nats at rank "
            f"{low.cell.r} and {gains[1].mean:+.3g} at rank {high.cell.r}: a difference of {more.mean:+.3g} "
            f"({ends(more, over)}), on {low.cell.model}, {low.cell.task}. That it is larger at the lower rank: "
            f"{counted(parts, 'pair')}.{level_within(verdicts.study, parts, margins)}"
        ),
        numbers={"pairs": len(pairs), "more_at_the_lower_rank": more.mean},
        seeds=low.seeds,
        bars=tuple(Bar.of(f"r {cell.cell.r}", gain) for cell, gain in zip((low, high), gains, strict=True)),
        unit="gain in test loss over LoRA, nats",
        over=over,
    )


def _pairs(cells: Sequence[Verdict]) -> Iterator[tuple[Verdict, Verdict]]:
    """Yield the cells of the lowest and the highest rank of each model and task."""
    for _, of_task in groupby(cells, key=lambda each: (each.cell.model, each.cell.task)):
        by_rank = sorted(of_task, key=lambda each: each.cell.r)
        low, high = by_rank[0], by_rank[-1]
        if low.cell.r < high.cell.r and low.seeds == high.seeds > 0:
            yield low, high


CLAIM = Claim(
    number=6,
    name="smaller",
    sentence="The gain over LoRA is larger at lower ranks.",
    source=f"{OLORA}, its experiments over ranks",
    measured=(
        "The gain in test loss at the lowest rank of a study minus that at the highest, each "
        "method at its best rate, paired by seed and example."
    ),
    judge=on_study(judge),
)
