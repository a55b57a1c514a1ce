"""A race as a panel: set-up, controls, live charts, the table and what it says."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.jupyter_figure import LiveFigure
from olora_viz.lanes.adapters import Lanes
from olora_viz.notebook.background_race import BackgroundRace, Pace
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import SetUp
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.races.steps_frame import steps_frame
from olora_viz.studies import story
from olora_viz.views import html as fragments

if TYPE_CHECKING:
    import pandas as pd


class RacePanel(Panel):
    """Choose, press Race, watch; and go on with the results in the next cell.

    Running its cell again ends the race that its panel had; two panels in two cells race side by
    side and know nothing of each other.

    Parameters
    ----------
    config : the set-up that it begins with; ``None``: the page's.
    name : panels of one name replace each other, wherever they were made; by default the cell
        says which panel it is.

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

    def __init__(self, config: RaceConfig | None = None, *, name: str | None = None) -> None:
        config = config or RaceConfig()
        self._job: BackgroundRace | None = None
        self._lock, self._pace, self._problem = threading.RLock(), Pace(), ""
        self._setup = SetUp(config)
        self._buttons = {
            word: widgets.Button(description=label, layout=widgets.Layout(width="92px"))
            for word, label in (
                ("race", "▶ Race"), ("pause", "❚❚ Pause"), ("step", "Step"), ("stop", "■ Stop"),
            )
        }  # fmt: skip
        self._buttons["race"].button_style = "primary"
        self._status, self._story, self._table = (widgets.HTML() for _ in range(3))
        self._shown = (
            config,
            theme.lane_styles(config.lanes, [lane.label for lane in config.lanes]),
        )
        self._charts = [LiveFigure(figure) for figure in self._figures([])]
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
            ],
            layout=widgets.Layout(flex="1 1 480px", min_width="0"),
        )
        body = widgets.HBox(
            [self._setup, middle], layout=widgets.Layout(flex_flow="row wrap", grid_gap="18px")
        )
        super().__init__([bar, body], name)
        for word, button in self._buttons.items():
            button.on_click(self._pressed(getattr(self, word if word != "race" else "_race")))
        stopped = [panel for panel in self.replaced if panel.was_busy]
        if stopped:
            self._problem = f"The earlier race of this cell was stopped: {stopped[0]!r}."
        self._show(False)

    # What a cell does ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a race with the set-up that the controls show.

        Raises
        ------
        ValueError : the set-up is wrong, or a race is going on.
        """
        self._begin(paused=False)

    def pause(self) -> None:
        """Stand still after the step that is being made; `resume` goes on bitwise."""
        if self._job:
            self._job.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        if self._job:
            self._job.go_on()

    def step(self) -> None:
        """Make one step and pause; the first one where there is no race."""
        if self._job is None or self._job.ended:
            self._begin(paused=True)
        else:
            self._job.step()

    def stop(self) -> None:
        """End the race after the step that is being made; the lanes stay."""
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
            raise ValueError("no race has begun: press Race, or call start()")
        try:
            job.wait_while_racing()
        except KeyboardInterrupt:
            job.note = "the kernel was interrupted: Race goes on, Stop ends it"
            job.pause()
            raise
        if job.race is None:
            raise ValueError(f"the race has no lanes: {job.note or 'it was stopped too early'}")
        return job.race.lanes

    @property
    def config(self) -> RaceConfig:
        """The set-up of the race, or the one that the controls show where there is none."""
        return self._job.config if self._job else self._setup.config

    @property
    def race(self) -> Race | None:
        """The race itself; None before it is loaded."""
        return self._job.race if self._job else None

    @property
    def history(self) -> list[Step]:
        """The steps so far, for `ov.plot_race(panel.history, panel.config)`."""
        return list(self._job.steps) if self._job else []

    @property
    def steps(self) -> pd.DataFrame:
        """The steps so far as a table, see `steps_frame`; also while the race goes on."""
        return steps_frame(self.history, self.config)

    @property
    def state(self) -> str:
        """In a word: ready, loading, racing, paused, stopped, finished, diverged or failed."""
        return self._job.state if self._job else "ready"

    @property
    def is_busy(self) -> bool:
        """Whether its race has not ended."""
        return bool(self._job and not self._job.ended)

    def end(self, why: str) -> None:
        """Stop the race, let go of its model, and leave the page."""
        if self._job:
            self._job.stop(why)
            self._job.wait(10)
            self._job.race = None
        for widget in (*self._charts, *self._buttons.values(), self):
            widget.close()

    # What the panel does -----------------------------------------------------------------------

    def _race(self) -> None:
        if self._job and not self._job.ended:
            self._job.go_on()
        else:
            self._begin(paused=False)

    def _begin(self, *, paused: bool) -> None:
        with self._lock:
            if self._job and not self._job.ended:
                raise ValueError("a race is going on in this panel: stop it before the next one")
            config = self._setup.config
            before, self._problem = self._job, ""
            self._job = BackgroundRace(config, self._show)
            self._shown = (config, theme.lane_styles(config.lanes, [x.label for x in config.lanes]))
            if before:
                before.race = None  # its model need not be kept beside the next one's
            self._job.start(paused=paused)

    def _pressed(self, act: Callable[[], None]) -> Callable[[Any], None]:
        """Return what a button does: what goes wrong is a sentence in the panel."""

        def press(_: Any) -> None:
            self._problem = ""
            try:
                act()
            except ValueError as error:
                self._problem = str(error)
            self._show(False)

        return press

    def _show(self, still: bool) -> None:
        """Show what is new; the race's thread calls it after every step."""
        job = self._job
        if job and not still and job.state == "racing" and job.steps and not self._pace.is_due():
            return
        began = time.monotonic()
        with self._lock:
            steps = self.history
            drawn = self._figures(steps)
            for chart, figure in zip(self._charts, drawn, strict=True):
                chart.draw(figure)
            self._say(steps)
            if still and steps:
                keep = self._keep_soon if self.state == "paused" else self._keep_still
                keep(drawn, self._text(steps))
        self._pace.took(began)

    def _figures(self, steps: list[Step]) -> list[Figure]:
        (config, styles), job = self._shown, self._job
        racing = job.race if job else None
        base = racing.baseline if racing else None
        common: dict[str, Any] = {"total": config.steps, "run": str(id(job))}
        plain_text = bool(racing and racing.task.plain_text)
        return [
            figures.loss_figure(
                styles, steps, start_loss=float(base.loss[0]) if base else None,
                plain_text=plain_text, **common,
            ),
            figures.gradient_figure(styles, steps, **common),
            figures.accuracy_figure(
                styles, steps, start_accuracy=float(base.accuracy[0]) if base else None,
                plain_text=plain_text, **common,
            ),
        ]  # fmt: skip

    def _say(self, steps: list[Step]) -> None:
        """Bring the words and the buttons up to date."""
        (config, styles), state = self._shown, self.state
        note = self._problem or (self._job.note if self._job else "")
        parts = []
        if steps:
            last = steps[-1]
            parts = [f"<b>{len(steps)}</b> / {config.steps}", f"{last.seconds:.1f} s"]
        if note:
            parts.append(fragments.escape(note))
        shown = "failed" if self._problem else state
        self._set(self._status, fragments.status(shown, *parts))
        at = max((step.step for step in steps if step.eval_loss is not None), default=0)
        rows = story.standings(steps, len(styles))
        racing = self.race
        base = racing.baseline if racing else None
        start = (float(base.loss[0]), float(base.accuracy[0])) if base else (None, None)
        plain_text = bool(racing and racing.task.plain_text)
        self._set(self._table, fragments.results(styles, rows, at, start, plain_text))
        if steps:
            told = story.tell(config.lanes, [style.label for style in styles], steps)
            self._set(self._story, fragments.sentences(told, story.caveat(config.lanes)))
        else:
            self._set(self._story, fragments.story_before())
        going = state in ("loading", "racing", "paused")
        wanted = {
            "race": state not in ("loading", "racing"), "pause": state == "racing",
            "step": state not in ("loading", "racing"), "stop": going,
        }  # fmt: skip
        for word, able in wanted.items():
            if self._buttons[word].disabled == able:
                self._buttons[word].disabled = not able

    @staticmethod
    def _set(widget: widgets.HTML, text: str) -> None:
        if widget.value != text:
            widget.value = text

    def _words(self) -> str:
        done = len(self._job.steps) if self._job else 0
        where = f", step {done} of {self._shown[0].steps}" if self._job else ""
        return f"RacePanel: {self.state}{where}"

    def _text(self, steps: list[Step]) -> str:
        """Return the last state in words, for readers of text."""
        config, styles = self._shown
        rows = story.standings(steps, len(styles))
        lines = [
            f"{styles[row.lane].label}: "
            + (f"out at step {row.out_at}" if row.out_at else f"held-out loss {row.loss:.3g}")
            for row in rows
            if row.out_at or math.isfinite(row.loss)
        ]
        told = " ".join(
            map(str, story.tell(config.lanes, [style.label for style in styles], steps))
        )
        return "\n".join([self._words(), *lines, told])
