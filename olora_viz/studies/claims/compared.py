"""How claims about training read a study: OLoRA against LoRA, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from olora_viz.initializers import label_of
from olora_viz.studies.claims.claim import Finding, level_means, not_measured
from olora_viz.studies.claims.evidence import OURS, REFERENCE, ClaimEvidence
from olora_viz.studies.method_runs import interval_of
from olora_viz.studies.planning import grid_of
from olora_viz.studies.statistics import LEVEL, Interval, bootstrap_over_cells
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.verdicts import Verdict, Verdicts
from olora_viz.studies.who_leads import Basis
from olora_viz.studies.words import over


@dataclass(frozen=True)
class OnStudy:
    """Judges the evidence of a claim about training, or says what is missing."""

    judge: Callable[[ClaimEvidence, Verdicts], Finding]
    """Of the evidence and its study."""
    inits: tuple[str, ...] = (OURS,)
    """What the study has to compare with LoRA; empty if any study will do."""
    several: bool = False
    """Whether the claim compares studies."""

    def __call__(self, evidence: ClaimEvidence) -> Finding:
        """Judge the study, or the studies."""
        if evidence.study is None:
            return not_measured("no study was given: pass --study DIR, or --minutes N to run one")
        for one in (evidence.study, *(evidence.others if self.several else ())):
            if not one.rows:
                return not_measured("no race of the study has ended yet")
            inits, reference = one.study.inits, one.study.reference
            lacking = [init for init in self.inits if init not in inits]
            if lacking or (self.inits and reference != REFERENCE):
                return not_measured(
                    f"the study compares {', '.join(inits)} against {reference}, not "
                    f"{' and '.join(lacking or self.inits)} against {REFERENCE}"
                )
        return self.judge(evidence, evidence.study)


def on_study(judge: Callable[[Verdicts], Finding], *inits: str) -> OnStudy:
    """Make a function of verdicts one of evidence, which says what is missing.

    Parameters
    ----------
    inits : what the study has to compare with LoRA, beside OLoRA.
    """
    return OnStudy(lambda _, study: judge(study), (OURS, *inits))


def on_studies(judge: Callable[[Sequence[Verdicts]], Finding], *inits: str) -> OnStudy:
    """Make a function of the verdicts of several studies one of evidence, see `on_study`."""
    return OnStudy(
        lambda evidence, study: judge([study, *evidence.others]), (OURS, *inits), several=True
    )


def ours(found: Verdicts) -> list[Verdict]:
    """Return OLoRA's verdict in every cell."""
    return [one for one in found.each if one.init == OURS]


def reference(found: Verdicts, one: Verdict) -> Verdict:
    """Return the reference's verdict in the cell of another one."""
    return next(its for its in found.of(one.cell) if its.init == REFERENCE)


def basis_of(found: Verdicts) -> Basis:
    """Return what the comparisons of a study rest on, in each of its cells."""
    return Basis(found.study.seeds, found.test_examples(), "test", study=True)


def has_run(found: Verdicts, cell: Cell, init: str) -> bool:
    """Whether a method has run at every rate of the grid, with the seeds of the first pass."""
    study = found.study
    grid = grid_of(study, cell, found.rows)
    return all(trial in found.rows for trial in study.trials(cell, init, grid, study.first_seeds))


def where(study: Study, cell: Cell) -> str:
    """Name a cell by what differs among those of its study; empty if there is one."""
    parts = (
        (cell.model, len(study.models)), (cell.task, len(study.tasks)),
        (f"r {cell.r}", len(study.ranks)),
    )  # fmt: skip
    return " ".join(word for word, several in parts if several > 1)


def counted(verdicts: Iterable[str], what: str = "cell") -> str:
    """Say how many cells, or what else, have which verdict.

    >>> counted(["better", "better", "level"])
    'better in 2 of 3 cells, level in 1'
    """
    counts = Counter(verdicts)
    first, *others = counts.most_common()
    said = [f"{first[0]} in {first[1]} of {counts.total()} {what}{'s' * (counts.total() > 1)}"]
    return ", ".join([*said, *(f"{word} in {count}" for word, count in others)])


def level_within(study: Study, parts: Sequence[str], margins: Sequence[float]) -> str:
    """Return a sentence that names the margins of losses, if the verdict on some part is ``level``.

    Parameters
    ----------
    parts, margins : the verdict on each part, and its margin in nats.

    >>> level_within(Study(), ["level", "holds", "level"], [0.02, 0.05, 0.08])
    " Level means within 0.02 to 0.08 nats, 2% of LoRA's loss reduction."
    """
    sizes = [size for part, size in zip(parts, margins, strict=True) if part == LEVEL]
    nats = dict.fromkeys(f"{pick(sizes):.2g}" for pick in (min, max)) if sizes else ()
    share = f"{100 * study.margin:.3g}% of {label_of(study.reference)}'s loss reduction"
    return level_means(parts, f"within {' to '.join(nats)} nats, {share}")


def lowest(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Return where the parabola through the lowest value and its neighbours has its vertex.

    At the edge, or beside a value that is not finite, it is the place of the lowest value.
    """
    at = int(y.argmin())
    near = slice(at - 1, at + 2)
    if not 0 < at < len(y) - 1 or not np.isfinite(y[near]).all():
        return float(x[at])
    curved, slope, _ = np.polyfit(x[near] - x[at], y[near], 2)
    return float(x[at] - slope / (2 * curved)) if curved > 0 else float(x[at])


def over_of(differences: Sequence[np.ndarray], part: str = "test") -> str:
    """Say over what the interval of `over_cells` is.

    Parameters
    ----------
    part : of the examples.

    >>> over_of([np.zeros((5, 64))]), over_of([np.zeros((5, 64)), np.zeros((3, 64))])
    ('5 seeds and 64 test examples', '2 cells, their seeds and test examples')
    >>> over_of([np.zeros(5), np.zeros(5)])
    '2 cells and their seeds'
    """
    if len(differences) == 1:
        return over(differences[0], part)
    if all(one.size == len(one) for one in differences):
        return f"{len(differences)} cells and their seeds"
    return f"{len(differences)} cells, their seeds and {part} examples"


def over_cells(differences: list[np.ndarray]) -> Interval:
    """Return the mean over cells of paired differences, with its 95% interval.

    That of a single cell is the one that decides, see `interval_of`; that of several comes from a
    hierarchical bootstrap, which describes and decides nothing.

    Parameters
    ----------
    differences : of each cell, (seeds, examples), or (seeds,) of numbers that have no examples.
    """
    if len(differences) == 1:
        return interval_of(differences[0])
    cells = [one.reshape(len(one), -1) for one in differences]
    return Interval(*bootstrap_over_cells(cells), 1.0)
