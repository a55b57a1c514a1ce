"""A panel with the gradient norm and curvature of every start."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from olora_viz.figures.conditioning import comparison_figure, ntk_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.figures.theme import LaneStyle, start_styles
from olora_viz.machine.numbers import percent
from olora_viz.measures.conditioning import Conditioning
from olora_viz.notebook.pace import Pace
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import SetUp
from olora_viz.races.config import RaceConfig
from olora_viz.views import conditioning as conditioning_words
from olora_viz.views import html as fragments
from olora_viz.views.background_measurement import (
    BackgroundMeasurement,
    start_config,
)
from olora_viz.views.race_record import READY


class ConditioningPanel(Panel):
    """Measure the gradient norm and curvature of every lane at initialization.

    Lanes that differ only in their rate are measured once.

    Parameters
    ----------
    config : the initial set-up; None for that of the page.
    name : see `RacePanel`.

    Examples
    --------
    >>> panel = ConditioningPanel()
    >>> panel
    ConditioningPanel: ready
    """

    def __init__(self, config: RaceConfig | None = None, *, name: str | None = None) -> None:
        self._first = start_config(config or RaceConfig())
        self._setup = SetUp(self._first)
        self._work: BackgroundMeasurement | None = None
        self._shown, self._pace, self._problem = "", Pace(), ""
        wide = widgets.Layout(width="140px")
        self._measure = widgets.Button(
            description="Measure the start", button_style="primary", layout=wide
        )
        self._stop = widgets.Button(description="■ Stop", layout=widgets.Layout(width="84px"))
        self._status, self._story, self._numbers = (widgets.HTML() for _ in range(3))
        self._charts = [LiveFigure(figure) for figure in self._figures()]
        grow = widgets.Layout(min_width="0", overflow="hidden")
        for chart in self._charts:
            chart.layout = grow
        row = widgets.Layout(flex_flow="row wrap", grid_gap="18px")
        bar = widgets.HBox([self._measure, self._stop, self._status], layout=row)
        middle = widgets.VBox(
            [*self._charts, self._story, self._numbers],
            layout=widgets.Layout(flex="1 1 480px", min_width="0"),
        )
        super().__init__([bar, widgets.HBox([self._setup, middle], layout=row)], name)
        self._measure.on_click(self._pressed)
        self._stop.on_click(lambda _: self.stop())
        self._show(at_once=True)

    def start(self) -> None:
        """Measure the starts of the set-up that the controls show, in a thread.

        Raises
        ------
        ValueError : the set-up is invalid, or a measurement is running.
        """
        if self.is_busy:
            raise ValueError("this panel is already measuring: stop it first")
        config, self._problem = start_config(self._setup.config), ""
        self._work = BackgroundMeasurement(
            secrets.token_hex(4), config, None, start_styles(config.lanes), listen=self._show
        )
        self._work.start()

    def stop(self) -> None:
        """Stop the measurement after the current product."""
        if self._work:
            self._work.stop()

    def result(self) -> Conditioning:
        """Wait for the measurement and return it.

        Raises
        ------
        ValueError : there is none, it failed, or it was stopped.
        """
        work = self._work
        if work is None:
            raise ValueError("nothing was measured: press Measure the start, or call start()")
        work.wait()
        if work.found is None:
            raise ValueError(
                f"nothing was measured: {work.note or 'it was stopped'}"
            ) from work.error
        return work.found

    @property
    def found(self) -> Conditioning | None:
        """The measurement of the lanes of `config`; None before it is made."""
        return self._work.found if self._work else None

    @property
    def config(self) -> RaceConfig:
        """The set-up that was measured; before a measurement, the panel's initial one."""
        return self._work.config if self._work else self._first

    @property
    def state(self) -> str:
        """One of ready, loading, measuring, finished, stopped and failed."""
        return self._work.state if self._work else READY

    @property
    def is_busy(self) -> bool:
        """Whether it is measuring."""
        return bool(self._work and not self._work.complete)

    def end(self, why: str) -> None:
        """Stop measuring, and close the panel."""
        if self._work:
            self._work.stop(why)
            self._work.wait(10)
        for widget in (*self._charts, self):
            widget.close()

    def _pressed(self, _: Any) -> None:
        try:
            self.start()
        except ValueError as error:
            self._problem = str(error)
        self._show(at_once=True)

    def _looks(self) -> tuple[LaneStyle, ...]:
        return start_styles(self.config.lanes)

    def _figures(self) -> list[Figure]:
        styles, run = self._looks(), str(id(self.found))
        return [
            comparison_figure(styles, self.found, run=run),
            ntk_figure(styles, self.found, run=run),
        ]

    def _show(self, *, at_once: bool = False) -> None:
        """Show new results; called in the measurement's thread after every change."""
        work, now = self._work, f"{self.state} {self.is_busy}"
        if now == self._shown and not at_once and not self._pace.is_due():
            return
        began, self._shown = time.monotonic(), now
        for chart, figure in zip(self._charts, self._figures(), strict=True):
            chart.draw(figure)
        self._status.value = self._line()
        self._measure.disabled, self._stop.disabled = self.is_busy, not self.is_busy
        styles = self._looks()
        if self.found is None:
            self._story.value = conditioning_words.story_before()
            self._numbers.value = conditioning_words.numbers_before()
        else:
            told = conditioning_words.tell(styles, self.found)
            foot = "Measured on the first batch, one seed of the data: other batches differ."
            self._story.value = fragments.sentences(told, foot)
            self._numbers.value = conditioning_words.numbers(styles, self.found)
        if work and work.complete and work.found is not None:
            figures = [chart.figure for chart in self._charts]
            self._keep_still(figures, f"{self._words()}\n{self._told()}")
        self._pace.took(began)

    def _line(self) -> Markup:
        """Return the state and the progress."""
        work = self._work
        if self._problem:
            return fragments.problem(self._problem)
        if work is None or not work.note:
            return fragments.status(self.state)
        part = "" if work.complete else f"{percent(work.part)} "
        return fragments.status(work.state, f"{part}{work.note}")

    def _told(self) -> str:
        assert self.found is not None
        told = " ".join(map(str, conditioning_words.tell(self._looks(), self.found)))
        return re.sub(r"<[^>]+>", "", told)

    def _words(self) -> str:
        return f"ConditioningPanel: {self.state}"
