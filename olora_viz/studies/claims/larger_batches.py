"""Claim: larger batches cost LoRA more than full fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from olora_viz.studies.claims.claim import (
    OF_WORSE,
    WITHOUT_REGRET,
    AgainstFull,
    Bar,
    Claim,
    Finding,
    OnStudy,
    apart,
    counted,
    ends,
    level_within,
    not_measured,
    over_cells,
    over_compared,
    over_of,
    rise,
    together,
)
from olora_viz.studies.claims.evidence import FULL, OURS, REFERENCE
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import verdict
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

MAY_DIFFER = (
    "compare", "lr", "seeds", "coarse", "margin", "batch_size", "steps", "eval_every", "warmup", "threads",
)  # fmt: skip
"""Settings in which studies of several batch sizes may differ."""


def judge(studies: Sequence[Verdicts]) -> Finding:
    """Judge LoRA in every cell, at the smallest and the largest batch; OLoRA stands beside it."""
    by_size = {each.study.race.batch_size: each for each in studies}
    if len(by_size) < 2:
        return not_measured(
            f"the batch size is {studies[0].study.race.batch_size} throughout: pass to --study two "
            "studies that differ in it"
        )
    verdicts = by_size[min(by_size)], by_size[max(by_size)]
    small, large = (each.study for each in verdicts)
    if why := apart(small, large, MAY_DIFFER):
        return not_measured(why)
    first, second = (study.race.batch_size * study.race.steps for study in (small, large))
    if first != second:
        return not_measured(
            f"the studies read {first} and {second} examples, batch size times steps: they have to read equally many"
        )
    margins = {cell: max(each.margin for of_size in verdicts for each in of_size.of(cell)) for cell in small.cells()}
    against_full = AgainstFull.of(
        small,
        lambda init, cell: rise_of(*verdicts, init, cell),
        lambda of, cell: OF_WORSE[verdict(of.interval, of.interval.p_value, margins[cell], of.seeds)],
    )
    parts = against_full.parts
    rises = {init: over_cells(of_cells) for init, of_cells in against_full.numbers.items() if of_cells}
    sentences = []
    if rises:
        costs = ", ".join(f"{method_name(init)}'s by {interval.mean:+.3g}" for init, interval in rises.items())
        sentences.append(
            f"From batches of {small.race.batch_size} to {large.race.batch_size}, on {first} examples "
            f"each and at best rates, the test loss rises: {costs} nats."
        )
    more = {}
    for init, cells in against_full.differences.items():
        if differences := list(cells.values()):
            more[init] = over_compared(differences)
            interval = ends(more[init], over_of([each.gap for each in differences]))
            sentences.append(
                f"{method_name(init)}'s rises by {more[init].mean:+.3g} nats ({interval}) more than full "
                f"fine-tuning's; that it rises more: {counted(parts[init])}."
            )
    words = " ".join([*sentences, *against_full.edges]) or "no cell of the studies has run"
    return Finding(
        verdict=together(parts[REFERENCE]),
        words=words + level_within(small, [*parts[REFERENCE], *parts[OURS]], 2 * [*margins.values()]),
        numbers={f"rise_{init}": interval for init, interval in rises.items()}
        | {f"more_than_full_{init}": interval for init, interval in more.items()},
        seeds=min(small.seeds, large.seeds),
        bars=tuple(Bar.of(method_name(init), interval) for init, interval in rises.items()),
        unit=f"rise in test loss from batches of {small.race.batch_size} to {large.race.batch_size}, nats",
        over=over_of(next(filter(None, against_full.numbers.values()))) if rises else "",
    )


def rise_of(small: Verdicts, large: Verdicts, init: str, cell: Cell) -> Float[np.ndarray, "seeds examples"] | None:
    """Return by how much the test losses of each seed are higher with the larger batch, nats.

    Each study's best rate counts. Empty if one lies at the edge of the rates tried, or each rate has a diverged run;
    None if runs are missing.
    """
    losses = []
    for verdicts in (small, large):
        if init not in verdicts.study.compare or not verdicts.has_run(cell, init):
            return None
        runs = verdicts.runs[cell, init]
        if runs.at_best is None or not runs.is_inside:
            return np.empty((0, 0))
        losses.append(runs.at_best.test)
    return rise(*losses)


CLAIM = Claim(
    number=12,
    name="larger-batches",
    sentence="Larger batches cost LoRA more than full fine-tuning.",
    source=WITHOUT_REGRET,
    measured=(
        "The rise in test loss from the smallest to the largest batch of several studies that read equally many "
        "examples, each method at its best rate: LoRA's minus full fine-tuning's, paired by seed and example."
    ),
    judge=OnStudy(lambda evidence, study: judge([study, *evidence.others]), (OURS, FULL), several=True),
)
