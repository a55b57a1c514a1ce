"""The words before a race's results: of a recorded race, and of one that has not started."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.learn.gallery import Recording
from olora_viz.tasks import TASKS
from olora_viz.views.html import remark
from olora_viz.views.race_record import RaceRecord


def introduction(record: RaceRecord, query: str) -> Markup:
    """Return what a recorded race is about, when and on what it was made; empty for any other.

    Parameters
    ----------
    query : of the link that opens the same set-up; "" outside the page.
    """
    if not isinstance(record, Recording):
        return Markup("")
    made = f"Recorded on {record.made.date}, on {record.made.device}."
    link = (
        Markup('<p>Press Race to run it here. <a href="?{}">Back to its set-up</a></p>').format(
            query
        )
        if query
        else ""
    )
    return Markup(
        '<div class="recorded"><h2>{} <span class="badge">recorded</span></h2><p>{} {}</p>{}</div>'
    ).format(record.title, record.sentence, made, link)


def somebody_s(task: str) -> Markup:
    """Return the line above somebody else's run; the examples of a task file are not shown."""
    own = "" if task in TASKS else " Its examples are the owner's own and are not shown."
    return remark(f"You are watching somebody's run. Race starts your own.{own}")
