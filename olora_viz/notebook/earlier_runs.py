"""The races of this kernel, laid over each other."""

from __future__ import annotations

import threading
from typing import ClassVar

from olora_viz.figures.comparison import Run, overlay_figure
from olora_viz.notebook import tree
from olora_viz.notebook.section import Drawn, Section
from olora_viz.views.earlier_runs import OVERLAID, differences, run_words
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import RaceRecord, RaceSnapshot, snapshot

MOST = 12
"""Maximum number of runs that are kept, without their models; the oldest ones are dropped."""

_lock = threading.Lock()
_runs: dict[str, tuple[str, RaceSnapshot]] = {}
_made: dict[str, int] = {}


def keep(record: RaceRecord) -> None:
    """Keep a race that has ended, for the panels of this kernel."""
    with _lock:
        if record.name in _runs or not record.steps:
            return
        words = f"{record.config.model}, {record.config.task.replace('-', ' ')}"[-34:]
        _made[words] = _made.get(words, 0) + 1
        _runs[record.name] = f"{words} {_made[words]}", snapshot(record)
        while len(_runs) > MOST:
            del _runs[next(iter(_runs))]


def kept_runs() -> dict[str, tuple[str, RaceSnapshot]]:
    """Return the races that are kept and their names, by `RaceRecord.name`, the newest first."""
    with _lock:
        return dict(reversed(_runs.items()))


class EarlierRunsSection(Section):
    """Earlier races of this kernel, to lay over this one."""

    NEWS: ClassVar[str] = "runs"
    TITLE: ClassVar[str] = "Earlier runs of this kernel, laid over each other"
    WISHES: ClassVar = {"overlaid": ()}

    def controls(self) -> list[tree.Node]:
        """Return the boxes to check."""
        return [self.control("checks", "overlaid", "Lay over this race")]

    def after(self) -> list[tree.Node]:
        """Return the place of the differences."""
        return [tree.html(self.part("differences"))]

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return the other runs, and how far this one is."""
        others = tuple(name for name in kept_runs() if name != record.name)
        return (others, view.made) if others else 0

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Draw the checked runs and this one, and say what differs."""
        runs = kept_runs()
        others = {name: its for name, its in runs.items() if name != record.name}
        asked = self.wishes["overlaid"]
        wanted = set(asked) if isinstance(asked, list | tuple) else set()
        chosen = [name for name in others if name in wanted][: OVERLAID - 1]
        options = [[title, name, run_words(run)] for name, (title, run) in others.items()]
        values = {"overlaid": {"value": chosen, "options": options}, "differences": ""}
        if not chosen:
            return values, ()
        mine = runs.get(record.name, ("this race", record))
        told = [*([mine] if view.made else []), *(others[name] for name in chosen)]
        drawn = [Run(title, run.styles, list(run.steps), run.config.steps) for title, run in told]
        values["differences"] = differences([(title, run.config) for title, run in told])
        revision = " ".join([record.name, *chosen])
        return values, (overlay_figure(drawn, revision=revision),)
