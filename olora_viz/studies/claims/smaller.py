"""Claim: the gain is larger for lower ranks."""

from __future__ import annotations

from olora_viz.studies.claims.claim import (
    OLORA,
    UNKNOWN,
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
from olora_viz.studies.statistics import Interval
from olora_viz.studies.verdicts import Verdict, Verdicts, interval_of


def judge(found: Verdicts) -> Finding:
    """Compare the gain at the lowest rank with that at the highest, for each model and task."""
    pairs = _pairs(ours(found))
    if not pairs:
        return not_measured("the study has one rank, or too few finished seeds: give it several")
    said, margins, first, over = [], [], UNKNOWN, ""
    for low, high in pairs:
        # A gain is a negative difference, so this is negative where the lower rank gains more.
        more = low.difference.gap - high.difference.gap
        margins.append(max(low.margin, high.margin))
        verdict, interval = judged(more, margins[-1])
        first, over = (first, over) if said else (_negative(interval), over_of([more]))
        said.append(verdict)
    low, high = pairs[0]
    gains = [interval_of(-one.difference.gap) for one in (low, high)]
    return Finding(
        verdict=together(said),
        words=(
            f"OLoRA's gain in test loss over LoRA, each at its best rate, is {gains[0].mean:+.3g} "
            f"nats at rank {low.cell.r} and {gains[1].mean:+.3g} at rank {high.cell.r}: a "
            f"difference of {first.mean:+.3g} ({ends(first, over)}), on {low.cell.model}, "
            f"{low.cell.task}. That it is larger at the lower rank: {counted(said, 'pair')}."
            f"{level_within(found.study, said, margins)}"
        ),
        numbers={"pairs": len(pairs), "more_at_the_lower_rank": first.mean},
        seeds=low.seeds,
        bars=tuple(
            Bar(f"r {one.cell.r}", its.mean, its.low, its.high) for one, its in zip((low, high), gains, strict=True)
        ),
        unit="gain in test loss over LoRA, nats",
        over=over,
    )


def _negative(its: Interval) -> Interval:
    return Interval(-its.mean, -its.high, -its.low, its.p_value)


def _pairs(each: list[Verdict]) -> list[tuple[Verdict, Verdict]]:
    """Return the cells of the lowest and the highest rank of each model and task."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for one in each:
        groups.setdefault((one.cell.model, one.cell.task), []).append(one)
    made = []
    for group in groups.values():
        low, high = (pick(group, key=lambda one: one.cell.r) for pick in (min, max))
        if low.cell.r < high.cell.r and low.seeds == high.seeds > 0:
            made.append((low, high))
    return made


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
