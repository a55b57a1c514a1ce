"""The panel of a race."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import PAUSED, RaceRecord, ready_race
from olora_viz.figures.layout import Figure
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.lane import MAX_LANES
from olora_viz.notebook.panel import ConfiguredPanel
from olora_viz.notebook.sections import SECTIONS, remember
from olora_viz.notebook.setup import (
    KEEP_CONTROL,
    Node,
    StepTrait,
    bar,
    box,
    button,
    card,
    charts,
    controls,
    html,
    more_settings,
    set_up,
)
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import check_pair, task_of
from olora_viz.races.fair_rate import same_and_fair
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.races.tables import steps_frame
from olora_viz.tasks.files import Own
from olora_viz.views import html as fragments
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.results import NEXT_STEPS, NextStep
from olora_viz.views.runs import setup_words, unraced

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


RACE, CONTINUE = "▶ Race", "▶ Continue"
"""The first button, of a panel at rest and of a paused one."""

FAIR_HINT = (
    "Is it the start, or only the rate? Every start twice: at the rate of the first LoRA lane, and "
    "at its fair rate, which the race finds from the curvature."
)


def next_button(step: NextStep) -> str:
    """Return the name of the button of a next step."""
    return f"next.{step.name}"


def figures_of(view: RaceView) -> dict[str, Figure]:
    """Return the charts that are always shown, accuracy first."""
    return {"accuracy": view.accuracy, "loss": view.loss, "gradient": view.gradient}


def values_of(view: RaceView) -> dict[str, Any]:
    """Return what the texts and buttons show."""
    can = view.commands
    return {
        **{name: [name] for name in figures_of(view)},
        **{name: getattr(view, name) for name in ("verdict", "results", "story", "answers")},
        "fair": {},
        "race": {"label": CONTINUE if "resume" in can else RACE, "disabled": not can & {"start", "resume"}},
        **{word: {"disabled": word not in can} for word in ("pause", "step", "stop")},
        **{next_button(step): {"hidden": step.name != view.next_step} for step in NEXT_STEPS},
    }


class RacePanel(ConfiguredPanel):
    """Choose a set-up, press Race and watch; use the results in the next cell.

    Rerunning the cell stops its previous race. Panels in different cells are independent. Its traits `state`, `step`
    and `config` may be observed and linked; only `config` may be set.

    Args:
        config: the initial set-up; None for that of the page, with spectra, gradients and what is forgotten measured.
        model, tokenizer, task: raced in place of the set-up's, as in `ov.race`; checked here. The controls name them,
            and another name there loads another one.
        name: panels with the same name replace each other, wherever they were created; by default the cell identifies
            the panel.
        settings: fields of `RaceConfig` that replace those of `config`, as in ``RacePanel(steps=20)``.

    Raises:
        ValueError: a setting is unknown or invalid, a model has no tokenizer, or a task no examples.

    Examples:
        >>> import olora_viz as ov
        >>> from olora_viz.notebook import RacePanel
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> panel = RacePanel(ov.RaceConfig(lanes=lanes, steps=2, eval_size=4))
        >>> panel.start()
        >>> panel.result().labels
        ('lora', 'olora')
        >>> panel, panel.step
        (RacePanel: finished, step 2 of 2, 2)
    """

    step = StepTrait()
    """The number of steps so far; ``panel.step()`` runs one more and pauses."""

    def __init__(
        self,
        config: RaceConfig | None = None,
        *,
        model: PreTrainedModel | str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        task: Own | str | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        named = {"model": model, "task": task}
        settings |= {key: value for key, value in named.items() if isinstance(value, str)}
        config = set_up(config, settings)
        self._own: dict[str, tuple[str, dict[str, Any]]] = {}
        """What is raced in place of a named model or task, with its name in the controls."""
        check_pair(None if isinstance(model, str) else model, tokenizer)
        if model is not None and not isinstance(model, str):
            self._own["model"] = type(model).__name__, {"model": model, "tokenizer": tokenizer}
        if task is not None and not isinstance(task, str):
            own = task_of(config, task)
            self._own["task"] = own.name, {"task": own}
        names: dict[str, Any] = {key: shown for key, (shown, _) in self._own.items()}
        config = replace(config, **names)
        self._job: BackgroundRace | None = None  # pyrefly: ignore[bad-override-mutable-attribute]
        self._remark, self._more_open = "", False
        self._ready = ready_race(config)
        self._sections = {section.NEWS: section for section in (make() for make in SECTIONS)}
        super().__init__(config, name)
        stopped = [panel for panel in self.replaced if panel.was_busy]
        if stopped:
            self._remark = f"the earlier race of this cell was stopped: {stopped[0]!r}"
        self._show()

    # For use in cells ------------------------------------------------------------------------

    def start(self) -> None:
        """Start a race with the set-up of the controls.

        Raises:
            ValueError: the set-up is invalid, or a race is running or paused.
        """
        self._begin()

    def pause(self) -> None:
        """Pause after the current step; `resume` continues bitwise."""
        if self._job:
            self._job.pause()

    def resume(self) -> None:
        """Resume after a pause."""
        if self._job:
            self._job.resume()

    def result(self) -> Lanes:
        """Wait for the end of the race, or until it is paused, and return its lanes.

        They are on `panel.race.model`: for answers, export, spectra and so on. An interrupt of the kernel while it
        waits pauses the race.

        Raises:
            ValueError: there is no race, or it failed.
        """
        job = self._job
        if job is None:
            raise ValueError("no race has started: press Race, or call start()")
        try:
            job.wait_for_pause()
        except KeyboardInterrupt:
            job.pause("the kernel was interrupted: press Continue to resume, Stop to end")
            raise KeyboardInterrupt("the race pauses: panel.resume() continues it") from None
        if job.racing is None:
            why = job.note or "it was stopped too early"
            raise ValueError(f"the race has no lanes: {why}") from job.error
        return job.racing.lanes

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
        return steps_frame(self.history, self._job.config if self._job else self.config)

    def end(self, why: str) -> None:
        """Stop the race, close the panel, and release the race's model."""
        super().end(why)
        if self._job:
            self._job.racing = None

    @property
    def _record(self) -> RaceRecord:
        """The race shown, as it is now: the newest one, or one that has not started."""
        return self._job.record() if self._job else self._ready

    # What the panel does -----------------------------------------------------------------------

    def _tree(self) -> Node:
        """Return the bar, the verdict, the set-up on the left, and the race next to it."""
        buttons = bar(
            button("race", RACE, kind="primary"),
            button("pause", "❚❚ Pause", "pause after the current step"),
            button("step", "Step", "run one step, then pause"),
            button("stop", "■ Stop", "end the race; its lanes stay available"),
        )
        middle = box(
            card(charts("accuracy")),
            box(card(charts("loss")), card(charts("gradient")), kind="two"),
            box(card(html("results")), card(html("story")), kind="two"),
            card(html("answers")),
            box(*(section.tree() for section in self._sections.values()), kind="sections"),
            kind="middle",
        )
        steps = [button(next_button(step), step.label, step.title, "quiet") for step in NEXT_STEPS]
        fair = button("fair", "Same and fair rates", FAIR_HINT, "quiet")
        verdict = card(html("verdict", "grow"), *steps, kind="verdict-card")
        return box(
            buttons,
            verdict,
            html("unraced"),
            box(controls(fair, data=[KEEP_CONTROL, more_settings()]), middle, kind="body"),
        )

    def _act(self, button: str) -> None:
        acts: dict[str, Callable[[], None]] = {
            "race": self._race, "pause": self.pause, "step": self._one_step, "stop": self.stop,
            "fair": self._fair,
            **{next_button(step): partial(self._next, step) for step in NEXT_STEPS},
        }  # fmt: skip
        section, _, part = button.partition(".")
        if act := acts.get(button):
            act()
        elif section in self._sections:
            self._sections[section].press(part, self._job, race_view(self._record), self._tell)

    def _set(self, name: str, value: Any) -> None:
        section, _, part = name.partition(".")
        if section in self._sections:
            self._sections[section].choose(part, value)
        else:
            super()._set(name, value)

    def _open(self, section: str, is_open: bool) -> None:
        if section == "more":
            self._more_open = is_open
        if section in self._sections:
            self._sections[section].is_open = is_open

    def _picked(self, charts: str, name: str) -> None:
        section = charts.partition(".")[0]
        if section in self._sections:
            self._sections[section].picked(name)

    def _race(self) -> None:
        if self._job and not self._job.complete:
            self._job.resume()
        else:
            self._begin()

    def _next(self, step: NextStep) -> None:
        """Race the set-up of the race that is shown, with the lanes or steps that its verdict suggests."""
        config = self._record.config
        lanes = tuple(step.change(config.lanes, MAX_LANES))
        self.config = replace(config, lanes=lanes, steps=config.steps * step.longer)
        self._begin()

    def _fair(self) -> None:
        """Let every start race at the same rate and at its fair one."""
        config = self._setup.config
        self.config = replace(config, lanes=same_and_fair(config.lanes))

    def _one_step(self) -> None:
        if self._job is None or self._job.complete:
            self._begin(goal=1)
        else:
            self._job.step()

    def _begin(self, goal: float = float("inf")) -> None:
        with self._drawing:
            if self._job and not self._job.complete:
                if self._phase[0] == PAUSED:
                    where = f"step {len(self._job.steps)} of {self._job.config.steps}"
                    raise ValueError(f"the race of this panel is paused at {where}: resume() goes on, stop() ends it")
                raise ValueError("the race of this panel is running: stop() ends it")
            config = self._setup.config
            before, self._problem, self._remark = self._job, "", ""
            name, styles = secrets.token_hex(4), ready_race(config).styles
            own: dict[str, Any] = {}
            for key, (shown, given) in self._own.items():
                if getattr(config, key) == shown:
                    own |= given
            job = BackgroundRace(name, config, None, styles, goal=goal, listen=self._follow, own=own)
            self._job = job
            if before:
                if before.racing and before.own.keys() & own.keys() & {"model"}:
                    before.racing.lanes.detach()  # the next one is on the same model
                before.racing = None  # its model need not stay in memory with the next one
        self._keep_config(config)
        job.start()

    def _follow(self) -> None:
        """Show what is new, before the first step also every note."""
        if not self._record.steps:
            self._show()
            return
        with self._drawing:  # whoever observes `step` hears of each; the charts follow at their own pace
            self._shown_traits = {**self._shown_traits, "step": len(self._record.steps)}
        self._set_traits()
        super()._follow()

    def _draw(self) -> None:
        record = self._record
        self._shown_traits = {"step": len(record.steps), "state": record.state}
        view = race_view(record)
        figures = figures_of(view)
        values = values_of(view) | {"status": self._line(view)} | self._of_setup()
        values |= {"unraced": self._unraced(), "more": {"open": self._more_open}}
        if record.complete:
            remember(record)
        for section in self._sections.values():
            of_section, charts = section.show(record, view)
            values |= of_section
            figures |= charts
        self._tell(values, figures)
        if view.step and (view.complete or view.state == PAUSED):
            store = self._keep_still if view.complete else self._keep_soon
            store(list(figures_of(view).values()), f"{self._words()}\n{view.text}")

    def _line(self, view: RaceView) -> str:
        """Return the state, or why nothing was started, which is no failure of a race."""
        if self._problem:
            return fragments.problem(self._problem)
        if self._remark:
            return fragments.status(self._record.state, self._remark)
        job = self._job
        if job is not None and isinstance(job.error, ValueError) and not job.steps:
            return fragments.problem(job.note)
        return view.status

    def _unraced(self) -> str:
        """Say in what the controls differ from what is shown; what is wrong in them is said when they are used."""
        try:
            return unraced(self._job.config, self._setup.config) if self._job else ""
        except ValueError:
            return ""

    def _origin(self) -> str:
        return setup_words(self._record.config)

    def _words(self) -> str:
        done = len(self._record.steps)
        where = f", step {done} of {self._record.config.steps}" if self._job else ""
        return f"RacePanel: {self._phase[0]}{where}"
