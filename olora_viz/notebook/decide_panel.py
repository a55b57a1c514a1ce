"""The panel of a decision."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from olora_viz.background.record import FAILED, READY
from olora_viz.background.study import BackgroundStudy, Deciding
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.files import free_folder
from olora_viz.notebook import setup
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import Node, bar, box, button, card, charts, control, html
from olora_viz.races.config import RaceConfig
from olora_viz.studies.decide import GIVEN, Decision, checked_minutes
from olora_viz.studies.method import METHODS, methods_of
from olora_viz.studies.study import DEFAULT_RACE
from olora_viz.views import decision
from olora_viz.views import html as fragments
from olora_viz.views.reports import write_report

DECIDE, CONTINUE_DECIDING = "▶ Decide", "▶ Continue"
"""The first button: of a new decision, and of one that ended without an adapter."""


PANEL_MINUTES = (1, 2, 5, 10, 20, 60, 120)
"""The time limits that the slider offers."""

PANEL_RANKS = (2, 4, 8, 16, 32, 64)
"""The ranks that are offered."""

SHOWN_FIELDS = ("model", "task", "compare", "r")
"""Settings of a study that traits of the panel set."""


class DecidePanel(Panel):
    """Decide within some minutes which start and learning rate to take, and get the adapter.

    It can be stopped at any time, with the best answer so far; after that it goes on in the same folder, for as many
    minutes again. Its trait `state` may be observed, and `model`, `task`, `minutes`, `starts`, `ranks` and `folder`
    may also be set and linked.

    Args:
        folder: for the study, the adapter and the report: new, or of an earlier decision; None for a new one in
            ``decisions/``.
        minutes, model, task: see `decide`.
        compare: names of the starts that are compared with plain LoRA.
        r: ranks of the adapters; every start races at each of them.
        name: see `RacePanel`.
        settings: other arguments of `decide`, such as ``steps``, ``lrs``, or ``keep`` and ``forget``: a text, and by
            how many nats per token the loss on it may rise.

    Raises:
        ValueError: an argument is unknown or invalid.

    Examples:
        >>> from olora_viz.notebook import DecidePanel
        >>> panel = DecidePanel(task="sentiment", minutes=2)
        >>> panel
        DecidePanel: ready
    """

    model = traitlets.Unicode().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    minutes = traitlets.Float(2.0).tag(sync=True)
    starts = traitlets.Tuple().tag(sync=True)
    """Names of the starts that are compared with plain LoRA."""
    ranks = traitlets.Tuple((8,)).tag(sync=True)
    folder = traitlets.Unicode().tag(sync=True)
    """Empty for a new one in ``decisions/``."""

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        minutes: float = 2.0,
        model: str = DEFAULT_RACE.model,
        task: str = DEFAULT_RACE.task,
        compare: Sequence[str] = METHODS,
        r: Sequence[int] = (8,),
        name: str | None = None,
        **settings: Any,
    ) -> None:
        known = {*GIVEN} - {*SHOWN_FIELDS} | {"plan", "evaluations", "search"}
        for setting in settings:
            if setting not in known:
                arguments = ("folder", "minutes", "model", "task", "compare", "r", "name")
                raise ValueError(unknown("setting", setting, [*arguments, *sorted(known)]))
        expect(compare, (list, tuple), "a list of initializations, such as ['olora']")
        expect(r, (list, tuple), "a list of ranks, such as [8]")
        self._settings = settings
        self._of_text = {name: settings[name] for name in ("keep", "forget") if name in settings}
        RaceConfig(**self._of_text)  # which checks them
        self._job: BackgroundStudy | None = None  # pyrefly: ignore[bad-override-mutable-attribute]
        self._drawn: Any = ()
        super().__init__(name)
        with self.hold_trait_notifications():
            self.minutes, self.ranks, self.starts = minutes, tuple(r), tuple(compare)
            self.model, self.task, self.folder = model, task, str(folder or "")
        self.observe(self._changed, ["model", "task", "minutes", "starts", "ranks", "folder"])
        self._show()

    # For use in cells ------------------------------------------------------------------------

    def start(self) -> None:
        """Decide, in a thread; a decision that ended without an adapter goes on.

        Raises:
            ValueError: a value is invalid, or a decision is running.
        """
        if self.is_busy:
            raise ValueError("this panel is already deciding: stop() ends that")
        config = self._checked()
        settings = {**self._settings, "compare": self.starts, "r": self.ranks}
        self._problem = ""
        self._job = BackgroundStudy(
            secrets.token_hex(4), config, Path(self._place_of_it()).expanduser(),
            lane_styles(config.lanes), minutes=self.minutes, question=Deciding(settings, write_report=write_report),
            listen=self._follow,
        )  # fmt: skip
        self._job.start()

    def result(self) -> Decision:
        """Wait for the end of the decision and return it.

        An interrupt of the kernel while it waits stops the decision.

        Raises:
            ValueError: there is no decision, or it ended before anything was known.
        """
        job = self._job
        if job is None:
            raise ValueError("nothing is being decided: press Decide, or call start()")
        try:
            job.wait()
        except KeyboardInterrupt:
            job.stop("the kernel was interrupted: press Continue to go on")
            raise KeyboardInterrupt("the decision stops: panel.start() goes on with it") from None
        if job.known is None:
            raise ValueError(f"nothing is known: {job.note or 'it was stopped'}") from job.error
        return job.known

    @property
    def known(self) -> Decision | None:
        """What is known by now; None before the plan."""
        return self._job.known if self._job else None

    # Its traits ------------------------------------------------------------------------------

    @traitlets.validate("minutes")
    def _check_minutes(self, proposal: Any) -> float:
        return setup.checked(checked_minutes, proposal["value"])

    @traitlets.validate("ranks")
    def _check_ranks(self, proposal: Any) -> tuple[int, ...]:
        def check(values: Sequence[Any]) -> tuple[int, ...]:
            if not values:
                raise ValueError("choose at least one rank")
            ranks = (int(value) if isinstance(value, str) and value.isdecimal() else value for value in values)
            return tuple(sorted({Lane("lora", r=rank).r for rank in ranks}))

        return setup.checked(check, proposal["value"])

    @traitlets.validate("starts")
    def _check_starts(self, proposal: Any) -> tuple[str, ...]:
        starts = setup.checked_starts(proposal["value"])
        return tuple(init for init in starts if init != METHODS[0])

    def _checked(self) -> RaceConfig:
        """Return the methods, of the chosen model and task, or say what is missing."""
        config = self._config()
        for name in ("model", "task"):
            if not getattr(config, name):
                raise ValueError(f"the {name} is empty: give a name or a path")
        methods = tuple(dict.fromkeys(lane.init for lane in config.lanes))
        if len(methods) < 2:
            raise ValueError("choose a start to compare with plain LoRA")
        plan = self._settings.get("plan")
        asked = ((config.model,), (config.task,), methods, self.ranks)
        if plan is not None and asked != tuple(plan.study.settings()[name] for name in SHOWN_FIELDS):
            raise ValueError("the plan is for another model or task, other starts or ranks")
        return config

    def _config(self) -> RaceConfig:
        methods = methods_of(self.starts)
        lanes = tuple(Lane(init, r=rank) for rank in self.ranks for init in methods)
        return RaceConfig(model=self.model.strip(), task=self.task.strip(), lanes=lanes, **self._of_text)

    def _goes_on(self) -> bool:
        """Return whether the next start goes on with the decision that is shown."""
        job = self._job
        if job is None or not job.complete or job.known is None or job.known.adapter is not None:
            return False
        return job.raced == self._config() and self.folder in ("", str(job.folder))

    def _place_of_it(self) -> str:
        """Return the folder of the next start."""
        if self.folder.strip():
            return self.folder.strip()
        if self._job and (self.is_busy or self._goes_on()):
            return str(self._job.folder)
        named = [Path(typed.strip()).stem or "own" for typed in (self.model, self.task)]
        return str(free_folder(Path("decisions") / "-".join(named)))

    # What it shows ---------------------------------------------------------------------------

    def _tree(self) -> Node:
        """Return the bar, the recommendation, the choices on the left, and the results next to them."""
        buttons = bar(
            button("decide", DECIDE, kind="primary"), button("stop", "■ Stop", "end it, with the best answer so far")
        )
        side = box(
            card(
                control("field", "model", "Model", "a name, or the path of a folder"),
                control("field", "task", "Task", "a name, or the path of a task file"),
                control("range", "minutes", "Minutes"), control("checks", "ranks", "Ranks"),
                control("field", "folder", "Folder", "new, or of an earlier decision"),
            ),
            card(control("checks", "starts", "Compared with plain LoRA")),
            card(html("plan")), card(html("searched")),
            kind="side",
        )  # fmt: skip
        results = [card(charts("rates")), card(charts("differences")), card(html("table")), card(html("answers"))]
        middle = box(*results, kind="middle")
        return box(buttons, card(html("headline"), html("taken")), box(side, middle, kind="body"))

    def _act(self, button: str) -> None:
        if button == "decide":
            self.start()
        elif button == "stop":
            self.stop()

    def _set(self, name: str, value: Any) -> None:
        """Nothing: its controls are traits."""

    def _draw(self) -> None:
        job = self._job
        complete, known = (job.complete, job.known) if job else (False, None)
        values, charts = self._controls(), {}
        if (job, known, complete) != self._drawn:
            self._drawn = (job, known, complete)
            begun = known if known and known.lanes else None
            charts = decision.figures(begun) if begun else decision.figures_before()
            values |= decision.texts(known)
            values["taken"] = decision.whereabouts(known, job.report if job else None)
        self._tell({"status": self._line(), **values}, charts)
        if complete and known and known.lanes and charts:
            self._keep_still(list(charts.values()), f"{self._words()}\n{known.sentence}")

    def _controls(self) -> dict[str, Any]:
        minutes = sorted({*map(float, PANEL_MINUTES), self.minutes})
        return {
            **{
                name: {"value": getattr(self, name), "options": setup.named_options(known)}
                for name, known in setup.FREE_TEXT.items()
            },
            **{name: [name] for name in ("rates", "differences")},
            "minutes": {"value": self.minutes, "options": [[f"{limit:g}", limit] for limit in minutes]},
            "ranks": {
                "value": [str(rank) for rank in self.ranks],
                "options": setup.named_options(map(str, sorted({*PANEL_RANKS, *self.ranks}))),
            },
            "starts": {"value": list(self.starts), "options": setup.start_options(decision.offered())},
            "folder": {"value": self._place_of_it()},
            "decide": {"disabled": self.is_busy, "label": CONTINUE_DECIDING if self._goes_on() else DECIDE},
            "stop": {"disabled": not self.is_busy},
        }

    def _line(self) -> str:
        """Return the state, or what is wrong with what was chosen."""
        job = self._job
        if self._problem:
            return fragments.problem(self._problem)
        if job is None:
            return fragments.status(READY)
        if job.state == FAILED and isinstance(job.error, ValueError) and job.known is None:
            return fragments.problem(job.note)
        now = job.now
        parts = [*([job.note] if job.note else []), *(decision.progress(now) if now else ())]
        return fragments.status(job.state, *parts)

    def _origin(self) -> str:
        known = self.known
        if known is None:
            return ""
        study = known.plan.study
        facts = {
            "model": self.model, "task": self.task, "starts": ", ".join(study.compare),
            "ranks": ", ".join(map(str, self.ranks)),
            "steps": study.race.steps, "learning rates": ", ".join(f"{rate:g}" for rate in study.lrs),
            "seeds": study.seeds, "minutes": f"{self.minutes:g}",
        }  # fmt: skip
        return "; ".join(f"{name} {value}" for name, value in facts.items())

    def _words(self) -> str:
        job = self._job
        if job is None or job.known is None:
            return f"DecidePanel: {self._phase[0]}"
        return f"DecidePanel: {job.state}, {', '.join(decision.progress(job.known))}"
