"""Watching a race, a study or a decision in a notebook or a terminal."""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from markupsafe import Markup

from olora_viz.figures.plots import plot_study
from olora_viz.figures.png import png_bytes
from olora_viz.lanes.lane import labels
from olora_viz.machine.checks import expect
from olora_viz.machine.process import Bundle, LiveOutput, is_notebook
from olora_viz.machine.tables import aligned, folded, table
from olora_viz.machine.wording import about, clock, nats, percent
from olora_viz.races.race import Race
from olora_viz.races.step import Step, held_out_at_start
from olora_viz.studies.contest import seed_groups
from olora_viz.studies.decide import Decision
from olora_viz.studies.folder import verdicts
from olora_viz.studies.run import FinishedRace
from olora_viz.studies.verdicts import Verdicts
from olora_viz.views import decision
from olora_viz.views.decision import verdict_rows

CHART_WIDTH = 780
"""Of the charts of a decision, in pixels."""


def _study_in_notebook(races: Iterator[FinishedRace | Decision]) -> Iterator[FinishedRace | Decision]:
    output, latest, known = LiveOutput(), None, None
    output.show(lambda: {"text/plain": "The first race is running."}, at_once=True)
    for latest in races:
        words, known = _known(latest)
        html = _decision(latest) if isinstance(latest, Decision) else _table(words, known)
        text = "\n".join([words, *(aligned(verdict_rows(known)) if known.rows else ())])
        bundle = {"text/html": str(html), "text/plain": text}
        output.show(lambda bundle=bundle: bundle, at_once=True)
        yield latest
    if known is not None and known.rows and not isinstance(latest, Decision):
        from IPython.display import display

        display(plot_study(known, what="wins"))


def _study_in_terminal(races: Iterator[FinishedRace | Decision]) -> Iterator[FinishedRace | Decision]:
    known = None
    for latest in races:
        words, known = _known(latest)
        print(words, flush=True)
        yield latest
    if known is not None and known.rows:
        print("\n".join(aligned(verdict_rows(known))))


def _known(latest: FinishedRace | Decision) -> tuple[str, Verdicts]:
    """Return how far it is, with what is to be taken by now, and the verdicts so far."""
    if isinstance(latest, Decision):
        return f"{_progress(latest)}. {latest.sentence}", latest.verdicts
    left = f"{latest.left} left" if latest.left else "none left"
    lanes = f"{latest.lanes} lane{'s' * (latest.lanes > 1)}"
    return f"{latest.folder.name}: {lanes}, {left} at this stage.", verdicts(study_folder(latest))


def study_folder(finished: FinishedRace) -> Path:
    """Return the folder of the study that a race belongs to."""
    return finished.folder.parent.parent


def _table(words: str, known: Verdicts) -> Markup:
    head, *rows = verdict_rows(known)
    return table(head, rows, words) if known.rows else Markup("<p>{}</p>").format(words)


def _decision(known: Decision) -> Markup:
    """Return what to take, the table and the charts, the plan, and the answers at the end."""
    parts = [decision.headline(known), _table(_progress(known), known.verdicts)]
    if known.lanes:
        figures = list(decision.figures(known).values())
        image = Markup('<img src="data:image/png;base64,{}" width="{}" alt="{}">')
        picture = base64.b64encode(png_bytes(figures, width=CHART_WIDTH)).decode("ascii")
        parts.append(image.format(picture, CHART_WIDTH, known.sentence))
    plan = Markup("").join(map(Markup("<p>{}</p>").format, known.plan.words))
    return Markup("").join([*parts, folded("Plan", plan), decision.answers(known), decision.merging(known)])


def _progress(known: Decision) -> str:
    spent = f"{clock(known.seconds)} of {clock(60 * known.plan.minutes)}"
    return f"{known.stage}, {known.lanes} lanes, {spent}"


T = TypeVar("T")


@overload
def watch(running: Race) -> Iterator[Step]: ...


@overload
def watch(running: Iterator[T]) -> Iterator[T]: ...


def watch(running: Race | Iterator[Any]) -> Iterator[Any]:
    """Iterate over a race, a study or a decision, and show its results as a table that grows.

    Of a race a row is an evaluation, and a column a contender, with the mean over its seeds. Of a study or a decision
    a row is a method at its best rate so far, with the verdict on it. In a notebook the table grows in place, and
    beside it stand what to take and the charts of a decision, or at the end the win table of a study; elsewhere the
    table is printed.

    Args:
        running: a race at any step, or what `run_study` or `decide` returns.

    Raises:
        ValueError: it is nothing of this.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=2, eval_size=4)
        >>> for step in ov.watch(ov.race(config)):
        ...     pass  # doctest: +ELLIPSIS
        step          lora         olora
           0 ...
           2 ...
    """
    if isinstance(running, Race):
        return _in_notebook(running) if is_notebook() else _in_terminal(running)
    expect(running, Generator, "a Race, such as race(config), or what run_study or decide returns")
    return _study_in_notebook(running) if is_notebook() else _study_in_terminal(running)


def _in_notebook(race: Race) -> Iterator[Step]:
    growing, output, began = _Growing(race), LiveOutput(), time.monotonic()
    first = race.done

    def now() -> Bundle:
        left = (time.monotonic() - began) / max(1, race.done - first) * len(race)
        line = f"step {race.done} of {race.config.steps}"
        line += f", about {about(left)} left" if first < race.done < race.config.steps else ""
        return {"text/html": str(growing.html(line)), "text/plain": growing.text(line)}

    output.show(now, at_once=True)
    try:
        for step in race:
            output.show(now, at_once=growing.add(step))
            yield step
    finally:
        output.show(now, at_once=True)


def _in_terminal(race: Race) -> Iterator[Step]:
    growing = _Growing(race)
    print(growing.text())
    for step in race:
        if growing.add(step):
            print(growing.line(growing.rows[-1]), flush=True)
        yield step


class _Growing:
    """The table of a race: the base model, the evaluations before, and those that are added."""

    def __init__(self, race: Race) -> None:
        groups = seed_groups(race.config.lanes)
        self._lanes = [list(group.lanes) for group in groups]
        self.head = ["step", *labels([group.lane for group in groups])]
        self._with_accuracy = not race.task.plain_text
        self._caption = "Held-out loss, nats" + " (and accuracy)" * self._with_accuracy
        keep = [lane.keeps_function for lane in race.config.lanes]
        base = (race.baseline.loss[0], race.baseline.accuracy[0])
        self.rows = [self._row(0, *(held_out_at_start(keep, float(each)) for each in base))]
        for step in race.steps or ():
            self.add(step)

    def add(self, step: Step) -> bool:
        """Add a step; return whether it was evaluated, so that there is a new row."""
        if step.eval_loss is None or step.step <= int(self.rows[-1][0]):
            return False
        right = np.full(len(step.eval_loss), np.nan)
        accuracy = right if step.eval_accuracy is None else step.eval_accuracy
        self.rows.append(self._row(step.step, step.eval_loss, accuracy))
        return True

    def _row(self, number: int, loss: np.ndarray, accuracy: np.ndarray) -> list[str]:
        row = [str(number)]
        for lanes in self._lanes:
            right = f" ({percent(accuracy[lanes].mean())})" if self._with_accuracy else ""
            row.append(f"{nats(loss[lanes].mean())}{right}")
        return row

    def html(self, line: str) -> str:
        """Return the table, and a line on how far the race is."""
        return table(self.head, self.rows, f"{self._caption}: {line}")

    def text(self, line: str = "") -> str:
        """Return the table as lines."""
        above = [f"{self._caption}: {line}"] if line else []
        return "\n".join([*above, *map(self.line, [self.head, *self.rows])])

    def line(self, row: Sequence[str]) -> str:
        """Return a row as text."""
        wide = [max(4, len(self.head[0])), *(max(12, len(name)) for name in self.head[1:])]
        return "  ".join(f"{cell:>{width}}" for cell, width in zip(row, wide, strict=True))
