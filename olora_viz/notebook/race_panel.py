"""A race as a panel: set-up, controls, live charts, the table and the conclusions."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.lanes.adapters import Lanes
from olora_viz.notebook.pace import Pace
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.sections import SECTIONS
from olora_viz.notebook.setup import SetUp, set_up
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.races.tables import steps_frame
from olora_viz.views import html as fragments
from olora_viz.views.background_race import BackgroundRace
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.race_record import PAUSED, READY, RaceRecord, ready_race

if TYPE_CHECKING:
    import pandas as pd


RACE, CONTINUE = "▶ Race", "▶ Continue"
"""The first button, of a panel at rest and of a paused one."""


class RacePanel(Panel):
    """Choose a set-up, press Race and watch; use the results in the next cell.

    Rerunning the cell stops its previous race. Panels in different cells are independent.

    Parameters
    ----------
    config : the initial set-up; None for that of the page, with spectra and gradients measured.
    name : panels with the same name replace each other, wherever they were created; by default the
        cell identifies the panel.
    settings : fields of `RaceConfig` that replace those of `config`, as in ``RacePanel(steps=20)``.

    Raises
    ------
    ValueError : a setting is unknown or invalid.

    Examples
    --------
    >>> from olora_viz import Lane, RaceConfig
    >>> config = RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=2, eval_every=0)
    >>> panel = RacePanel(config)
    >>> panel.start()
    >>> panel.result().labels
    ('lora', 'olora')
    >>> panel
    RacePanel: finished, step 2 of 2
    """

    def __init__(
        self, config: RaceConfig | None = None, *, name: str | None = None, **settings: Any
    ) -> None:
        config = set_up(config, settings)
        self._job: BackgroundRace | None = None
        self._lock, self._pace, self._problem, self._remark = threading.RLock(), Pace(), "", ""
        self._setup = SetUp(config)
        self._buttons = {
            word: widgets.Button(description=label, layout=widgets.Layout(width="100px"))
            for word, label in (
                ("race", RACE), ("pause", "❚❚ Pause"), ("step", "Step"), ("stop", "■ Stop"),
            )
        }  # fmt: skip
        self._buttons["race"].button_style = "primary"
        self._status, self._story, self._table, self._answers = (widgets.HTML() for _ in range(4))
        self._record: RaceRecord = ready_race(config)
        """The race shown: one that has not started, or the newest one."""
        self._shown = ("", False)
        self._charts = [LiveFigure(figure) for figure in race_view(self._record).figures.values()]
        self._sections = [make() for make in SECTIONS]
        super().__init__(self._laid_out(), name)
        for word, button in self._buttons.items():
            button.on_click(self._pressed(getattr(self, word if word != "race" else "_race")))
        stopped = [panel for panel in self.replaced if panel.was_busy]
        if stopped:
            self._remark = f"the earlier race of this cell was stopped: {stopped[0]!r}"
        self._show(at_once=True)

    def _laid_out(self) -> list[widgets.Widget]:
        """Lay out the bar, the set-up on the left, and the race next to it."""
        grow = widgets.Layout(flex="1 1 300px", min_width="0", overflow="hidden")
        for chart in self._charts[1:]:
            chart.layout = grow
        bar = widgets.HBox(
            [*self._buttons.values(), self._status],
            layout=widgets.Layout(flex_flow="row wrap", grid_gap="4px"),
        )
        words = widgets.Layout(flex="1 1 300px", min_width="0")
        self._story.layout = self._table.layout = words
        middle = widgets.VBox(
            [
                self._charts[0],
                widgets.HBox(self._charts[1:], layout=widgets.Layout(flex_flow="row wrap")),
                widgets.HBox(
                    [self._table, self._story],
                    layout=widgets.Layout(flex_flow="row wrap", grid_gap="24px"),
                ),
                self._answers,
                *self._sections,
            ],
            layout=widgets.Layout(flex="1 1 480px", min_width="0"),
        )
        body = widgets.HBox(
            [self._setup, middle], layout=widgets.Layout(flex_flow="row wrap", grid_gap="18px")
        )
        return [bar, body]

    # For use in cells ------------------------------------------------------------------------

    def start(self) -> None:
        """Start a race with the set-up of the controls.

        Raises
        ------
        ValueError : the set-up is invalid, or a race is running.
        """
        self._begin()

    def pause(self) -> None:
        """Pause after the current step; `resume` continues bitwise."""
        if self._job:
            self._job.pause()

    def resume(self) -> None:
        """Resume after a pause."""
        if self._job:
            self._job.unpause()

    def step(self) -> None:
        """Run one step and pause; start a race if there is none."""
        if self._job is None or self._job.complete:
            self._begin(goal=1)
        else:
            self._job.step()

    def stop(self) -> None:
        """Stop the race after the current step; its lanes remain available."""
        if self._job:
            self._job.stop()

    def result(self) -> Lanes:
        """Wait for the end of the race, or until it is paused, and return its lanes.

        They are on `panel.race.model`: for answers, export, spectra and so on. An interrupt of the
        kernel while it waits pauses the race.

        Raises
        ------
        ValueError : there is no race, or it failed.
        """
        job = self._job
        if job is None:
            raise ValueError("no race has started: press Race, or call start()")
        try:
            job.wait_while_going()
        except KeyboardInterrupt:
            job.pause("the kernel was interrupted: press Continue to resume, Stop to end")
            raise KeyboardInterrupt("the race pauses: panel.resume() continues it") from None
        if job.racing is None:
            why = job.note or "it was stopped too early"
            raise ValueError(f"the race has no lanes: {why}") from job.error
        return job.racing.lanes

    @property
    def config(self) -> RaceConfig:
        """The set-up of the race, or of the controls if there is none."""
        if self.race is not None:
            return self.race.config
        return self._job.config if self._job else self._setup.config

    @property
    def race(self) -> Race | None:
        """The race itself; None before it is loaded."""
        return self._job.racing if self._job else None

    @property
    def history(self) -> list[Step]:
        """The steps so far, for `ov.plot_race(panel.history, panel.config)`."""
        return list(self._job.steps) if self._job else []

    @property
    def steps(self) -> pd.DataFrame:
        """The steps so far as a table, see `steps_frame`; also available during the race."""
        return steps_frame(self.history, self.config)

    @property
    def state(self) -> str:
        """One of ready, loading, racing, paused, stopped, finished, diverged and failed."""
        return self._job.state if self._job else READY

    @property
    def is_busy(self) -> bool:
        """Whether its race has not ended."""
        return bool(self._job and not self._job.complete)

    def end(self, why: str) -> None:
        """Stop the race, release its model, and close the panel."""
        if self._job:
            self._job.stop(why)
            self._job.wait(10)
            self._job.racing = None
        for widget in (*self._charts, *self._sections, *self._buttons.values(), self):
            widget.close()

    # What the panel does -----------------------------------------------------------------------

    def _race(self) -> None:
        if self._job and not self._job.complete:
            self._job.unpause()
        else:
            self._begin()

    def _begin(self, goal: float = float("inf")) -> None:
        with self._lock:
            if self._job and not self._job.complete:
                raise ValueError("this panel already has a running race: stop it first")
            config = self._setup.config
            before, self._problem, self._remark = self._job, "", ""
            name, styles = secrets.token_hex(4), ready_race(config).styles
            job = BackgroundRace(name, config, None, styles, goal=goal, listen=self._show)
            self._job = self._record = job
            if before:
                before.racing = None  # its model need not stay in memory with the next one
            job.start()

    def _pressed(self, act: Callable[[], None]) -> Callable[[Any], None]:
        """Return the handler of a button, which shows errors as a sentence in the panel."""

        def press(_: Any) -> None:
            self._problem = ""
            try:
                act()
            except ValueError as error:
                self._problem = str(error)
            self._show(at_once=True)

        return press

    def _show(self, *, at_once: bool = False) -> None:
        """Show new results; called in the race's thread after every change."""
        record = self._record
        now = (record.state, record.complete)
        if now == self._shown and record.steps and not at_once and not self._pace.is_due():
            return
        began = time.monotonic()
        with self._lock:
            self._shown = now
            view = race_view(record)
            for chart, figure in zip(self._charts, view.figures.values(), strict=True):
                chart.draw(figure)
            self._say(view)
            for section in self._sections:
                section.show(record, view)
            if view.step and (view.complete or view.state == PAUSED):
                keep = self._keep_still if view.complete else self._keep_soon
                keep(list(view.figures.values()), f"{self._words()}\n{view.text}")
        self._pace.took(began)

    def _say(self, view: RaceView) -> None:
        """Update the text and the buttons."""
        for widget, text in (
            (self._status, self._line(view)),
            (self._table, view.results),
            (self._story, view.story),
            (self._answers, view.answers if view.made else ""),
        ):
            if widget.value != text:
                widget.value = text
        can = view.commands
        race = self._buttons["race"]
        race.description = CONTINUE if "resume" in can else RACE
        wanted = {
            "race": bool(can & {"start", "resume"}), "pause": "pause" in can,
            "step": "step" in can, "stop": "stop" in can,
        }  # fmt: skip
        for word, able in wanted.items():
            if self._buttons[word].disabled == able:
                self._buttons[word].disabled = not able

    def _line(self, view: RaceView) -> str:
        """Return the state, or why nothing was started, which is no failure of a race."""
        if self._problem:
            return fragments.problem(self._problem)
        if self._remark:
            return fragments.status(self.state, self._remark)
        job = self._job
        if job is not None and isinstance(job.error, ValueError) and not job.steps:
            return fragments.problem(job.note)
        return view.status

    def _words(self) -> str:
        done = len(self._record.steps)
        where = f", step {done} of {self._record.config.steps}" if self._job else ""
        return f"RacePanel: {self.state}{where}"
