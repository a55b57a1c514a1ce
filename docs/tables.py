"""Print the tables of RESULTS.md, from the folders of finished studies.

    python docs/tables.py [--by-rate | --by-cell | --map | --forgetting] DIR [DIR …]

For each method but the reference, one line a cell: its best rate and the reference's, the difference in test loss with
its 95% interval, and the verdicts; or the differences at each rate. With `--by-cell`, one line a method, with its
difference and the verdict in every cell. With `--map`, one line a cell: which methods are better than the reference
there, and where it is as good as all of them. With `--forgetting`, what each method forgets of the text to keep, and
how often it is less or more than the reference does.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from olora_viz.machine.wording import and_, compact, number
from olora_viz.studies.axes import in_words
from olora_viz.studies.claims.claim import over_cells, ratio_of
from olora_viz.studies.difference import Difference, at_one_rate
from olora_viz.studies.folder import verdicts
from olora_viz.studies.forgetting import WAYS, Compared, compared
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE, Interval
from olora_viz.studies.study import Candidate, Cell
from olora_viz.studies.verdicts import Verdict, Verdicts

HEADS = (
    "model", "task", "rank", "method", "best rate", "the reference's", "test loss",
    "the reference's", "difference (95%)", "over rates", "p", "at best rates", "at one rate",
    "seeds",
)  # fmt: skip


def lines_of(found: Verdicts) -> list[list[str]]:
    """Return the cells of the table, one line a method and cell of a study."""
    made = []
    for cell in found.study.cells():
        reference = next(one for one in found.of(cell) if one.method == found.study.reference)
        made += [_line(one, reference) for one in found.of(cell) if one is not reference]
    return made


def _line(one: Verdict, reference: Verdict) -> list[str]:
    at_one = one.verdict_shared_rate
    return [
        *_names(one.cell, one.method, one.rank),
        *("" if its.best is None else its.best.words for its in (one, reference)),
        *(number(its.test_loss, ".3f") for its in (one, reference)),
        _ends(one.interval),
        " to ".join(number(end, "+.3f") for end in one.difference.over_rates),
        number(one.p_value, ".2g"),
        f"{one.verdict}: {one.why}" if one.why else one.verdict,
        at_one if one.shared_lr is None else f"{at_one} ({compact(one.shared_lr)})", str(one.seeds),
    ]  # fmt: skip


def _ends(interval: Interval) -> str:
    mean, low, high = (number(x, "+.3f") for x in interval[:3])
    return f"{mean} ({low} to {high})"


def by_rate(found: Verdicts) -> list[list[str]]:
    """Return the mean difference at each rate, one line a method and cell.

    A star marks a difference whose 95% interval, over seeds and examples, does not contain zero; a dash one with a
    diverged run.
    """
    study, made = found.study, []
    for cell in study.cells():
        runs = {init: found.runs[cell, init] for init in study.compare}
        at = [{init: of_init.at(Candidate(lr), study.seeds) for init, of_init in runs.items()} for lr in study.lrs]
        for init in study.compare:
            each = [at_one_rate(of[init], of[study.reference], list(of.values())) for of in at]
            if init != study.reference:
                rank = next(each.rank for each in found.of(cell) if each.method == init)
                made.append([*_names(cell, init, rank), *(_starred(one, study.first_seeds) for one in each)])
    return made


def by_cell(found: Verdicts) -> list[list[str]]:
    """Return the difference in test loss with its 95% interval and the verdict in each cell, one line a method."""
    made = []
    for method in found.study.compare[1:]:
        each = [one for one in found.each if one.method == method]
        made.append([method_name(method), *(f"{_ends(one.interval)} {one.verdict}" for one in each)])
    return made


MAP = ("model", "task", "rank", "the reference's test loss", "margin", "differences", "best choice")


def choice_map(found: Verdicts) -> list[list[str]]:
    """Return where the reference is the better choice, one line a cell: it is if all others are level or worse.

    A star marks a method that is better or worse; else one that is better is the choice, and a question mark says that
    some method is undecided and none is better.
    """
    made = []
    for cell in found.study.cells():
        reference, *others = found.of(cell)
        better = [method_name(one.method) for one in others if one.verdict == BETTER]
        is_open = any(one.verdict == UNDECIDED for one in others)
        signs = {BETTER: "*", WORSE: "*", LEVEL: " =", UNDECIDED: " ?"}
        differences = [
            f"{method_name(one.method)} {number(one.interval.mean, '+.3f')}{signs[one.verdict]}" for one in others
        ]
        made.append(
            [
                *_names(cell, reference.method, reference.rank)[:3], number(reference.test_loss, ".3f"),
                number(reference.margin, ".3f"), ", ".join(differences),
                f"**{and_(better)}**" if better else "?" if is_open else method_name(reference.method),
            ]
        )  # fmt: skip
    return made


FORGETTING = ("model", "task", "rank", "method", "best rate", "test loss", "text loss", "drift", *WAYS, "seeds")

TOLD = {BETTER: "less", LEVEL: "level", WORSE: "more", UNDECIDED: "undecided"}
"""A verdict on a drift."""


def forgetting(found: Verdicts) -> list[list[str]]:
    """Return what each method forgets at its best rate, and the ratio of its drift to the reference's in each way.

    One line a method and cell. A star marks a ratio that is decided: less or more.
    """
    drifts = drifts_of([found])
    ratios = {(each.cell, each.method, each.way): each for each in drifts}
    made = []
    for each in found.each:
        rows = [found.rows[trial] for trial in each.trials]
        of_ways = (_ratio(ratios.get((each.cell, each.method, way))) for way in WAYS)
        drift = np.exp(np.log([row["drift"] for row in rows]).mean())
        text_loss = np.mean([row["text_loss"] for row in rows])
        made.append(
            [
                *_names(each.cell, each.method, each.rank), "" if each.best_lr is None else compact(each.best_lr),
                number(each.test_loss, ".3f"), f"{text_loss:.2f}", f"{drift:.2f}", *of_ways, str(len(rows)),
            ]
        )  # fmt: skip
    return made


def drifts_of(studies: Sequence[Verdicts]) -> list[Compared]:
    """Return the comparisons of all methods of studies with their references."""
    return [
        each
        for found in studies
        for each in compared(found, [init for init in found.study.compare if init != found.study.reference])
    ]


def over_studies(studies: Sequence[Verdicts]) -> list[list[str]]:
    """Return the mean ratio of each method over the cells of all studies in each way, and the verdicts."""
    drifts, made = drifts_of(studies), []
    for init in dict.fromkeys(each.method for each in drifts):
        line = [method_name(init)]
        for way in WAYS:
            of_way = [each for each in drifts if (each.method, each.way) == (init, way)]
            gaps = [each.logs.gap[:, 0] for each in of_way if each.logs.seeds > 1]
            counts = Counter(each.verdict for each in of_way)
            words = ", ".join(f"{TOLD[word]} in {counts[word]}" for word in TOLD if counts[word])
            mean = f"{_interval(ratio_of(over_cells(gaps)))} in {len(gaps)}: " if gaps else ""
            line.append(f"{mean}{words}")
        made.append(line)
    return made


def _ratio(each: Compared | None) -> str:
    if each is None:
        return ""
    if each.logs.seeds < 2:
        return "outside"
    return _interval(ratio_of(each.logs.interval)) + "*" * (each.verdict in (BETTER, WORSE))


def _interval(ratio: Interval) -> str:
    return f"{ratio.mean:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _names(cell: Cell, method: str, rank: int) -> list[str]:
    """Name a cell and a method; what else is crossed stands with the task."""
    others = [in_words(name, value) for name, value in cell.others]
    return [Path(cell.model).name, ", ".join([Path(cell.task).stem, *others]), str(rank), method_name(method)]


def _starred(between: Difference, seeds: int) -> str:
    if between.seeds < seeds:
        return "–"
    its = between.interval
    return f"{its.mean:+.3f}{'' if its.low <= 0 <= its.high else '*'}"


def markdown(heads: tuple[str, ...], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--by-rate", action="store_true")
    shown.add_argument("--by-cell", action="store_true")
    shown.add_argument("--map", action="store_true")
    shown.add_argument("--forgetting", action="store_true")
    parser.add_argument("studies", nargs="+", type=Path, metavar="DIR")
    options = parser.parse_args()
    studies = [verdicts(folder) for folder in options.studies]
    made, heads = lines_of, HEADS
    if options.by_rate:
        made, heads = by_rate, (*HEADS[:4], *map(compact, studies[0].study.lrs))
    elif options.by_cell:
        cells = [cell.words() for cell in studies[0].study.cells()]
        made, heads = by_cell, ("method", *cells)
    elif options.map:
        made, heads = choice_map, MAP
    elif options.forgetting:
        made, heads = forgetting, FORGETTING
        print(markdown(("method", *WAYS), over_studies(studies)), end="\n\n")
    print(markdown(heads, [line for found in studies for line in made(found)]))
