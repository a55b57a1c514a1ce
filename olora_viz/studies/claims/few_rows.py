"""Claim: at equal updates, many epochs of few rows win."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from olora_viz.machine.wording import and_
from olora_viz.studies.axes import in_words
from olora_viz.studies.claims.beside import at_best, finding_of_means, standing
from olora_viz.studies.claims.claim import OF_VERDICT, Claim, Finding, level_within, not_measured, on_study, together
from olora_viz.studies.difference import Difference, difference, order, p_values_of
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import UNDECIDED
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdicts


class Pair(NamedTuple):
    """A method on few rows and on many, each at its best rate."""

    method: str
    difference: Difference
    """Test loss on few rows minus that on many, nats."""
    margin: float
    verdict: str
    """On the claim."""


def judge(verdicts: Verdicts) -> Finding:
    """Judge every method on the fewest rows against the most, in each cell of all else."""
    study = verdicts.study
    rows = sorted(study.across.get("rows", ()), key=lambda count: math.inf if count is None else count)
    if len(rows) < 2:
        return not_measured("the study has one number of rows: cross it, as with --across rows=50/500")
    if why := _other_updates(study):
        return not_measured(f"the updates are not as many: the study {why}")
    pairs = [pair for few, many in _cells(study, rows[0], rows[-1]) for pair in _pairs(verdicts, few, many)]
    words = {method: [pair.verdict for pair in pairs if pair.method == method] for method in study.compare}
    differences = {method: [pair.difference for pair in pairs if pair.method == method] for method in study.compare}
    few, many = (in_words("rows", count) if count is None else f"{count} rows" for count in (rows[0], rows[-1]))
    said = [f"{method_name(method)} {standing(words[method], differences[method])}" for method in study.compare]
    parts = [pair.verdict for pair in pairs]
    return finding_of_means(
        together(parts),
        f"That {few} end better than {many} after as many updates, {at_best(study).lower()}: {'; '.join(said)}."
        f"{level_within(study, parts, [pair.margin for pair in pairs])}",
        {"pairs": len(pairs), **{word: parts.count(word) for word in OF_VERDICT.values()}},
        differences,
        called="difference_{}",
        unit=f"test loss with {few} minus that with {many}, nats",
        seeds=study.seeds,
    )


def _other_updates(study: Study) -> str:
    """Say what makes the number of updates depend on the rows; empty if nothing does."""
    if study.race.epochs is not None or "epochs" in {*study.across, *study.tune}:
        return "counts epochs"
    varied = [name for name in ("steps", "batch_size") if name in study.tune]
    return f"tunes {and_([name.replace('_', ' ') for name in varied])}" if varied else ""


def _cells(study: Study, few: int | None, many: int | None) -> Iterator[tuple[Cell, Cell]]:
    """Yield the cells with the fewest and the most rows that are else the same."""
    for cell in study.cells():
        others = dict(cell.others)
        if others["rows"] == few:
            yield cell, replace(cell, others=tuple((others | {"rows": many}).items()))


def _pairs(verdicts: Verdicts, few: Cell, many: Cell) -> Iterator[Pair]:
    """Compare all methods in two cells; their p-values are adjusted together (Holm)."""
    study = verdicts.study
    runs = [{method: verdicts.runs[cell, method] for method in study.compare} for cell in (few, many)]
    every = [of_method for of_cell in runs for of_method in of_cell.values()]
    gaps = {method: difference(runs[0][method], runs[1][method], every) for method in study.compare}
    p_values = p_values_of(gaps)
    margin = max(each.margin for cell in (few, many) for each in verdicts.of(cell))
    examples = min(verdicts.test_examples(cell) for cell in (few, many))
    for method, gap in gaps.items():
        inside = all(of_cell[method].is_inside for of_cell in runs)
        word = order(gap, p_values[method], margin, examples) if inside else UNDECIDED
        yield Pair(method, gap, margin, OF_VERDICT[word])


CLAIM = Claim(
    number=23,
    name="few-rows",
    sentence="At equal updates, many epochs of few rows end better than fewer epochs of many.",
    source="Data Repetition Beats Data Scaling (Kopiczko et al. 2026, arXiv 2602.11149), of long chains of thought",
    measured=(
        "The test loss of each method on the fewest rows of a study minus that on the most, after as many updates, "
        "each at its best rate, paired by seed and test example; its interval repeats the choice of both rates."
    ),
    judge=on_study(judge, ()),
)
