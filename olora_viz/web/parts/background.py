"""What a page has computed in the background: it starts it, follows it, stops it, and finds it after a reload.

The pages Decide and Claims have studies computed, on the model and task of the set-up, within some minutes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import gradio as gr
from markupsafe import Markup

from olora_viz.background.record import FAILED, READY, WAITING, Wait
from olora_viz.background.study import BackgroundStudy, Deciding, Judging
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.theme import lane_styles
from olora_viz.machine.checks import is_empty, positive_number
from olora_viz.machine.wording import about, counted
from olora_viz.races.config import RaceConfig
from olora_viz.tasks.keep import NONE
from olora_viz.views.html import problem, status, waiting
from olora_viz.web.guard.config import OwnFiles, checked_config
from olora_viz.web.guard.limits import Limits, Visitor, visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.job import here, new_key, study_folder
from olora_viz.web.jobs.shared import study_key
from olora_viz.web.parts.card import PRIVATE, UNQUEUED, element, small_button

if TYPE_CHECKING:
    from olora_viz.web.jobs.queue import Jobs

W = TypeVar("W", bound=BackgroundWork)


SIGN = 2.0
"""Seconds between signs of life of work without news: Gradio ends the event of a closed page at its next update."""


async def changes(jobs: Jobs, work: BackgroundWork, pace: float = 0.5) -> AsyncIterator[tuple[Wait, bool] | None]:
    """Yield what is ahead of work and whether it is complete, at every change; None as a sign of life.

    It ends when the work is complete or gone.

    Args:
        pace: minimum seconds between two updates.
    """
    before: object = None
    told = time.monotonic()
    while jobs.find(work.id, BackgroundWork):
        complete, ahead = work.complete, jobs.before(work).shown
        now = (work.version, complete, ahead)
        if now != before:
            before, told = now, time.monotonic()
            yield ahead, complete
        elif time.monotonic() - told > SIGN:
            told = time.monotonic()
            yield None
        if complete:
            return
        await asyncio.sleep(pace)


class StartButton(NamedTuple, Generic[W]):
    """A button that starts work."""

    button: gr.Button
    inputs: Sequence[Any]
    put: Callable[[OwnFiles, Sequence[Any], Visitor], W]
    """Puts the work into the queue, given the page's files, the values of the inputs and who asks for it; a ValueError
    says in one sentence why not."""


@dataclass(frozen=True)
class PageWork(Generic[W]):
    """The work of a page in the background, whose keys the browser holds."""

    kinds: Mapping[gr.HTML, type[W]]
    """The kinds of work by the component that holds the key of the latest one, see `held`."""
    outputs: Sequence[Any]
    """The components that an update fills."""
    status: Any
    """The one of them that says why work was not started."""
    view: Callable[[W, Wait, bool], Sequence[Any]]
    """Returns the values of the outputs, given the work, what is ahead of it, and whether this is the last
    update. Those that a page has already are not sent again."""
    pace: float = 0.5
    """Minimum seconds between two updates."""

    def connect(
        self, demo: gr.Blocks, jobs: Jobs, files: VisitorFiles, starts: Sequence[StartButton[W]], stops: gr.Button
    ) -> None:
        """Connect the buttons, and show the work again when its page is opened again."""
        keys, outputs = list(self.kinds), list(self.outputs)
        unchanged = [gr.skip()] * len(outputs)

        def held_work(ids: Sequence[Any]) -> list[W]:
            pairs = zip(ids, self.kinds.values(), strict=True)
            return [work for id, kind in pairs if (work := jobs.find(id, kind)) is not None]

        async def follow(work: W) -> AsyncIterator[list[Any]]:
            sent = unchanged
            async for change in changes(jobs, work, self.pace):
                if change is None:
                    yield unchanged
                    continue
                shown = list(await asyncio.to_thread(self.view, work, *change))
                yield [gr.skip() if new == old else new for new, old in zip(shown, sent, strict=True)]
                sent = [old if new == gr.skip() else new for new, old in zip(shown, sent, strict=True)]

        def starting(pressed: StartButton[W]) -> Callable[..., AsyncIterator[list[Any]]]:
            async def start(request: gr.Request, *values: Any) -> AsyncIterator[list[Any]]:
                try:
                    work = pressed.put(FilesOfPage(files, request.session_hash), values, visitor_of(request))
                except ValueError as error:
                    yield [problem(str(error)) if part is self.status else gr.skip() for part in outputs]
                    return
                async for row in follow(work):
                    yield row

            return start

        async def go_on(*ids: Any) -> AsyncIterator[list[Any]]:
            yield unchanged
            for work in held_work(ids):
                async for row in follow(work):
                    yield row

        def stop(*ids: Any) -> None:
            for work in held_work(ids):
                jobs.stop(work)

        options: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}
        for start in starts:
            start.button.click(starting(start), list(start.inputs), outputs, **options)
        stops.click(stop, keys, None, **UNQUEUED)
        names = json.dumps([key.props["storage"] for key in keys])
        read = f"() => {names}.map((name) => sessionStorage.getItem(name))"
        demo.load(go_on, keys, outputs, js=read, **options)


def work_status(work: BackgroundWork, ahead: Wait, words: str) -> Markup:
    """Return the status of work, with a bar while it computes.

    Args:
        ahead: what is ahead of it.
        words: what it does, or has found.
    """
    if work.state == FAILED:
        return problem(work.note)
    if work.state == WAITING:
        return waiting(ahead)
    line = status(work.state, *filter(None, [words]))
    if work.ended:
        return line
    return line + Markup(
        '<div class="bar" role="progressbar" aria-label="{state}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{percent:.0f}"><i style="width:{percent:.0f}%"></i>'
        "</div>"
    ).format(state=work.state, percent=100 * work.part)


OF_STUDIES = ("chat", "truncate", "keep")
"""The settings of a race that studies have as well: how examples are read, and what should not be lost."""


def put_study(
    jobs: Jobs, config: RaceConfig, question: Deciding | Judging, minutes: int, owner: Visitor
) -> BackgroundStudy:
    """Put a study into the queue, with a lane for each start, at no rate yet.

    Args:
        config: see `checked_study`.
        owner: who asks for it.

    Raises:
        ValueError: the queue is full; the message is one sentence.
    """
    name, styles = new_key(), lane_styles(config.lanes)
    folder = study_folder(jobs.folder / name)
    study = BackgroundStudy(name, here(config), folder, styles, minutes=float(minutes), question=question)
    return jobs.study(study, study_key(f"{question}", config, minutes), owner)


def checked_study(
    limits: Limits, files: OwnFiles, offered: Sequence[int], *, model: Any, task: Any, minutes: Any,
    inits: Sequence[Any], rank: Any, batch: int = 1, settings: Any = None, forget: Any = None,
) -> RaceConfig:  # fmt: skip
    """Return the set-up of a study, whose lanes are the starts.

    Args:
        offered: the time limits that the server offers.
        model, task, minutes, inits, rank, batch: as a page sent them.
        settings: as a page sent them; those `OF_STUDIES` count.
        forget: as a page sent it: the limit on what may be forgotten, empty for none.

    Raises:
        ValueError: a value breaks a rule; the message is one sentence.
    """
    if isinstance(minutes, bool) or minutes not in offered:
        raise ValueError(f"minutes must be one of {', '.join(map(str, offered))}, not {minutes!r:.40}")
    sent = settings if isinstance(settings, dict) else {}
    config = checked_config(
        limits, model=model, task=task, steps=1, batch=batch, files=files,
        lanes=[{"init": init, "r": rank, "lr": 1e-3, "seed": 0} for init in inits],
        settings={"keep": NONE} | {name: sent[name] for name in OF_STUDIES if name in sent},
    )  # fmt: skip
    if not is_empty(forget):
        limit = positive_number("what may be forgotten, in nats,", forget, zero=True)
        if not config.keeps_text:
            raise ValueError("a limit on what may be forgotten needs a text to keep: choose one under More settings")
        config = replace(config, forget=limit)
    return config


class StudyBar(NamedTuple):
    """The components of a page with a study in the top bar."""

    status: gr.HTML
    start: gr.Button
    stop: gr.Button


def study_bar(page: str, label: str) -> StudyBar:
    """Make the status of a page and its buttons, with the label of the one that starts the study."""
    only = f"{page}-only"
    return StudyBar(
        status=element(status(READY), elem_id=f"{page}-status", elem_classes=only),
        start=small_button(label, f"{page}-button", variant="primary", elem_classes=only),
        stop=small_button("■ Stop", f"{page}-stop-button", interactive=False, elem_classes=only),
    )


def study_status(work: BackgroundStudy, ahead: Wait, *facts: str) -> Markup:
    """Return the status of a study, and whose it is.

    Args:
        ahead: what is ahead of it.
        facts: shown once it has begun, after its note.
    """
    if work.state == WAITING:
        return waiting(ahead)
    seat = work.seat
    if seat.resumed_at:
        facts += (f"it goes on from an equal one that was stopped after {counted(seat.resumed_at, 'lane')}",)
    if seat.asked:
        facts += (f"another page began it {about(max(1.0, seat.asked - seat.began))} before you asked",)
    return status(work.state, *filter(None, [work.note]), *facts)
