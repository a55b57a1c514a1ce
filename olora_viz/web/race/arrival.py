"""The state of a page when it is opened or reloaded."""

from __future__ import annotations

from typing import Any, NamedTuple

from olora_viz.views import html as fragments
from olora_viz.views.race_record import RaceRecord
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.links import share_link
from olora_viz.web.race import shelf
from olora_viz.web.setup import SetUp, possible

FIRST = "recorded:smollm2"
"""The race shown to a visitor without a run."""


class Arrival(NamedTuple):
    """The initial values of a page."""

    run: str | None
    setup: SetUp | None
    """None leaves the controls unchanged."""
    words: str
    """Notes on the parts of the link that were ignored, as HTML."""


def arrive(limits: Limits, jobs: Jobs, run_id: Any, visit: Any, address: Any) -> Arrival:
    """Show the run of the address, else of this tab, else the latest one of this browser.

    A set-up in a link takes precedence over the run; reloading the page's own address keeps both.
    A run that another tab shows stays there. Without any run the page shows a recorded race.

    Parameters
    ----------
    run_id : id of the run that this tab shows; None in a new tab.
    visit : the runs of this browser.
    address : what `share_link.READ` sends.
    """
    link, own, words = share_link.asked(limits, address)
    run = jobs.shown(run_id)
    if run_id is None:
        run = _newest(jobs, visit, address)
    setup = link.setup
    new = setup is not None and not own
    if new and (run is None or setup_of(limits, run) != setup or (link.start and run.complete)):
        run = None
    if setup and link.start and run is None:
        try:
            run = jobs.start(setup.to_config(limits))
        except ValueError as error:
            words = fragments.problem(str(error))
    lesson = share_link.lesson_race(link, own)
    if lesson or (run is None and setup is None):
        run = jobs.shown(lesson or FIRST)
    # The first race shown is recorded; the set-up next to it is the page's default.
    if setup is None and run and (lesson or not run.recorded):
        setup = setup_of(limits, run)
    return Arrival(run.id if run else None, setup, words)


def setup_of(limits: Limits, run: RaceRecord) -> SetUp | None:
    """Return the set-up of a run; of a recorded one only if this server may race it."""
    return possible(limits, run.config) if run.recorded else SetUp.of(run.config)


def _newest(jobs: Jobs, visit: Any, address: Any) -> RaceRecord | None:
    elsewhere = address.get("elsewhere") if isinstance(address, dict) else None
    for row in shelf.checked(jobs, visit):
        if not isinstance(elsewhere, list) or row["id"] not in elsewhere:
            return jobs.shown(row["id"])
    return None
