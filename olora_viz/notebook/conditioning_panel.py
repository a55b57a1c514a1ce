"""Slope and curvature of every start as a panel."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import Any

import ipywidgets as widgets

from olora_viz.figures import theme
from olora_viz.figures.conditioning import comparison_figure, ntk_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.machine.numbers import percent
from olora_viz.measures.conditioning import Conditioning, conditioning
from olora_viz.notebook.pace import Pace
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import SetUp
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.races.state import FINISHED, STOPPED
from olora_viz.views import conditioning as conditioning_words
from olora_viz.views import html as fragments
from olora_viz.views.background import StoppedEarlyError
from olora_viz.views.race_record import FAILED, LOADING, READY


class ConditioningPanel(Panel):
    """Measure the gradient norm and curvature of every lane at initialization.

    Lanes that differ only in their rate are measured once.

    Parameters
    ----------
    config : the set-up that it begins with; ``None``: the page's.
    name : see `RacePanel`.

    Examples
    --------
    >>> panel = ConditioningPanel()
    >>> panel
    ConditioningPanel: ready
    """

    def __init__(self, config: RaceConfig | None = None, *, name: str | None = None) -> None:
        self._setup = SetUp((config or RaceConfig()).of_starts())
        self.found: Conditioning | None = None
        """What was measured, lane by lane of `config`; None until then."""
        self.config: RaceConfig = self._setup.config
        """Whose starts were measured."""
        self.state = READY
        """In a word: ready, loading, measuring, finished, stopped or failed."""
        self._note = ""
        self._thread: threading.Thread | None = None
        self._stopping, self._pace = threading.Event(), Pace()
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
        self._show()

    def start(self) -> None:
        """Measure the starts of the set-up that the controls show, in a thread.

        Raises
        ------
        ValueError : the set-up is invalid, or a measurement is running.
        """
        if self.is_busy:
            raise ValueError("this panel is already measuring: stop it first")
        # The held-out examples say nothing about the start.
        self.config = replace(self._setup.config.of_starts(), eval_size=1)
        self.found, self.state, self._note = None, LOADING, ""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="olora_viz measuring", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the measurement after the current product."""
        self._stopping.set()

    def result(self) -> Conditioning:
        """Wait for the measurement and return it.

        Raises
        ------
        ValueError : there is none, it failed, or it was stopped.
        """
        if self._thread is None:
            raise ValueError("nothing was measured: press Measure the start, or call start()")
        self._thread.join()
        if self.found is None:
            raise ValueError(f"nothing was measured: {self._note or 'it was stopped'}")
        return self.found

    @property
    def is_busy(self) -> bool:
        """Whether it is measuring."""
        return bool(self._thread and self._thread.is_alive())

    def end(self, why: str) -> None:
        """Stop measuring, and close the panel."""
        self._note = why
        self.stop()
        if self._thread:
            self._thread.join(10)
        for widget in (*self._charts, self):
            widget.close()

    def _run(self) -> None:
        try:
            racing = race(self.config, progress=self._tell)
            self.state = "measuring"
            self.found = conditioning(racing.lanes, racing.batch(1), progress=self._tell)
            self.state, self._note = FINISHED, ""
        except StoppedEarlyError:
            self.state, self._note = STOPPED, ""
        except ValueError as error:
            self.state, self._note = FAILED, str(error)
        except Exception as error:
            self.state = FAILED
            self._note = f"the measurement failed with {type(error).__name__}: {error}"
        self._show()
        if self.found is not None:
            figures = [chart.figure for chart in self._charts]
            self._keep_still(figures, f"{self._words()}\n{self._told()}")

    def _tell(self, part: float, what: str) -> None:
        if self._stopping.is_set():
            raise StoppedEarlyError
        self._note = f"{percent(part)} {what}"
        if self._pace.is_due():
            self._show()

    def _pressed(self, _: Any) -> None:
        try:
            self.start()
        except ValueError as error:
            self.state, self._note = FAILED, str(error)
        self._show()

    def _looks(self) -> tuple[theme.LaneStyle, ...]:
        lanes = self.config.lanes
        return theme.lane_styles([replace(x, lr=1.0) for x in lanes], [x.label for x in lanes])

    def _figures(self) -> list[Figure]:
        styles, run = self._looks(), str(id(self.found))
        return [
            comparison_figure(styles, self.found, run=run),
            ntk_figure(styles, self.found, run=run),
        ]

    def _show(self) -> None:
        began = time.monotonic()
        for chart, figure in zip(self._charts, self._figures(), strict=True):
            chart.draw(figure)
        self._status.value = fragments.status(self.state, *([self._note] if self._note else []))
        going = self.state in (LOADING, "measuring")
        self._measure.disabled, self._stop.disabled = going, not going
        styles = self._looks()
        if self.found is None:
            self._story.value = conditioning_words.story_before()
            self._numbers.value = conditioning_words.numbers_before()
        else:
            told = conditioning_words.tell(styles, self.found)
            foot = "Measured on the first batch, one seed of the data: other batches differ."
            self._story.value = fragments.sentences(told, foot)
            self._numbers.value = conditioning_words.numbers(styles, self.found)
        self._pace.took(began)

    def _told(self) -> str:
        assert self.found is not None
        told = " ".join(map(str, conditioning_words.tell(self._looks(), self.found)))
        return re.sub(r"<[^>]+>", "", told)

    def _words(self) -> str:
        return f"ConditioningPanel: {self.state}"
