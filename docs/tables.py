"""Print the tables of RESULTS.md, from the folders of finished studies.

    python docs/tables.py DIR [DIR …]

For each method but the reference, one line a cell: its best rate and the reference's, the
difference in test loss with its 95% interval, and the verdicts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from olora_viz.initializers import label_of
from olora_viz.machine.numbers import compact, number
from olora_viz.studies.ledger import verdicts
from olora_viz.studies.verdicts import Verdict, Verdicts

HEADS = (
    "model", "task", "rank", "method", "best rate", "the reference's", "test loss",
    "the reference's", "difference (95%)", "p", "at best rates", "at one rate", "seeds",
)  # fmt: skip


def lines_of(found: Verdicts) -> list[list[str]]:
    """Return the cells of the table, one line a method and cell of a study."""
    made = []
    for cell in found.study.cells():
        reference = next(one for one in found.of(cell) if one.init == found.study.reference)
        made += [_line(one, reference) for one in found.of(cell) if one is not reference]
    return made


def _line(one: Verdict, reference: Verdict) -> list[str]:
    low, mean, high = (
        number(x, "+.3f") for x in (one.interval.low, one.interval.mean, one.interval.high)
    )
    at_one = one.verdict_shared_rate
    return [
        Path(one.cell.model).name, Path(one.cell.task).stem, str(one.cell.r), label_of(one.init),
        *("" if its.best_lr is None else compact(its.best_lr) for its in (one, reference)),
        *(number(its.test_loss, ".3f") for its in (one, reference)),
        f"{mean} ({low} to {high})", number(one.p_value, ".2g"),
        f"{one.verdict}: {one.why}" if one.why else one.verdict,
        at_one if one.shared_lr is None else f"{at_one} ({compact(one.shared_lr)})", str(one.seeds),
    ]  # fmt: skip


def markdown(heads: tuple[str, ...], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="+", type=Path, metavar="DIR")
    each = [line for folder in parser.parse_args().studies for line in lines_of(verdicts(folder))]
    print(markdown(HEADS, each))
