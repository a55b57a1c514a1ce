"""The events of the Race page: start, follow, pause, step, stop, reset, replay and reconnect.

Every button only says what the page shows from now on, at once; one event follows that, as a
stream, until the race ends or the page shows something else.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.races.config import RaceConfig
from olora_viz.views import html as fragments
from olora_viz.web.guard.limits import Limits, checked_config
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.job import Job
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.links import share_link
from olora_viz.web.race import shelf
from olora_viz.web.race.heartbeat import QUIET
from olora_viz.web.race.screens import Screen, Screens
from olora_viz.web.race.status import Buttons
from olora_viz.web.race.view import View, blank_view, quiet_view, view

PACE = 0.2
"""Seconds between two updates of a page, at least: up to five a second."""

LOOK = 0.05
"""Seconds between checks for updates."""

SHARE = 0.1
"""The most of the time that preparing updates may take from the training."""

SETUP = ("model", "task", "steps", "batch", "seed", "lanes", "curvature_every")
"""The set-up's inputs, in the order in which events bring them."""

FIRST = "recorded:smollm2"
"""What a visitor sees who has no race yet."""


class Pressed(NamedTuple):
    """What a button changes at once."""

    job_id: Any
    turn: Any
    status: Any = None
    results: Any = None

    @classmethod
    def shows(cls, screen: Screen, name: str | None) -> Pressed:
        """Show a race from now on."""
        return cls(name, screen.show(name), gr.skip(), gr.skip())

    @classmethod
    def goes_on(cls) -> Pressed:
        """Leave the page to what it follows already."""
        return cls(gr.skip(), gr.skip(), gr.skip(), gr.skip())

    @classmethod
    def fails(cls, sentence: str) -> Pressed:
        """Say why nothing began; the charts stay as they are."""
        words = fragments.status("failed", fragments.escape(sentence))
        return cls(gr.skip(), gr.skip(), words, fragments.problem(sentence))


class Runs(NamedTuple):
    """Where earlier runs of a visit are listed and compared."""

    visit: gr.BrowserState
    rows: gr.HTML
    card: gr.Column
    figure: gr.HTML
    words: gr.HTML


class Stage(NamedTuple):
    """Where other parts of the page let it show a race: `screens` is told, `turn` is set."""

    job_id: Any
    turn: gr.Number
    """To be set to what `Screen.show` returns."""
    setup: Sequence[Any]
    """The inputs of `SETUP`, see `share_link.chosen`."""
    screens: Screens


def connect(
    demo: gr.Blocks,
    jobs: Jobs,
    screens: Screens,
    limits: Limits,
    *,
    controls: Buttons,
    setup: Sequence[Any],
    page: View,
    note: Any,
    link: gr.HTML,
    runs: Runs,
    files: VisitorFiles,
) -> Stage:
    """Connect the page; return the stage on which others let it show something else.

    Parameters
    ----------
    controls : the run's buttons.
    setup : the inputs of `SETUP`.
    page : the components that a `View` is for.
    note : where the page says what a link asked for in vain.
    link : the Share button.
    runs : where earlier runs of the visit are listed and compared.
    files : the visitors' own.
    """
    turn = gr.Number(0, visible=False)

    def config_of(values: Sequence[Any]) -> RaceConfig:
        return checked_config(limits, **dict(zip(SETUP, values, strict=True)), files=files)

    def current(request: gr.Request) -> Job | None:
        """Return the race of this server that the page shows and that can still go on."""
        job = jobs.get(screens.of(request).name)
        return job if job is not None and not job.ended else None

    def race(request: gr.Request, *values: Any) -> Pressed:
        return run_until(request, values, math.inf)

    def step(request: gr.Request, *values: Any) -> Pressed:
        job = current(request)
        return run_until(request, values, len(job.steps) + 1 if job else 1)

    def run_until(request: gr.Request, values: Sequence[Any], goal: float) -> Pressed:
        job = current(request)
        try:
            if job is not None:
                jobs.go_on(job, goal)
                return Pressed.goes_on()
            job = jobs.start(config_of(values), goal)
        except ValueError as error:
            return Pressed.fails(str(error))
        return Pressed.shows(screens.of(request), job.id)

    def pause(request: gr.Request) -> Pressed:
        job = current(request)
        if job is not None and job.state == "paused":
            return run_until(request, (), math.inf)
        if job is not None:
            jobs.pause(job)
        return Pressed.goes_on()

    def stop(request: gr.Request) -> None:
        job = current(request)
        if job is not None:
            jobs.stop(job)

    def reset(request: gr.Request) -> Pressed:
        stop(request)
        return Pressed.shows(screens.of(request), None)

    def again(request: gr.Request, name: Any) -> Pressed:
        known = jobs.shown(name)
        return Pressed.shows(screens.of(request), known.id if known else None)

    def arrive(request: gr.Request, name: Any, address: Any) -> tuple[Any, ...]:
        """Show what the address asks for, else the race of this browser, else a recorded one.

        A set-up in a link wins over the race; a reload of this page's own address keeps both.
        """
        link, own, words = share_link.asked(limits, address)
        job = jobs.shown(name)
        new = link.config is not None and not own
        if new and (job is None or job.config != link.config or (link.start and job.complete)):
            job = None
        if link.config and link.start and job is None:
            try:
                job = jobs.start(link.config)
            except ValueError as error:
                words = fragments.problem(str(error))
        lesson = share_link.lesson_race(link, own)
        if lesson or (job is None and link.config is None):
            job = jobs.shown(lesson or FIRST)
        # The first screen's race was recorded elsewhere: the set-up beside it is the page's own.
        config = link.config or (job.config if job and not job.recorded else None)
        if lesson and job and config is None:
            config = share_link.possible(limits, job.config)
        chosen = share_link.chosen(config) if config else tuple(gr.skip() for _ in setup)
        shown = Pressed.shows(screens.of(request), job.id if job else None)
        return (*shown, *chosen, words)

    async def follow(request: gr.Request, *values: Any) -> AsyncIterator[View]:
        screen = screens.of(request)
        now = screen.turn
        name = screen.name
        if name is None or jobs.shown(name) is None:
            try:
                yield blank_view(config_of(values))
            except ValueError:
                yield blank_view(RaceConfig())
            return
        last: Any = None
        spoke, beats = time.monotonic(), itertools.count(1)
        while screen.turn == now:
            began, rest = time.perf_counter(), LOOK
            shown = jobs.shown(name)
            if shown is None:
                return
            complete = shown.complete
            before = jobs.before(shown) if isinstance(shown, Job) else 0
            news = (len(shown.steps), shown.state, shown.note, complete, before, screen.upto)
            if news != last:
                last, spoke = news, time.monotonic()
                yield await asyncio.to_thread(
                    view, shown, before, upto=screen.upto, beat=next(beats)
                )
                spent = time.perf_counter() - began
                rest = max(PACE, spent / SHARE) if shown.steps else LOOK
            elif time.monotonic() - spoke > QUIET:
                spoke = time.monotonic()
                yield quiet_view(next(beats))
            if complete:
                return
            await asyncio.sleep(rest)

    def scrub(request: gr.Request, event: gr.SelectData) -> View:
        """Go back to a step, or on with the race from its newest one."""
        screen = screens.of(request)
        shown = jobs.shown(screen.name)
        step = event.value
        if shown is None or not isinstance(step, int | float) or not 0 <= step < 1e9:
            return View(*(gr.skip() for _ in View._fields))
        screen.upto = None if step >= len(shown.steps) else int(step)
        before = jobs.before(shown) if isinstance(shown, Job) else 0
        # The slider stays where its reader has put it.
        return view(shown, before, upto=screen.upto)._replace(scrub=gr.skip(), beat=gr.skip())

    def seen(visit: Any, name: Any) -> tuple[Any, ...]:
        """List the run that the page shows, and draw what it is compared with."""
        rows = shelf.added(jobs, visit, name)
        return rows, shelf.listed(jobs, rows, name), *shelf.compared(jobs, rows, name)

    def shelve(request: gr.Request, visit: Any, name: Any, event: gr.SelectData) -> tuple[Any, ...]:
        """Do what was asked for in the list of runs."""
        wish = event.value if isinstance(event.value, dict) else {}
        shown = Pressed.goes_on()
        run = jobs.get(wish.get("id"))
        if wish.get("do") == "show" and run is not None:
            name = run.id
            shown = Pressed.shows(screens.of(request), name)
        rows = shelf.changed(jobs, visit, wish)
        told = (rows, shelf.listed(jobs, rows, name), *shelf.compared(jobs, rows, name))
        return (*told, *shown)

    def leave(request: gr.Request) -> None:
        screens.close(request)
        files.forget(request.session_hash)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    at_once = {"queue": False, "trigger_mode": "multiple", **quiet}
    pressed = list(Pressed(page.job_id, turn, page.status, page.results))
    inputs, outputs = list(setup), list(page)
    controls.race.click(race, inputs, pressed, **at_once)
    controls.step.click(step, inputs, pressed, **at_once)
    controls.pause.click(pause, None, pressed, **at_once)
    controls.stop.click(stop, None, None, **at_once)
    controls.reset.click(reset, None, pressed, **at_once)
    page.beat.select(again, page.job_id, pressed, **at_once)
    page.scrub.select(scrub, None, outputs, queue=False, trigger_mode="always_last", **quiet)
    turn.change(follow, inputs, outputs, trigger_mode="multiple", concurrency_limit=None, **quiet)
    listing, shelved = [runs.visit, page.job_id], list(runs)
    for moved in (turn.change, page.take.change):
        moved(seen, listing, shelved, queue=False, trigger_mode="always_last", **quiet)
    runs.rows.select(shelve, listing, [*shelved, *pressed], **at_once)
    share_link.follow(limits, setup, link, files)
    address = gr.JSON(visible=False)
    demo.load(
        arrive, [page.job_id, address], [*pressed, *inputs, note], js=share_link.READ,
        queue=False, **quiet,
    )  # fmt: skip
    demo.unload(leave)
    return Stage(page.job_id, turn, setup, screens)
