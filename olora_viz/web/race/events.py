"""The events of the Race page: buttons, slider, stream and loading.

Every event receives the key of the current run, which the browser holds: its owner's, or its readers'. `Commands`
checks and executes its request.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.background.record import PAUSED, ready_race
from olora_viz.views.html import refusal
from olora_viz.views.race import RaceView
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor, visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import Access
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import LATEST_ONLY, PRIVATE, UNQUEUED, Board, Desk, again
from olora_viz.web.parts.setup import SetUp, SetUpControls
from olora_viz.web.race.arrival import ARRIVE_SCRIPT, arrive
from olora_viz.web.race.controls import COUNTDOWN, Buttons
from olora_viz.web.race.copied import asked_speed
from olora_viz.web.race.settings import choices_of, offered
from olora_viz.web.race.shelf import checked
from olora_viz.web.race.stream import Streams, view_of


class Pressed(NamedTuple):
    """The outputs that a button changes immediately."""

    run: Any = gr.skip()
    again: Any = gr.skip()
    status: Any = gr.skip()


class Commands:
    """The commands of a page; the key of a run says which of them it obeys."""

    def __init__(self, jobs: Jobs, limits: Limits, files: VisitorFiles) -> None:
        self._jobs, self._limits, self._files = jobs, limits, files

    def press(
        self, what: str, run: Any, controls: Sequence[Any], owner: Visitor = NOBODY, page: str | None = None
    ) -> Pressed:
        """Control the page's run, or start a race if it has none or the run has ended.

        Args:
            what: resume, step, pause or stop.
            controls: the values of the set-up's controls.
            owner: who pressed.
            page: Gradio's session hash of the page; a visitor's own file is raced by its page alone.
        """
        try:
            if self.do(run, what) or what in ("pause", "stop"):
                return Pressed()
            values = dict(zip(SetUpControls._fields, controls, strict=True))
            config = checked_config(self._limits, **values, files=FilesOfPage(self._files, page))
            return Pressed(self._jobs.race(config, 1 if what == "step" else math.inf, owner).id, again())
        except ValueError as error:
            return _problem(error)

    def start_on_cpu(self, run: Any, owner: Visitor = NOBODY) -> str:
        """Queue the race of a run, by its owner's key, to which no GPU was lent anew, on the CPU; return its key.

        Raises:
            ValueError: there is no such run, or no place in the queue.
        """
        job = self._jobs.get(run)
        if job is None or not job.refused:
            raise ValueError("only a race that waits for a GPU is raced on the CPU instead")
        return self._jobs.start(replace(job.raced, device="cpu"), owner=owner).id

    def start_anew(self, run: Any, owner: Visitor = NOBODY) -> str:
        """Queue the race of a run, by its owner's key, whose steps an equal one has computed; return its key.

        Raises:
            ValueError: there is no such run, or no place in the queue.
        """
        job = self._jobs.get(run)
        if job is None or not job.seat.copied:
            raise ValueError("this race is no longer available: press Race to run the set-up again")
        self._jobs.stop(job, catch_up=False)
        return self._jobs.start(job.raced, owner=owner).id

    def show_at(self, run: Any, speed: float) -> None:
        """Show a run, by its owner's key, at another speed than its steps were computed at."""
        job = self._jobs.get(run)
        if job is not None:
            job.seat.show_at(speed)

    def do(self, run: Any, what: str) -> bool:
        """Pause, step, resume, stop or reset a run, by its owner's key; return whether there is one that goes on.

        Raises:
            ValueError: the queue is full.
        """
        job = self._jobs.get(run)
        if job is None or job.ended:
            return False
        if what in ("stop", "reset"):
            self._jobs.stop(job, catch_up=what == "stop")
        elif what == "pause" and job.state != PAUSED:
            self._jobs.pause(job)
        else:  # the pause button resumes a paused run
            self._jobs.resume(job, len(job.steps) + 1 if what == "step" else math.inf)
        return True

    def show(self, run: Any, step: Any = None) -> RaceView | None:
        """Show a run at a step, by default the latest; None if there is no such run."""
        access = self._jobs.opened(run)
        return view_of(access, _earlier(step, len(access.record.steps))) if access else None

    def ready(self, controls: Sequence[Any]) -> RaceView:
        """Show the set-up before its race starts; the page's default if the set-up is invalid."""
        try:
            setup = SetUp.from_controls(self._limits, controls, self._files)
        except ValueError:
            setup = SetUp.first(self._limits)
        return view_of(Access(None, recorded=ready_race(setup.to_config(self._limits, self._files))))


def _earlier(step: Any, steps: int) -> int | None:
    """Return the last step to show, of a number of completed steps; None shows all of a race.

    >>> _earlier(3, 10), _earlier(10, 10), _earlier("3", 10), _earlier(-1, 10)
    (3, None, None, None)
    """
    if isinstance(step, bool) or not isinstance(step, int | float):
        return None
    return int(step) if 0 <= step < steps else None


def _problem(error: ValueError) -> Pressed:
    return Pressed(status=refusal(str(error)))


def connect(demo: gr.Blocks, desk: Desk, board: Board, controls: SetUpControls, files: VisitorFiles) -> Any:
    """Connect the page to its cards and to the controls of its set-up; return the event of its stream."""
    commands = Commands(desk.jobs, desk.limits, files)
    streams = Streams(desk.jobs, board, desk.blank, desk.limits.address_screens)
    listed = choices_of(desk.limits)
    scrubber, visit, own = desk.parts["scrubber"], desk.parts["visit"], desk.parts["own"]
    note, countdown = desk.parts["note"], desk.parts["countdown"]

    def race(request: gr.Request, run: Any, *values: Any) -> Pressed:
        return commands.press("resume", run, values, visitor_of(request), request.session_hash)

    def step(request: gr.Request, run: Any, *values: Any) -> Pressed:
        return commands.press("step", run, values, visitor_of(request), request.session_hash)

    def pause(run: Any) -> Pressed:
        return commands.press("pause", run, ())

    def stop(run: Any) -> Pressed:
        return commands.press("stop", run, ())

    def race_on_cpu(request: gr.Request, run: Any) -> Pressed:
        try:
            return Pressed(commands.start_on_cpu(run, visitor_of(request)), again())
        except ValueError as error:
            return _problem(error)

    def reset(run: Any) -> Pressed:
        commands.do(run, "reset")
        return Pressed("", again())

    def of_copied(request: gr.Request, run: Any, event: gr.SelectData) -> Pressed:
        speed = asked_speed(event.value)
        if speed is not None:
            commands.show_at(run, speed)
            return Pressed()
        try:
            return Pressed(commands.start_anew(run, visitor_of(request)), again())
        except ValueError as error:
            return _problem(error)

    def show(request: gr.Request, run: Any, event: gr.SelectData) -> list[Any]:
        """Show an earlier step, or follow the run from its latest one."""
        view = commands.show(run, event.value)
        if view is None:
            return board.nothing()
        streams.go_back(request.session_hash or "", view.step if view.step < view.steps_done else None)
        return board.row(view)

    async def follow(request: gr.Request, run: Any, *values: Any) -> AsyncIterator[list[Any]]:
        """Fill the cards: with the run, or for the set-up where there is none."""
        name = request.session_hash or ""
        visitor = visitor_of(request)
        desk.jobs.pages.open(visitor, run)
        rows = streams.follow(name, run, visitor) if run else streams.blank(name, commands.ready(values))
        async for row in rows:
            yield row
        # Gradio sends the last row once more, as a whole and late: let it be one without values.
        yield [gr.skip(), *board.nothing()]

    def opened(request: gr.Request, run: Any, kept: Any, address: Any) -> dict[Any, Any]:
        visitor = visitor_of(request)
        desk.jobs.pages.open(visitor)
        arrival = arrive(desk.limits, desk.jobs, files, run, kept, address, request.session_hash, visitor)
        changed: dict[Any, Any] = {
            desk.run: arrival.run or "", desk.again: again(), visit: checked(desk.jobs, kept), note: arrival.words,
            countdown: COUNTDOWN if arrival.starts else None,
        }  # fmt: skip
        if arrival.setup and arrival.setup != SetUp.first(desk.limits):  # what is there stays: it may be edited by now
            changed |= zip(controls, arrival.setup.to_controls(), strict=True)
        for name, choices in choices_of(desk.limits).items():
            if choices != listed[name]:  # one has been downloaded meanwhile
                value = changed.get(getattr(controls, name), gr.skip())
                chosen = {} if value == gr.skip() else {"value": value}
                changed[getattr(controls, name)] = gr.update(choices=choices, **chosen)
        if arrival.brought is not None:
            changed[controls.task], changed[own] = offered(arrival.brought, arrival.setup)
        return changed

    def leave(request: gr.Request) -> None:
        streams.end(request.session_hash or "")
        desk.jobs.pages.close(visitor_of(request))
        files.forget(request.session_hash)

    buttons: Buttons = desk.parts["buttons"]
    pressed = [desk.run, desk.again, desk.parts["status"]]
    once = {**LATEST_ONLY, "trigger_mode": "once"}  # a double click is one race
    buttons.race.click(race, [desk.run, *controls], pressed, **once)
    buttons.step.click(step, [desk.run, *controls], pressed, **once)
    desk.parts["copied"].select(of_copied, desk.run, pressed, trigger_mode="multiple", **UNQUEUED)
    desk.parts["cpu"].click(race_on_cpu, desk.run, pressed, **once)
    buttons.pause.click(pause, desk.run, pressed, **LATEST_ONLY)
    buttons.stop.click(stop, desk.run, pressed, **LATEST_ONLY)
    buttons.reset.click(reset, desk.run, pressed, **LATEST_ONLY)
    scrubber.select(show, desk.run, board.outputs, **LATEST_ONLY)
    stream = desk.again.select(
        follow, [desk.run, *controls], [desk.again, *board.outputs], trigger_mode="multiple",
        concurrency_limit=None, **PRIVATE,
    )  # fmt: skip
    outputs = [desk.run, desk.again, visit, *controls, note, own, countdown]
    demo.load(opened, [desk.run, visit, desk.parts["address"]], outputs, js=ARRIVE_SCRIPT, queue=False, **PRIVATE)
    demo.unload(leave)
    return stream
