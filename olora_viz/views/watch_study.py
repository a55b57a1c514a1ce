"""The table of a study, or of a decision, while a loop runs it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from olora_viz.figures.png import png_bytes
from olora_viz.figures.study_plots import plot_study
from olora_viz.machine.live_output import LiveOutput, is_notebook
from olora_viz.machine.numbers import clock
from olora_viz.machine.showing import aligned, folded, table
from olora_viz.studies.deciding import Decision
from olora_viz.studies.ledger import verdicts
from olora_viz.studies.running import FinishedRace
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views import decision
from olora_viz.views.verdict_table import verdict_rows

WIDTH = 780
"""Of the charts of a decision, in pixels."""

IMAGE = Markup('<img src="data:image/png;base64,{}" width="{}" alt="{}">')

BEGINS = "The first race is running."


def watch_study(races: Iterator[FinishedRace | Decision]) -> Iterator[FinishedRace | Decision]:
    """Iterate over what `run_study` or `decide` yields, and show what is known after each race."""
    return _in_notebook(races) if is_notebook() else _in_terminal(races)


def _in_notebook(races: Iterator[FinishedRace | Decision]) -> Iterator[FinishedRace | Decision]:
    output, one, found = LiveOutput(), None, None
    output.show(lambda: {"text/plain": BEGINS}, at_once=True)
    for one in races:
        words, found = _known(one)
        html = _decision(one) if isinstance(one, Decision) else _table(words, found)
        bundle = {"text/html": str(html), "text/plain": _text(words, found)}
        output.show(lambda bundle=bundle: bundle, at_once=True)
        yield one
    if found is not None and found.rows and not isinstance(one, Decision):
        from IPython.display import display

        display(plot_study(found, what="wins"))


def _in_terminal(races: Iterator[FinishedRace | Decision]) -> Iterator[FinishedRace | Decision]:
    found = None
    for one in races:
        words, found = _known(one)
        print(words, flush=True)
        yield one
    if found is not None and found.rows:
        print("\n".join(aligned(verdict_rows(found))))


def _known(one: FinishedRace | Decision) -> tuple[str, Verdicts]:
    """Return how far it is, with what is to be taken by now, and the verdicts so far."""
    if isinstance(one, Decision):
        return f"{_progress(one)}. {one.sentence}", one.verdicts
    left = f"{one.left} left" if one.left else "none left"
    lanes = f"{one.lanes} lane{'s' * (one.lanes > 1)}"
    words = f"{one.folder.name}: {lanes}, {left} at this stage."
    return words, verdicts(study_folder(one))


def study_folder(one: FinishedRace) -> Path:
    """Return the folder of the study that a race belongs to."""
    return one.folder.parent.parent


def _table(words: str, found: Verdicts) -> Markup:
    head, *rows = verdict_rows(found)
    return table(head, rows, words) if found.rows else Markup("<p>{}</p>").format(words)


def _decision(known: Decision) -> Markup:
    """Return what to take, the table and the charts, the plan, and the answers at the end."""
    parts = [decision.headline(known), _table(_progress(known), known.verdicts)]
    if known.lanes:
        figures = list(decision.figures(known).values())
        picture = base64.b64encode(png_bytes(figures, width=WIDTH)).decode("ascii")
        parts.append(IMAGE.format(picture, WIDTH, known.sentence))
    plan = Markup("").join(Markup("<p>{}</p>").format(one) for one in known.plan.words)
    return Markup("").join([*parts, folded("Plan", plan), decision.answers(known)])


def _progress(known: Decision) -> str:
    spent = f"{clock(known.seconds)} of {clock(60 * known.plan.minutes)}"
    return f"{known.stage}, {known.lanes} lanes, {spent}"


def _text(words: str, found: Verdicts) -> str:
    return "\n".join([words, *(aligned(verdict_rows(found)) if found.rows else ())])
