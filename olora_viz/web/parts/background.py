"""What a page has computed in the background: it starts it, follows it, stops it, and finds it after a reload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import gradio as gr

from olora_viz.background.work import BackgroundWork
from olora_viz.views.html import problem
from olora_viz.web.guard.config import OwnFiles
from olora_viz.web.guard.limits import Visitor, visitor_of
from olora_viz.web.guard.visitor_files import FilesOfPage, VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import AT_ONCE, PRIVATE

W = TypeVar("W", bound=BackgroundWork)


async def changes(jobs: Jobs, find: Callable[[], W | None], pace: float = 0.5) -> AsyncIterator[tuple[W, int, bool]]:
    """Yield a job, the number of jobs ahead of it and whether it is complete, at every change.

    It ends when the job is complete or gone.

    Args:
        find: returns the job, None if it is gone.
        pace: minimum seconds between two updates.
    """
    before: object = None
    while (work := find()) is not None:
        complete, ahead = work.complete, jobs.before(work)
        now = (work.version, complete, ahead)
        if now != before:
            before = now
            yield work, ahead, complete
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
    view: Callable[[W, int, bool], Sequence[Any]]
    """Returns the values of the outputs, given the work, the number of jobs ahead of it, and whether this is the last
    update. Those that a page has already are not sent again."""
    pace: float = 0.5
    """Minimum seconds between two updates."""

    def connect(
        self,
        demo: gr.Blocks,
        jobs: Jobs,
        files: VisitorFiles,
        starts: Sequence[StartButton[W]],
        stop_button: gr.Button,
    ) -> None:
        """Connect the buttons, and show the work again when its page is opened again.

        Args:
            files: the visitors' own files.
        """
        keys, outputs = list(self.kinds), list(self.outputs)
        unchanged = [gr.skip()] * len(outputs)

        def held_work(ids: Sequence[Any]) -> list[W]:
            pairs = zip(ids, self.kinds.values(), strict=True)
            return [work for id, kind in pairs if (work := jobs.find(id, kind)) is not None]

        async def follow(work: W) -> AsyncIterator[list[Any]]:
            sent = unchanged
            async for current, ahead, last in changes(jobs, partial(jobs.find, work.id, type(work)), self.pace):
                shown = list(await asyncio.to_thread(self.view, current, ahead, last))
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
        stop_button.click(stop, keys, None, **AT_ONCE)
        names = json.dumps([key.props["storage"] for key in keys])
        read = f"() => {names}.map((name) => sessionStorage.getItem(name))"
        demo.load(go_on, keys, outputs, js=read, **options)
