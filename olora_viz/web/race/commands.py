"""The requests of a page, checked: start a race, control a run, show a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from olora_viz.views.race import RaceView
from olora_viz.views.race_record import PAUSED, ready_race
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.stream import view_of
from olora_viz.web.setup import SetUp


class Commands:
    """The three commands of a page; the id of a run grants access to it."""

    def __init__(self, jobs: Jobs, limits: Limits, files: VisitorFiles) -> None:
        self._jobs, self._limits, self._files = jobs, limits, files

    def start(self, controls: Sequence[Any], goal: float = math.inf) -> str:
        """Queue a race with the page's set-up; return its id.

        Parameters
        ----------
        controls : the values of the set-up's controls.
        goal : the step after which it pauses.

        Raises
        ------
        ValueError : a value is invalid, or the queue is full.
        """
        setup = SetUp.from_controls(self._limits, controls, self._files)
        return self._jobs.start(setup.to_config(self._limits, self._files), goal).id

    def do(self, run: Any, what: str) -> bool:
        """Pause, step, resume or stop a run; return whether the run exists and has not ended.

        Raises
        ------
        ValueError : the queue is full.
        """
        job = self._jobs.get(run)
        if job is None or job.ended:
            return False
        if what == "stop":
            self._jobs.stop(job)
        elif what == "pause" and job.state != PAUSED:
            self._jobs.pause(job)
        else:  # the pause button resumes a paused run
            self._jobs.go_on(job, len(job.steps) + 1 if what == "step" else math.inf)
        return True

    def show(self, run: Any, step: Any = None) -> RaceView | None:
        """Show a run at a step, by default the latest; None if there is no such run."""
        known = self._jobs.shown(run)
        return None if known is None else view_of(known, _earlier(step, len(known.steps)))

    def ready(self, controls: Sequence[Any]) -> RaceView:
        """Show the set-up before its race starts; the page's default if the set-up is invalid."""
        try:
            setup = SetUp.from_controls(self._limits, controls, self._files)
        except ValueError:
            setup = SetUp.first(self._limits)
        return view_of(ready_race(setup.to_config(self._limits, self._files)))


def _earlier(step: Any, made: int) -> int | None:
    """Return the last step to show; None shows all of a race.

    Parameters
    ----------
    step : a number, or anything else.
    made : number of completed steps.

    >>> _earlier(3, 10), _earlier(10, 10), _earlier("3", 10), _earlier(-1, 10)
    (3, None, None, None)
    """
    if isinstance(step, bool) or not isinstance(step, int | float):
        return None
    return int(step) if 0 <= step < made else None
