"""The one stream of a page: it follows a run, and draws the cards that have news."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

from olora_viz.background.record import FAILED, LOADING, NEXT, WAITING, Wait
from olora_viz.machine.memory import give_back
from olora_viz.views.race import RaceView, race_view
from olora_viz.web.guard.fairness import too_many
from olora_viz.web.guard.limits import NOBODY, Limits, Visitor
from olora_viz.web.jobs.job import Access
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import Board
from olora_viz.web.parts.setup import of_recording

UPDATE_EVERY = 0.2
"""Minimum seconds between two updates of a page: at most five per second."""

UPDATES = 80.0
"""Most updates a second of all open pages together: where there are more than sixteen, each has fewer."""

FIRST_PACE = 0.05
"""The same before the first step, seconds."""

SETTLING = 0.5
"""Seconds for which the cards below the top bar keep what they show while a race loads: most races have their first
point by then, and drawing empty charts would delay it."""

UPDATES_SHARE = 0.07
"""Maximum fraction of the training time spent on preparing updates."""

ALIVE_EVERY = 2.0
"""Seconds between signs of life to a page whose run has no news."""

TOP_BAR = ("status", "controls", "readers")
"""Names of the cards that are drawn anew when the run is gone; the others keep its last results."""

MOST_STREAMS = 240
"""Maximum number of streams at once."""

AGAIN = "Press Race to run the set-up again."

RACE_GONE = (
    "This race is no longer on the server, which was restarted or made room for newer ones. You "
    f"see its last update. {AGAIN}"
)

CROWDED = (
    "More than {} pages from your network follow a race here, the maximum for one address. This "
    "page, the oldest, is no longer updated: close others and reload it."
)

_waiting = ThreadPoolExecutor(MOST_STREAMS + 16, thread_name_prefix="follow")
"""Threads that wait for runs: one per open page, until its run ends."""


_views: dict[tuple[str, bool, int | None], RaceView] = {}
"""The latest views, at most `MOST_VIEWS`, by the names of their races, which equal ones have in common, for owners or
readers and by the step that a page went back to: they are drawn once for all pages."""

MOST_VIEWS = 16

ALWAYS_SENT = ("run", "state", "complete", "owned")
"""Fields of a view that say, beside what is known of the race, whether it shows the same as another."""


def view_of(shown: Access, upto: int | None = None, before: Wait = NEXT) -> RaceView:
    """Show a run up to a step, or all of it; a recorded run has a link to its set-up."""
    run = shown.record
    link = of_recording(run.config).to_query() if run.recorded else ""
    view = race_view(run, upto=upto, before=before, link=link, owned=shown.owned)
    race = shown.race
    key = run.name, shown.owned, upto
    latest = _views.get(key) if race else None
    if latest is not None and is_alike(view, latest):
        view = replace(view, common=latest.common)
    elif race:
        _views[key] = view
        for name in list(_views)[:-MOST_VIEWS]:
            _views.pop(name, None)
    if race and shown.owned:
        view = replace(view, own_prompt=race.own_prompt, refused=race.refused, copied=race.seat.steps_of)
    return replace(view, readers_key=shown.readers_key)


def is_alike(view: RaceView, other: RaceView) -> bool:
    """Whether two views of equal races show the same but for what one page has of its own."""
    ours, theirs = view.race, other.race
    if ours.steps != theirs.steps or ours.answers != theirs.answers or ours.tested is not theirs.tested:
        return False
    noted = ours.state != FAILED or ours.note == theirs.note
    return noted and all(getattr(view, name) == getattr(other, name) for name in ALWAYS_SENT)


@dataclass(eq=False)
class Stream:
    """An open stream."""

    upto: int | None = None
    """The last step to show; None shows all of the run."""
    owner: Visitor = NOBODY
    seen: float = field(default_factory=time.monotonic)
    """When it was opened."""
    crowded_out: bool = False
    """Whether it ends because its visitor opened too many."""
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an update is on its way: Gradio asks for the next one when it has sent the last."""


class Streams:
    """The streams of all open pages; a new stream ends the page's previous one.

    Gradio's page can also cancel a stream, but it does not track which one. Only a page's streams fill its cards, one
    after the other, so a late update cannot overwrite a newer one.
    """

    def __init__(self, jobs: Jobs, board: Board, blank: RaceView, per_address: int = Limits.address_screens) -> None:
        self._jobs, self._board, self._blank = jobs, board, blank
        self._per_address = per_address
        self._open: dict[str, Stream] = {}
        self._drawing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held by the page that draws a race, by its name: the others that show it then find it drawn."""

    async def follow(self, page: str, key: Any, owner: Visitor = NOBODY) -> AsyncIterator[list[Any]]:
        """Yield the values of the pulse and of the board's outputs until nothing will change.

        A paused run is followed as well: another tab may resume it.

        Args:
            page: Gradio's session hash of the page.
            key: the run's, of its owner or its readers; a page without a run requests no stream.
            owner: whose page it is; where a visitor has too many, the oldest is told that it ends.
        """
        stream = await self._take_over(page, owner)
        cursor: dict[str, Any] = {}
        shown: Any = None
        sent: list[Any] = []
        try:
            for beat in itertools.count(1):
                run = self._jobs.opened(key)
                if run is None:
                    top = self._board.row(self._blank, lambda card: card.name in TOP_BAR)
                    yield [{"going": False, "gone": RACE_GONE}, *top]
                    return
                async with self._drawing.setdefault((run.race or run.record).name, asyncio.Lock()):
                    job, began = run.race, time.monotonic()
                    version = job.version if job else 0
                    before = self._jobs.before(job).shown if job and job.state == WAITING else NEXT
                    row, complete = self._board.nothing(), run.record.complete
                    loads = job is not None and job.state == LOADING and not job.steps
                    settling = loads and began - stream.seen < SETTLING
                    last, shown = shown, (version, before, complete, stream.upto, settling)
                    if shown != last:
                        draw = (self._drawn, run, stream.upto, before, cursor, settling)
                        row, cursor, complete = await asyncio.to_thread(*draw)
                if self._open.get(page) is not stream:
                    return
                if stream.crowded_out:
                    yield [{"going": False, "gone": CROWDED.format(self._per_address)}, *self._board.nothing()]
                    return
                row = sent = self._board.sent_again(row, sent)
                async with stream.sending:
                    yield [{"going": not complete, "beat": beat}, *row]
                if complete:
                    await asyncio.to_thread(give_back)  # what the drawing of the race has taken
                    return
                assert job is not None
                spent = time.monotonic() - began
                pace = max(UPDATE_EVERY, len(self._open) / UPDATES)
                await asyncio.sleep(
                    max(pace - spent, min(spent / UPDATES_SHARE, ALIVE_EVERY)) if job.steps else FIRST_PACE
                )
                await asyncio.get_running_loop().run_in_executor(_waiting, job.newer, version, ALIVE_EVERY)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            # The server ends: its threads take no more work, and the page sees that it does not answer.
        finally:
            if self._open.get(page) is stream:
                del self._open[page]

    def _drawn(
        self, run: Access, upto: int | None, before: Wait, cursor: dict[str, Any], settling: bool
    ) -> tuple[list[Any], dict[str, Any], bool]:
        """Return a row, what a page shows that has it, and whether that is the end."""
        view = view_of(run, upto, before)
        row = self._board.row(
            view, lambda card: card.news(view, cursor) and (not settling or card.name in TOP_BAR), cursor
        )
        return row, cursor if settling else self._board.facts(view), view.complete

    async def blank(self, page: str, view: RaceView) -> AsyncIterator[list[Any]]:
        """Yield the values for a page without a run: the view of the race that its set-up would start."""
        stream = await self._take_over(page)
        row = await asyncio.to_thread(self._board.row, view)
        if self._open.get(page) is stream:
            del self._open[page]
            yield [{"going": False}, *row]

    async def _take_over(self, page: str, owner: Visitor = NOBODY) -> Stream:
        """End the page's open stream, after its last update was sent."""
        before, stream = self._open.get(page), Stream(owner=owner)
        self._open[page] = stream
        own = [other for other in self._open.values() if other.owner.share == owner.share != ""]
        for other in (*too_many(own, self._per_address), *too_many(self._open.values(), MOST_STREAMS)):
            other.crowded_out = True
        if before is not None:
            async with before.sending:
                pass
        return stream

    def go_back(self, page: str, step: int | None) -> None:
        """Make the page's open stream, if any, show the run up to a step; None shows all."""
        stream = self._open.get(page)
        if stream is not None:
            stream.upto = step

    def end(self, page: str) -> None:
        """End the stream of a page that was closed."""
        self._open.pop(page, None)
