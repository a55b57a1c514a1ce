"""A decision in the background: its plan, its races, its adapter and its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from olora_viz.background.work import BackgroundWork
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.races.step import FINISHED, STOPPED, Step
from olora_viz.studies.decide import Decision, decide

PLANNING = "planning"


def end_of(work: BackgroundWork, known: Decision | None) -> tuple[str, str]:
    """Return the final state of work on a decision, and the reason for it."""
    if work.stopping.is_set():
        return STOPPED, work.why
    has_adapter = known is not None and known.adapter is not None
    return FINISHED, work.why if has_adapter else "no time was left for the adapter"


@dataclass(eq=False)
class BackgroundDecision(BackgroundWork):
    """A decision; its lanes are the methods, at no rate yet, and its states are its stages."""

    minutes: float = 0.0
    """The time limit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other arguments of `decide`."""
    write_report: Callable[[Decision], Path] = field(kw_only=True)
    """Writes the report of what is known in the end."""
    known: Decision | None = None
    """What is known; None before the plan."""
    report: Path | None = None
    """The report; None before the end, or if nothing is known by then."""

    _since: float = 0.0
    """When `known` was learnt, by the monotonic clock."""

    @property
    def now(self) -> Decision | None:
        """What is known, with the seconds that are spent by now."""
        if self.known is None or self.ended:
            return self.known
        return replace(self.known, seconds=self.known.seconds + time.monotonic() - self._since)

    def run(self) -> None:
        """Go the road to its end; what is known stays when it is stopped."""
        assert self.folder is not None
        self.become(PLANNING)
        road = decide(
            self.folder, minutes=self.minutes, model=self.config.model, task=self.config.task,
            watch=self._goes_on, progress=self.progress, **self.settings,
        )  # fmt: skip
        with suppress(StoppedEarlyError):
            for known in road:
                self.known, self._since = known, time.monotonic()
                self.become(known.stage)
        if self.known is not None and self.known.taken is not None:
            self.report = self.write_report(self.known)
        self.become(*end_of(self, self.known))

    def _goes_on(self, _: Step) -> bool:
        self.note = ""
        self.wake()
        return not self.is_over()
