"""A race as its page shows it: one value for every output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.gradio_figure import pack
from olora_viz.figures.theme import LaneStyle
from olora_viz.learn.gallery import Recording
from olora_viz.races.config import RaceConfig
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.seed_groups import group_places, seed_groups
from olora_viz.views import html as fragments
from olora_viz.views.shown import Shown
from olora_viz.web.export import take
from olora_viz.web.links import share
from olora_viz.web.race import gradients as race_gradients
from olora_viz.web.race import rates as race_rates
from olora_viz.web.race.scrubber import position
from olora_viz.web.race.status import buttons, idle_buttons, status


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


class Figures(NamedTuple):
    """The three charts of a race."""

    loss: Figure
    gradient: Figure
    accuracy: Figure


def empty_figures(styles: Sequence[LaneStyle], total: int) -> Figures:
    """Return the charts of a race that has not begun."""
    return Figures(
        figures.loss_figure(styles, [], total=total),
        figures.gradient_figure(styles, [], total=total),
        figures.accuracy_figure(styles, [], total=total),
    )


def blank_view(config: RaceConfig) -> View:
    """Show the set-up of a race that has not begun: its lanes have no curves yet."""
    styles = theme.lane_styles(config.lanes)
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    kept |= {name: pack(its) for name, its in empty_figures(styles, config.steps)._asdict().items()}
    kept |= idle_buttons()._asdict()
    return View(**kept)._replace(
        job_id=None,
        status=fragments.status("ready"),
        story=fragments.story_before(),
        results=fragments.results(styles, story.standings([], len(styles))),
        answers=fragments.answers_before(),
        take=None,
        scrub={"steps": 0},
        beat={"going": False, "beat": 0},
        spectra=0,
        gradients=0,
        curved=0,
        rates=0,
    )


def view(shown: Shown, before: int = 0, *, upto: int | None = None, beat: int = 0) -> View:
    """Show where a race is, or where it was.

    Parameters
    ----------
    before : races that have to end before this one begins.
    upto : the step that its reader went back to; None shows all of it.
    beat : changes with every view of a race that goes on.
    """
    every = list(shown.steps)
    steps = every if upto is None else every[:upto]
    config, styles, base = shown.config, shown.styles, shown.baseline
    rows = story.standings(steps, len(styles))
    groups = seed_groups(config.lanes, styles)
    named = [group.style for group in groups]
    evaluated = [step.step for step in steps if step.eval_loss is not None]
    start = (float(base.loss[0]), float(base.accuracy[0])) if base else (None, None)
    seeds = [group.lanes for group in groups]
    members = {
        group.style.label: [styles[k].label for k in group.lanes]
        for group in groups if len(group.lanes) > 1
    }  # fmt: skip
    common: dict[str, Any] = {"total": config.steps, "run": shown.id, "seeds": seeds}
    judged: dict[str, Any] = {"plain_text": shown.plain_text}
    results = fragments.results(
        named, group_places(rows, groups), max(evaluated, default=0), start, **judged
    )
    return View(
        job_id=shown.id,
        status=status(shown, len(steps), before),
        loss=_packed(
            figures.loss_figure(named, steps, start_loss=start[0], **judged, **common), members
        ),
        gradient=_packed(figures.gradient_figure(named, steps, **common), members),
        accuracy=_packed(
            figures.accuracy_figure(named, steps, start_accuracy=start[1], **judged, **common),
            members,
        ),
        story=_story(shown, steps),
        results=_remarks(shown) + results,
        answers=_answers(shown, [row.lane for row in rows]),
        take=take.value(shown, [row.lane for row in rows]),
        scrub=position(shown, upto),
        beat={"going": not shown.complete, "beat": beat},
        **buttons(shown)._asdict(),
        spectra=sum(step.update_spectra is not None for step in every),
        gradients=race_gradients.news(shown),
        # What follows it draws at every look, and once more in the end.
        curved=sum(step.curvature is not None for step in every) + shown.complete,
        rates=race_rates.news(shown),
    )


def quiet_view(beat: int) -> View:
    """Say that nothing is new, and that the race is still there."""
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    return View(**kept)._replace(beat={"going": True, "beat": beat})


def _packed(figure: figures.Figure, members: dict[str, list[str]]) -> dict[str, Any]:
    """Pack a figure whose bands, when they are hidden, hide their lanes in the other charts."""
    if members:
        figure["layout"]["meta"]["members"] = members
    return pack(figure)


def _story(shown: Shown, steps: Sequence[Step]) -> str:
    told = story.tell(shown.config.lanes, shown.styles, steps) if steps else []
    said = fragments.sentences(told, story.caveat(shown.config.lanes)) if told else ""
    if isinstance(shown, Recording):
        made = f"Recorded on {shown.made.date}, on {shown.made.device}."
        link = share.query(shown.config)
        return fragments.recorded(shown.title, shown.sentence, made, link) + said
    return said or fragments.story_before()


def _remarks(job: Shown) -> str:
    if job.state == "failed":
        return fragments.problem(job.note)
    if not job.left_out:
        return ""
    examples = f"{job.left_out:,} example{'s' * (job.left_out > 1)}"
    return fragments.remark(
        f"Left out of the training: {examples} of more than {job.config.max_length} tokens."
    )


def _answers(job: Shown, order: list[int]) -> Any:
    if job.answers:
        return fragments.answers(job.styles, order, job.answers, job.plain_text)
    return fragments.answers_before()
