"""A job as a page follows it: again whenever something that is shown has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from olora_viz.web.jobs.job import Work
from olora_viz.web.jobs.queue import Jobs

W = TypeVar("W", bound=Work)


async def changes(
    jobs: Jobs,
    find: Callable[[], W | None],
    shown: Callable[[W], tuple[object, ...]],
    pace: float = 0.5,
) -> AsyncIterator[tuple[W, int, bool]]:
    """Yield a job, the number of jobs ahead of it and whether it is complete, at every change.

    It ends when the job is complete or gone.

    Parameters
    ----------
    find : returns the job, None if it is gone.
    shown : what a page shows of it, beside its state, its note and the jobs ahead.
    pace : minimum seconds between two updates.
    """
    before: object = None
    while (work := find()) is not None:
        complete, ahead = work.complete, jobs.before(work)
        now = (work.state, work.note, complete, ahead, shown(work))
        if now != before:
            before = now
            yield work, ahead, complete
        if complete:
            return
        await asyncio.sleep(pace)
