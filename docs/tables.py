"""Print the tables of RESULTS.md, from the folders of finished studies.

    python docs/tables.py [--by-rate] DIR [DIR …]

For each method but the reference, one line a cell: its best rate and the reference's, the difference in test loss with
its 95% interval, and the verdicts; or the differences at each rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.machine.text import compact, number
from olora_viz.studies.folder import verdicts
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdict, Verdicts, interval_of, runs_of

HEADS = (
    "model", "task", "rank", "method", "best rate", "the reference's", "test loss",
    "the reference's", "difference (95%)", "over rates", "p", "at best rates", "at one rate",
    "seeds",
)  # fmt: skip


def lines_of(found: Verdicts) -> list[list[str]]:
    """Return the cells of the table, one line a method and cell of a study."""
    made = []
    for cell in found.study.cells():
        reference = next(one for one in found.of(cell) if one.init == found.study.reference)
        made += [_line(one, reference) for one in found.of(cell) if one is not reference]
    return made


def _line(one: Verdict, reference: Verdict) -> list[str]:
    low, mean, high = (number(x, "+.3f") for x in (one.interval.low, one.interval.mean, one.interval.high))
    at_one = one.verdict_shared_rate
    return [
        *_names(one.cell, one.init),
        *("" if its.best_lr is None else compact(its.best_lr) for its in (one, reference)),
        *(number(its.test_loss, ".3f") for its in (one, reference)),
        f"{mean} ({low} to {high})",
        " to ".join(number(end, "+.3f") for end in one.difference.over_rates),
        number(one.p_value, ".2g"),
        f"{one.verdict}: {one.why}" if one.why else one.verdict,
        at_one if one.shared_lr is None else f"{at_one} ({compact(one.shared_lr)})", str(one.seeds),
    ]  # fmt: skip


def by_rate(found: Verdicts) -> list[list[str]]:
    """Return the mean difference at each rate, one line a method and cell.

    A star marks a difference whose 95% interval, over seeds and examples, does not contain zero; a dash one with a
    diverged run.
    """
    study, made = found.study, []
    for cell in study.cells():
        runs = {init: runs_of(study, cell, init, found.rows).rates for init in study.inits}
        at = {init: {one.lr: one.test for one in rates} for init, rates in runs.items()}
        for init in study.inits:
            gaps = [at[init][lr] - at[study.reference][lr] for lr in study.lrs]
            if init != study.reference:
                made.append([*_names(cell, init), *map(_starred, gaps)])
    return made


def _names(cell: Cell, init: str) -> list[str]:
    return [Path(cell.model).name, Path(cell.task).stem, str(cell.r), label_of(init)]


def _starred(gaps: np.ndarray) -> str:
    if not np.isfinite(gaps).all():
        return "–"
    its = interval_of(gaps)
    return f"{its.mean:+.3f}{'' if its.low <= 0 <= its.high else '*'}"


def markdown(heads: tuple[str, ...], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--by-rate", action="store_true")
    parser.add_argument("studies", nargs="+", type=Path, metavar="DIR")
    options = parser.parse_args()
    studies = [verdicts(folder) for folder in options.studies]
    made = by_rate if options.by_rate else lines_of
    heads = (*HEADS[:4], *map(compact, studies[0].study.lrs)) if options.by_rate else HEADS
    print(markdown(heads, [line for found in studies for line in made(found)]))
