"""What a page can ask for: start a race, command a run, show a run. All of it is checked here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from olora_viz.views.race import RaceView
from olora_viz.views.race_record import ReadyRace
from olora_viz.web.guard import rights
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.stream import view_of
from olora_viz.web.setup import SetUp


class Commands:
    """The three commands of a page; each takes the id of a run, which is the right to it."""

    def __init__(self, jobs: Jobs, limits: Limits, files: VisitorFiles) -> None:
        self._jobs, self._limits, self._files = jobs, limits, files

    def start(self, controls: Sequence[Any], goal: float = math.inf) -> str:
        """Put the race that the page is set to into the queue; return its id.

        Parameters
        ----------
        controls : the values of the set-up's controls.
        goal : the step after which it pauses.

        Raises
        ------
        ValueError : in one sentence: a value breaks a rule, or too many races wait.
        """
        setup = SetUp.from_controls(self._limits, controls, self._files)
        return self._jobs.start(setup.to_config(self._limits, self._files), goal).id

    def do(self, run: Any, what: str) -> bool:
        """Pause, step, resume or stop a run; return whether there is one that still goes on.

        Raises
        ------
        ValueError : too many races wait.
        """
        job = rights.commanded(self._jobs, run)
        if job is None:
            return False
        if what == "stop":
            self._jobs.stop(job)
        elif what == "pause" and job.state != "paused":
            self._jobs.pause(job)
        else:  # the button that pauses lets a paused run go on
            self._jobs.go_on(job, len(job.steps) + 1 if what == "step" else math.inf)
        return True

    def show(self, run: Any, step: Any = None) -> RaceView | None:
        """Show a run at a step, or at its newest; None where there is no such run."""
        known = rights.readable(self._jobs, run)
        if known is None:
            return None
        return view_of(known, rights.step_of(step, len(known.steps)))

    def ready(self, controls: Sequence[Any]) -> RaceView:
        """Show the set-up before its race has begun; one that is not possible as the page's own."""
        try:
            setup = SetUp.from_controls(self._limits, controls, self._files)
        except ValueError:
            setup = SetUp.first(self._limits)
        return view_of(ReadyRace(setup.to_config(self._limits, self._files)))
