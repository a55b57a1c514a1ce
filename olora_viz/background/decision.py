"""Studies in the background: a decision, or claims about training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from olora_viz.background.record import WAITING
from olora_viz.background.work import STAYS, BackgroundWork
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.step import FINISHED, STOPPED, Step
from olora_viz.studies.decide import Decision, decide

TURN = 10.0
"""Seconds after which a study lets others who wait take their turn."""


@dataclass(eq=False)
class BackgroundStudy(BackgroundWork):
    """A study within some minutes; its lanes are the methods, at no rate yet."""

    folder: Path  # pyrefly: ignore[bad-override-mutable-attribute]
    minutes: float = 0.0
    known: Decision | None = None
    """What is known; None before the plan."""
    waits: bool = False
    """Whether it lets others take their turn."""
    _turn_began: float = field(default=0.0, metadata=STAYS)
    """This and the next one are times of the monotonic clock."""
    _learnt: float = field(default=0.0, metadata=STAYS)

    @property
    def now(self) -> Decision | None:
        """What is known, with the seconds that are spent by now."""
        if self.known is None or self.ended:
            return self.known
        return replace(self.known, seconds=self.known.seconds + time.monotonic() - self._learnt)

    @property
    def without(self) -> str:
        """What it lacks if it ends now; empty for nothing."""
        return ""

    @property
    def minutes_left(self) -> float:
        """The minutes that earlier turns have left of the limit, a few seconds at least."""
        spent = self.known.seconds / 60 if self.known else 0.0
        return max(min(0.1, self.minutes), self.minutes - spent)

    def begin_turn(self) -> None:
        """Begin a turn, the first one or another."""
        self._turn_began, self.waits = time.monotonic(), False

    def learn(self, decisions: Iterable[Decision]) -> None:
        """Run a study to its end, or until others take their turn; its stages are states."""
        for known in decisions:
            self.know(known)
            self.become(known.stage)

    def know(self, known: Decision) -> None:
        """Take over what is known by now."""
        self.known, self._learnt = known, time.monotonic()

    def is_over(self) -> bool:
        """Whether the end was requested, the time is up, or nobody follows it any more."""
        if self.is_unwatched():
            self.stop("nobody follows it any more")
        return super().is_over()

    def goes_on(self, _: Step) -> bool:
        """Return after a step of its races whether to go on."""
        self.note = ""
        self.wake()
        return not self.gives_way() and not self.is_over()

    def gives_way(self) -> bool:
        """Return whether its turn is over and others wait."""
        self.waits = time.monotonic() - self._turn_began > TURN and self.host.yields()
        return self.waits

    def wait_for_others(self) -> bool:
        """End a turn that others take; return that there is another one."""
        self.become(WAITING)
        return True


@dataclass(eq=False)
class BackgroundDecision(BackgroundStudy):
    """A decision."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other arguments of `decide`."""
    write_report: Callable[[Decision], Path] | None = field(default=None, metadata=STAYS)
    """Writes the report of what is known in the end; by default there is none."""
    report: Path | None = None
    """The report; None before the end, or if nothing is known by then."""

    def arguments(self) -> Mapping[str, Any]:
        """Return the arguments of `decide` beside the model, the task and the time."""
        return self.settings

    def run(self) -> bool:
        """Decide until the end, or until others take their turn; what is known stays when it is stopped."""
        self.begin_turn()
        self.become(self.known.stage if self.known else "planning")
        decisions = decide(
            self.folder, minutes=self.minutes_left, model=self.raced.model, task=self.raced.task,
            watch=self.goes_on, progress=self.progress, **self.arguments(),
        )  # fmt: skip
        with suppress(StoppedEarlyError):
            self.learn(decisions)
        if self.waits:
            return self.wait_for_others()
        if self.write_report is not None and self.known is not None and self.known.taken is not None:
            self.report = self.write_report(self.known)
        if self.stopping.is_set():
            self.become(STOPPED, self.why or self.without)
        else:
            self.become(FINISHED, "no time was left for the adapter" if self.without else self.why)
        return False

    @property
    def without(self) -> str:
        """What it lacks if it ends now: the adapter, which is trained last."""
        has_adapter = self.known is not None and self.known.adapter is not None
        return "" if has_adapter else "without an adapter, which is trained last"
