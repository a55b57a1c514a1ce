"""The verdict on a race in a line, as HTML."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.races.config import RaceConfig
from olora_viz.races.state import DIVERGED
from olora_viz.studies.verdict_line import VerdictLine
from olora_viz.studies.words import Sentence
from olora_viz.views.html import unbroken
from olora_viz.views.race_record import FAILED, READY

SURE = "by 95% intervals that allow for the number of comparisons"


def verdict_html(found: VerdictLine | None, state: str, config: RaceConfig, made: int) -> Markup:
    """Return the line: the verdict, how sure it is, and the leader's colour at its side.

    Parameters
    ----------
    found : None while there are no results by example, or nothing to compare.
    state, config : of the race.
    made : number of steps so far.
    """
    if found is None:
        return _line((_without(state, config, made),))
    kind = found.certainty.replace(" ", "-")
    sure = Markup('<span class="certainty {}" title="{}">{}</span>').format(
        kind, SURE, found.reason
    )
    return _line(found.said, sure, found.leader)


def _line(told: tuple[Sentence, ...], sure: Markup | str = "", leader: str = "") -> Markup:
    first, *more = told
    words = Markup("<b>{}</b> {}").format(unbroken(first.lead), unbroken(first.rest))
    words += Markup("").join(Markup(" <span>{}</span>").format(unbroken(str(one))) for one in more)
    color = Markup(' style="--lane:var(--{})"').format(leader) if leader else ""
    line = Markup('<div class="verdict"{}><p role="status">{}</p>{}</div>')
    return line.format(color, words, sure)


def _without(state: str, config: RaceConfig, made: int) -> Sentence:
    """Return what the line says without a verdict."""
    every = config.eval_every or config.steps
    if state == READY:
        lanes = f"{len(config.lanes)} lane{'s' * (len(config.lanes) > 1)}"
        return Sentence("Which start learns faster?", f"Press Race: {lanes}, {config.steps} steps.")
    if state in (FAILED, DIVERGED):
        return Sentence("No lane has a result to compare.", "The ranking says why.")
    if made < every:
        return Sentence("Training.", f"The first held-out results come at step {every}.")
    return Sentence("One lane alone has no rival.", "Add a second one to compare them.")
