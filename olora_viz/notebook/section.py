"""A section of a race panel: its parts, what the reader chose in it, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from olora_viz.figures.layout import Figure
from olora_viz.notebook import tree
from olora_viz.notebook.tree import Node
from olora_viz.views.race import RaceView
from olora_viz.views.race_record import RaceRecord

Tell = Callable[[Mapping[str, Any]], None]
"""Shows values of the panel's parts at once, by their names."""

Drawn = tuple[dict[str, Any], Sequence[Figure]]
"""What its parts show, by their names within the section, and its charts."""


class Section:
    """A section that the reader opens; hidden if the race has nothing to show in it."""

    NEWS: ClassVar[str] = ""
    """Its name, and its key in `RaceView.news`."""
    TITLE: ClassVar[str] = ""
    WISHES: ClassVar[Mapping[str, Any]] = {}
    """What is shown at first, by the names of its controls."""

    def __init__(self) -> None:
        self.is_open = False
        self.wishes = dict(self.WISHES)
        """What the reader chose, which the current race may not have."""
        self._drawn: tuple[Any, ...] = ()

    def tree(self) -> Node:
        """Return its parts."""
        charts = tree.charts(self.part("charts"))
        return tree.section(self.NEWS, self.TITLE, *self.controls(), charts, *self.after())

    def part(self, name: str) -> str:
        """Return the name of one of its parts in the whole panel."""
        return f"{self.NEWS}.{name}"

    def control(self, kind: str, name: str, label: str) -> Node:
        """Return a control, see `tree.control`."""
        return tree.control(kind, self.part(name), label)

    def controls(self) -> list[Node]:
        """Return the parts above its charts."""
        return []

    def after(self) -> list[Node]:
        """Return the parts below its charts."""
        return []

    def news(self, record: RaceRecord, view: RaceView) -> object:
        """Return a value that changes when there is more to show; 0 for nothing."""
        return view.news[self.NEWS]

    def draw(self, record: RaceRecord, view: RaceView) -> Drawn:
        """Return what it shows of a race."""
        raise NotImplementedError

    def choose(self, name: str, value: Any) -> None:
        """Take a choice of the reader."""
        if name in self.wishes:
            self.wishes[name] = value

    def press(self, name: str, record: RaceRecord, view: RaceView, tell: Tell) -> None:
        """Do what one of its buttons says."""

    def picked(self, name: str) -> None:
        """Handle a click on a map's cell, given the name of its layer."""

    def show(self, record: RaceRecord, view: RaceView) -> tuple[dict[str, Any], dict[str, Figure]]:
        """Return the values and charts of its parts; of a closed section only that it is closed."""
        news = self.news(record, view)
        values: dict[str, Any] = {self.NEWS: {"hidden": not news, "open": self.is_open}}
        now = (record.name, news, dict(self.wishes))
        if not news or not self.is_open or now == self._drawn:
            return values, {}
        self._drawn = now
        its, figures = self.draw(record, view)
        charts = {self.part(str(i)): figure for i, figure in enumerate(figures)}
        values |= {self.part(name): value for name, value in its.items()}
        return values | {self.part("charts"): list(charts)}, charts
