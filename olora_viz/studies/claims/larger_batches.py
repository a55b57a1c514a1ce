"""Claim: larger batches cost LoRA more than full fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import (
    NOT_MEASURED,
    WITHOUT_REGRET,
    Bar,
    Claim,
    Finding,
    counted,
    ends,
    has_run,
    judged,
    level_within,
    not_measured,
    on_studies,
    over_cells,
    over_of,
    together,
)
from olora_viz.studies.claims.evidence import FULL, OURS, REFERENCE
from olora_viz.studies.statistics import UNDECIDED, Interval
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdicts, runs_of

METHODS = (REFERENCE, OURS, FULL)

MAY_DIFFER = ("inits", "lrs", "seeds", "coarse", "margin", "batch_size", "steps", "eval_every", "warmup", "threads")
"""Settings in which studies of several batch sizes may differ."""


def judge(studies: Sequence[Verdicts]) -> Finding:
    """Judge LoRA in every cell, at the smallest and the largest batch; OLoRA is told beside it."""
    by_size = {one.study.batch_size: one for one in studies}
    if len(by_size) < 2:
        return not_measured(
            f"the batch size is {studies[0].study.batch_size} throughout: pass to --study two "
            "studies that differ in it"
        )
    small, large = by_size[min(by_size)], by_size[max(by_size)]
    if why := _apart(small.study, large.study):
        return not_measured(why)
    parts: dict[str, list[str]] = {REFERENCE: [], OURS: []}
    extra: dict[str, list[np.ndarray]] = {REFERENCE: [], OURS: []}
    known: dict[str, list[np.ndarray]] = {init: [] for init in METHODS}
    outside: dict[str, None] = {}
    margins = []
    for cell in small.study.cells():
        rises = {init: rise(small, large, init, cell) for init in METHODS}
        outside |= dict.fromkeys(i for i, its in rises.items() if its is not None and not len(its))
        margin = max(one.margin for found in (small, large) for one in found.of(cell))
        margins.append(margin)
        for init, said in parts.items():
            its, full = rises[init], rises[FULL]
            if its is None or full is None:
                said.append(NOT_MEASURED)
            elif not len(its) or not len(full):
                said.append(UNDECIDED)
            else:
                said.append(judged(full - its, margin)[0])
                extra[init].append(its - full)
        for init, its in rises.items():
            if its is not None and len(its):
                known[init].append(its)
    rises = {init: over_cells(its) for init, its in known.items() if its}
    more = {init: over_cells(its) for init, its in extra.items() if its}
    overs = {init: over_of(extra[init]) for init in more}
    return Finding(
        verdict=together(parts[REFERENCE]),
        words=_words(small.study, large.study, rises, more, overs, parts, list(outside))
        + level_within(small.study, [*parts[REFERENCE], *parts[OURS]], 2 * margins),
        numbers={f"rise_{init}": its for init, its in rises.items()}
        | {f"more_than_full_{init}": its for init, its in more.items()},
        seeds=min(small.study.seeds, large.study.seeds),
        bars=tuple(Bar(label_of(i), its.mean, its.low, its.high) for i, its in rises.items()),
        unit=(f"rise in test loss from batches of {small.study.batch_size} to {large.study.batch_size}, nats"),
        over=over_of(next(its for its in known.values() if its)) if rises else "",
    )


def rise(small: Verdicts, large: Verdicts, init: str, cell: Cell) -> Float[np.ndarray, "seeds examples"] | None:
    """Return by how much the test losses of each seed are higher with the larger batch, nats.

    Each study's best rate counts. Empty if one lies at the edge of the rates tried, or each rate has a diverged run;
    None if runs are missing.
    """
    ends = []
    for found in (small, large):
        if not has_run(found, cell, init):
            return None
        runs = runs_of(found.study, cell, init, found.rows)
        if runs.at_best is None or runs.chosen is None or not runs.chosen.is_inside:
            return np.empty((0, 0))
        ends.append(runs.at_best.test)
    seeds = min(map(len, ends))
    return ends[1][:seeds] - ends[0][:seeds]


def _apart(small: Study, large: Study) -> str:
    """Say why two studies cannot be compared; empty if they can."""
    for name in (each.name for each in fields(Study)):
        one, other = getattr(small, name), getattr(large, name)
        if name not in MAY_DIFFER and one != other:
            return f"the studies differ in {name} as well: {one!r} and {other!r}"
    seen = [one.batch_size * one.steps for one in (small, large)]
    if seen[0] != seen[1]:
        return (
            f"the studies read {seen[0]} and {seen[1]} examples, batch size times steps: they have "
            "to read equally many"
        )
    return ""


def _words(
    small: Study, large: Study, rises: dict[str, Interval], more: dict[str, Interval],
    overs: dict[str, str], parts: dict[str, list[str]], outside: list[str],
) -> str:  # fmt: skip
    said = []
    if rises:
        costs = ", ".join(f"{label_of(init)}'s by {its.mean:+.3g}" for init, its in rises.items())
        said.append(
            f"From batches of {small.batch_size} to {large.batch_size}, on "
            f"{small.batch_size * small.steps} examples each and at best rates, the test loss "
            f"rises: {costs} nats."
        )
    said += [
        f"{label_of(init)}'s rises by {its.mean:+.3g} nats ({ends(its, overs[init])}) more than "
        f"full fine-tuning's; that it rises more: {counted(parts[init])}."
        for init, its in more.items()
    ]
    if outside:
        names = " and of ".join(map(label_of, outside))
        said.append(f"A best rate of {names} lies at the edge of the rates tried.")
    return " ".join(said) or "no cell of the studies has run"


CLAIM = Claim(
    number=12,
    name="larger-batches",
    sentence="Larger batches cost LoRA more than full fine-tuning.",
    source=WITHOUT_REGRET,
    measured=(
        "The rise in test loss from the smallest to the largest batch of several studies that read "
        "equally many examples, each method at its best rate: LoRA's minus full fine-tuning's, "
        "paired by seed and example."
    ),
    judge=on_studies(judge, FULL),
)
