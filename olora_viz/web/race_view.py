"""A job as its page shows it: one value for every output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from olora_viz import figures, story, theme
from olora_viz.figure_parts import Figure
from olora_viz.live.gradio_figure import pack
from olora_viz.race_config import RaceConfig
from olora_viz.theme import Look
from olora_viz.web import fragments, race_gradients, race_rates, take
from olora_viz.web.shown import Shown
from olora_viz.web.work import ENDED

WINDOW = 20
"""Steps over which the speed is measured."""


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
    race: Any
    stop: Any
    traces: Any
    gradients: Any
    curved: Any
    rates: Any


class Figures(NamedTuple):
    """The three charts of a race."""

    loss: Figure
    gradient: Figure
    accuracy: Figure


def empty_figures(looks: Sequence[Look], total: int) -> Figures:
    """Return the charts of a race that has not begun."""
    return Figures(
        figures.loss_figure(looks, [], total=total),
        figures.gradient_figure(looks, [], total=total),
        figures.accuracy_figure(looks, [], total=total),
    )


def blank_view(config: RaceConfig) -> View:
    """Show the set-up of a race that has not begun: its lanes have no curves yet."""
    looks = theme.looks(config.lanes)
    blank = empty_figures(looks, config.steps)
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    kept |= {"job_id": None} | {name: pack(its) for name, its in blank._asdict().items()}
    kept["results"] = fragments.results(looks, story.standings([], len(looks)))
    return View(**kept)


def view(job: Shown, before: int = 0, *, last: bool = True) -> View:
    """Show where a job is.

    Parameters
    ----------
    before : races that have to end before this one begins.
    last : whether the page will be shown nothing after this; before that, a press of Race would be
        lost.
    """
    steps = list(job.steps)
    config, looks, base = job.config, job.looks, job.baseline
    rows = story.standings(steps, len(looks))
    evaluated = [step.step for step in steps if step.eval_loss is not None]
    start = (float(base.loss[0]), float(base.accuracy[0])) if base else (None, None)
    common: dict[str, Any] = {"total": config.steps, "run": job.id}
    judged: dict[str, Any] = {"plain_text": job.plain_text}
    told = story.tell(config.lanes, looks, steps) if steps else []
    going = job.state not in ENDED
    results = fragments.results(looks, rows, max(evaluated, default=0), start, **judged)
    return View(
        job_id=job.id,
        status=_status(job, len(steps), before),
        loss=pack(figures.loss_figure(looks, steps, start_loss=start[0], **judged, **common)),
        gradient=pack(figures.gradient_figure(looks, steps, **common)),
        accuracy=pack(
            figures.accuracy_figure(looks, steps, start_accuracy=start[1], **judged, **common)
        ),
        story=fragments.sentences(told, story.caveat(config.lanes))
        if told
        else fragments.story_before(),
        results=_remarks(job) + results,
        answers=_answers(job, [row.lane for row in rows]),
        take=take.value(job, [row.lane for row in rows]),
        race=gr.update(interactive=last and job.complete),
        stop=gr.update(interactive=going),
        traces=sum(step.trace is not None for step in steps),
        gradients=race_gradients.news(job),
        # What follows it draws at every look, and once more in the end.
        curved=sum(step.curvature is not None for step in steps) + job.complete,
        rates=race_rates.news(job),
    )


def problem_view(sentence: str) -> View:
    """Say why a race could not begin; the charts stay as they are."""
    kept: dict[str, Any] = {name: gr.skip() for name in View._fields}
    kept["status"] = fragments.status("failed", fragments.escape(sentence))
    kept["results"] = fragments.problem(sentence)
    return View(**kept)


def _status(job: Shown, done: int, before: int) -> str:
    total = job.config.steps
    if job.state == "failed":
        return fragments.status("failed", fragments.escape(job.note))
    if job.state == "waiting":
        races = "1 race" if before == 1 else f"{before} races"
        return fragments.status("waiting", f"{races} before yours")
    if job.state == "loading":
        return fragments.status("loading", fragments.escape(job.note))
    parts = [f"<b>{done}</b> / {total}"]
    steps = job.steps[:done]
    if steps:
        window = steps[-WINDOW - 1 :]
        first, last = window[0], window[-1]
        spent = last.seconds - (first.seconds if len(window) > 1 else 0.0)
        rate = max(len(window) - 1, 1) / max(spent, 1e-9)
        if job.state in ENDED:
            rate = last.step / max(last.seconds, 1e-9)
        parts.append(f"{rate:.0f} steps/s" if rate >= 3 else f"{rate:.2g} steps/s")
        parts.append(fragments.escape(job.device))
        left = (total - last.step) / rate
        parts.append(f"{last.seconds:.1f} s" if job.state in ENDED else f"{_time(left)} left")
    elif job.device:
        parts.append(fragments.escape(job.device))
    if job.state in ENDED and job.note:
        parts.append(fragments.escape(job.note))
    return fragments.status(job.state, *parts, progress=done / total)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


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
        return fragments.answers(job.looks, order, job.answers, job.plain_text)
    return fragments.answers_before()
