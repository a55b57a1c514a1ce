"""Pictures of a study and of a claim, for notebooks, pages and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from olora_viz.figures.claim import claim_figure
from olora_viz.figures.drawing import drawing
from olora_viz.figures.layout import Figure
from olora_viz.figures.plots import chosen
from olora_viz.figures.study_curves import budget_figure, rates_figure, target_figure
from olora_viz.figures.study_profile import profile_figure
from olora_viz.figures.study_verdicts import differences_figure, wins_figure
from olora_viz.machine.naming import expect, unknown
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.ledger import verdicts
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

OF_STUDY = {"wins": wins_figure, "differences": differences_figure, "profile": profile_figure}
OF_CELL = {"rates": rates_figure, "budget": budget_figure, "target": target_figure}
PICTURES = (*OF_STUDY, *OF_CELL)
"""The names of the pictures."""


def plot_study(
    source: Verdicts | str | Path,
    *,
    what: str | Sequence[str] = PICTURES,
    cell: Cell | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draw what a study decides and why.

    Parameters
    ----------
    source : the result of `verdicts`, or the folder of a study.
    what : ``wins`` (all verdicts, at one rate and at best rates), ``differences`` (with their
        intervals), ``profile`` (how often each method is within a factor of the fastest to the
        reference's loss), ``rates`` (test loss by learning rate), ``budget`` (expected best loss by
        number of rates), ``target`` (share of seeds that reached the reference's loss by step), or
        several of them; by default all. Beside others, the profile of a single cell is left out.
    cell : one of ``study.cells()``; the last three have one chart for each cell, by default all.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : a name is unknown, the cell is not the study's, or the folder holds no study.
    """
    names = chosen(what, PICTURES, theme)
    expect(source, (Verdicts, str, Path), "the result of verdicts, or the folder of a study")
    found = source if isinstance(source, Verdicts) else verdicts(source)
    return drawing(study_figures(found, names, cell), theme)


def plot_claim(name: str, finding: Finding, *, theme: str = "light") -> go.Figure:
    """Draw what the verdict on a claim rests on, each number with its interval if it has one.

    Parameters
    ----------
    name : a key of ``CLAIMS``.
    finding : what its `judge` returned.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : there is no such claim, or the finding has nothing to draw.
    """
    if name not in CLAIMS:
        raise ValueError(unknown("claim", name, CLAIMS))
    chosen(name, CLAIMS, theme)
    if not finding.bars:
        raise ValueError(f"the finding on {name!r} has no numbers to draw: {finding.words}")
    return drawing([claim_figure(CLAIMS[name], finding)], theme)


def study_figures(
    found: Verdicts, what: Sequence[str] = PICTURES, cell: Cell | None = None
) -> list[Figure]:
    """Return the figures of `plot_study`, in the order of `what`.

    Raises
    ------
    ValueError : the cell is not the study's.
    """
    cells = found.study.cells()
    if cell is not None and cell not in cells:
        raise ValueError(f"{cell} is not a cell of the study: see study.cells()")
    made: list[Figure] = []
    for name in what:
        if name == "profile" and len(cells) == 1 and len(what) > 1:
            continue  # of one cell, "target" says the same
        if name in OF_STUDY:
            made.append(OF_STUDY[name](found))
        else:
            made += [OF_CELL[name](found, one) for one in ([cell] if cell else cells)]
    return made
