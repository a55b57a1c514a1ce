"""Access to a run: only its random id allows reading and controlling it."""

from __future__ import annotations

from typing import Any

from olora_viz.views.race_record import RaceRecord
from olora_viz.web.jobs.job import Job
from olora_viz.web.jobs.queue import Jobs


def readable(jobs: Jobs, run: Any) -> RaceRecord | None:
    """Find what a page may show under an id: a run of this server, or a recorded race."""
    return jobs.shown(run)


def commanded(jobs: Jobs, run: Any) -> Job | None:
    """Find what a page may pause, step and stop: a run of this server that has not ended."""
    job = jobs.get(run)
    return None if job is None or job.ended else job


def step_of(step: Any, made: int) -> int | None:
    """Return the last step to show; None shows all of a race.

    Parameters
    ----------
    step : a number, or anything else.
    made : number of completed steps.

    >>> step_of(3, 10), step_of(10, 10), step_of("3", 10), step_of(-1, 10)
    (3, None, None, None)
    """
    if isinstance(step, bool) or not isinstance(step, int | float):
        return None
    return int(step) if 0 <= step < made else None
