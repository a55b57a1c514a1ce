"""The view of a race, shared by page, notebook and report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from olora_viz.figures import race as figures
from olora_viz.figures.layout import Figure
from olora_viz.figures.seed_bands import group_styles
from olora_viz.figures.theme import LaneStyle
from olora_viz.learn.gallery import Recording
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.seed_groups import group_places, seed_groups
from olora_viz.views import curvature, gradients, rates, update_spectra
from olora_viz.views import html as fragments
from olora_viz.views.race_record import FAILED, RaceRecord, start_of
from olora_viz.views.status import commands, status


@dataclass(frozen=True)
class RaceView:
    """A race at one moment, or at one of its steps: values, figures and HTML, no widget."""

    id: str
    state: str
    """See `RaceRecord.state`."""
    complete: bool
    """Whether the race has ended: nothing changes any more."""
    recorded: bool
    commands: frozenset[str]
    """The available commands, see `olora_viz.views.status.COMMANDS`."""
    status: Markup
    """One line of HTML: the state, where the race is, how fast it is."""
    made: int
    """Number of completed steps."""
    step: int
    """The step shown; later steps are left out."""
    seconds: float
    """Time until that step; 0 for a recorded race."""
    styles: tuple[LaneStyle, ...]
    """Colours, dashes and labels of the lanes."""
    order: tuple[int, ...]
    """The lanes, the best one first."""
    loss: Figure
    gradient: Figure
    accuracy: Figure
    story: Markup
    """Sentences on the results."""
    results: Markup
    """The table of results, the best lane first, after a note on examples left out."""
    answers: Markup
    """The answers of the base model and the lanes to the same prompts."""
    text: str
    """Standings and story in plain words, for readers of text."""
    news: dict[str, int]
    """Of ``spectra``, ``gradients``, ``curvature`` and ``rates``, which have views of their own, a
    number that changes when there is more to draw; 0 where there is nothing."""

    @property
    def figures(self) -> dict[str, Figure]:
        """The three charts of every race, by name."""
        return {"loss": self.loss, "gradient": self.gradient, "accuracy": self.accuracy}


def race_view(
    record: RaceRecord,
    *,
    upto: int | None = None,
    before: int = 0,
    link: str = "",
    run: str | None = None,
) -> RaceView:
    """Return the view of a race, now or at an earlier step.

    Lanes that differ in their seed alone are shown as one: their mean, and a band.

    Parameters
    ----------
    record : of the race; a `ReadyRace` for one that has not begun.
    upto : the last step to show; None shows all of them.
    before : races ahead of this one in the queue.
    link : query of the page that sets up the same race, offered beside a recorded one.
    run : the race's name in its figures: zoom and hidden lanes are kept while it stays the same,
        and charts of one name show the same step. By default the record's id.
    """
    every = list(record.steps)
    steps = every if upto is None else every[:upto]
    rows = story.standings(steps, len(record.styles))
    order = tuple(row.lane for row in rows)
    loss, gradient, accuracy = _figures(record, steps, record.id if run is None else run)
    return RaceView(
        id=record.id,
        state=record.state,
        complete=record.complete,
        recorded=record.recorded,
        commands=commands(record),
        status=status(record, len(steps), before),
        made=len(every),
        step=len(steps),
        seconds=steps[-1].seconds if steps and not record.recorded else 0.0,
        styles=tuple(record.styles),
        order=order,
        loss=loss,
        gradient=gradient,
        accuracy=accuracy,
        story=_story(record, steps, link),
        results=_remarks(record) + _results(record, steps, rows),
        answers=_answers(record, order),
        text=_text(record, steps, rows),
        news={
            "spectra": update_spectra.news(record),
            "gradients": gradients.news(record),
            "curvature": curvature.news(record),
            "rates": rates.news(record),
        },
    )


def _figures(record: RaceRecord, steps: Sequence[Step], run: str) -> tuple[Figure, Figure, Figure]:
    groups = seed_groups(record.config.lanes)
    named = group_styles(groups, record.styles)
    seeds = [group.lanes for group in groups]
    members = {
        style.label: [record.styles[k].label for k in group.lanes]
        for style, group in zip(named, groups, strict=True) if len(group.lanes) > 1
    }  # fmt: skip
    common: dict[str, Any] = {"total": record.config.steps, "run": run, "seeds": seeds}
    judged: dict[str, Any] = {"plain_text": record.plain_text}
    loss, accuracy = start_of(record)
    drawn = (
        figures.loss_figure(named, steps, start_loss=loss, **judged, **common),
        figures.gradient_figure(named, steps, **common),
        figures.accuracy_figure(named, steps, start_accuracy=accuracy, **judged, **common),
    )
    for figure in drawn if members else ():
        # Bands, when they are hidden, hide their lanes in the other charts.
        figure["layout"]["meta"]["members"] = members
    return drawn


def _results(record: RaceRecord, steps: Sequence[Step], rows: Sequence[story.Place]) -> Markup:
    groups = seed_groups(record.config.lanes)
    held = max((step.step for step in steps if step.eval_loss is not None), default=0)
    styles = group_styles(groups, record.styles)
    places = group_places(rows, groups)
    return fragments.results(styles, places, held, start_of(record), record.plain_text)


def _story(record: RaceRecord, steps: Sequence[Step], link: str) -> Markup:
    told = _tell(record, steps)
    said = fragments.sentences(told, story.caveat(record.config.lanes)) if told else Markup("")
    if isinstance(record, Recording):
        made = f"Recorded on {record.made.date}, on {record.made.device}."
        return fragments.recorded(record.title, record.sentence, made, link) + said
    return said or fragments.story_before()


def _text(record: RaceRecord, steps: Sequence[Step], rows: Sequence[story.Place]) -> str:
    groups = seed_groups(record.config.lanes)
    styles = group_styles(groups, record.styles)
    lines = [
        f"{styles[place.lane].label}: "
        + (f"out at step {place.out_at}" if place.out_at else f"held-out loss {place.loss:.3g}")
        for place in group_places(rows, groups)
        if place.out_at or math.isfinite(place.loss)
    ]
    return "\n".join([*lines, " ".join(map(str, _tell(record, steps)))])


def _tell(record: RaceRecord, steps: Sequence[Step]) -> list[story.Sentence]:
    names = [style.label for style in record.styles]
    return story.tell(record.config.lanes, names, steps) if steps else []


def _remarks(record: RaceRecord) -> Markup:
    if record.state == FAILED:
        return fragments.problem(record.note)
    if not record.left_out:
        return Markup("")
    examples = f"{record.left_out:,} example{'s' * (record.left_out > 1)}"
    return fragments.remark(
        f"Left out of the training: {examples} of more than {record.config.max_length} tokens."
    )


def _answers(record: RaceRecord, order: Sequence[int]) -> Markup:
    if record.answers:
        return fragments.answers(record.styles, order, record.answers, record.plain_text)
    return fragments.answers_before()
