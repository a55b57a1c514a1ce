"""A race's view as Gradio's outputs take it: one value for each, in their order."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures.live.packing import pack
from olora_viz.races.config import RaceConfig
from olora_viz.views.race import race_view
from olora_viz.views.race_record import RaceRecord, ReadyRace
from olora_viz.web.export import take
from olora_viz.web.links import share
from olora_viz.web.race.scrubber import position
from olora_viz.web.race.status import buttons


class View(NamedTuple):
    """What a page's outputs show, in their order."""

    job_id: Any
    status: Any
    loss: Any
    gradient: Any
    accuracy: Any
    story: Any
    results: Any
    answers: Any
    take: Any
    scrub: Any
    beat: Any
    race: Any
    pause: Any
    step: Any
    stop: Any
    reset: Any
    spectra: Any
    gradients: Any
    curved: Any
    rates: Any


def blank_view(config: RaceConfig) -> View:
    """Show the set-up of a race that has not begun: its lanes have no curves yet."""
    return view(ReadyRace(config))._replace(
        job_id=None, scrub={"steps": 0}, beat={"going": False, "beat": 0}
    )


def view(record: RaceRecord, before: int = 0, *, upto: int | None = None, beat: int = 0) -> View:
    """Show where a race is, or where it was, see `race_view`.

    Parameters
    ----------
    beat : changes with every view of a race that goes on.
    """
    link = share.query(record.config) if record.recorded else ""
    shown = race_view(record, upto=upto, before=before, link=link)
    return View(
        job_id=shown.id,
        status=shown.status,
        **{name: pack(figure) for name, figure in shown.figures.items()},
        story=shown.story,
        results=shown.results,
        answers=shown.answers,
        take=take.value(record, shown.order),
        scrub=position(shown),
        beat={"going": not shown.complete, "beat": beat},
        **buttons(shown)._asdict(),
        spectra=shown.news["spectra"],
        gradients=shown.news["gradients"],
        # What follows it draws at every look, and once more in the end.
        curved=shown.news["curvature"] + shown.complete,
        rates=shown.news["rates"],
    )


def quiet_view(beat: int) -> View:
    """Say that nothing is new, and that the race is still there."""
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    return View(**kept)._replace(beat={"going": True, "beat": beat})
