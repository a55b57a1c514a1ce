"""Gradio's queue of events, of which each follows something, or waits: how many one visitor may have in it.

Every event takes one of the places in which events run at once, until it has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.queueing import Event

from olora_viz.web.guard.fairness import Places, room
from olora_viz.web.guard.limits import Limits, Visitor, visitor_of

MOST_EVENTS = 300
"""Events of all pages at once."""

PER_PAGE = 16
"""Of these, those of one page: it follows a race and its studies, and asks again before an earlier event has ended."""

PER_SCREEN = 4
"""Of these, those of one address, for each of the pages that may follow a race from there."""


@dataclass(frozen=True)
class LiveEvent:
    """An event that runs, or waits until it may."""

    owner: Visitor
    seen: float = field(default_factory=time.monotonic)


def share_out_events(demo: gr.Blocks, limits: Limits) -> None:
    """Refuse an event where its page or address has too many, or the last third of all places is taken.

    Whatever function it calls: through Gradio's queue all of them can be called, and what is called may wait.
    """
    queue = demo._queue
    push, send = queue.push, queue.send_message
    places = Places(MOST_EVENTS, PER_PAGE, PER_SCREEN * limits.address_screens, "requests")
    live: dict[str, LiveEvent] = {}

    async def push_if_there_is_room(body: Any, request: Any, username: str | None) -> Any:
        for ended in live.keys() - queue.event_ids_to_events.keys():
            del live[ended]
        event = LiveEvent(visitor_of(request, body.session_hash))
        try:
            room(list(live.values()), event.owner, places, lambda _: True)
        except ValueError as error:
            return False, str(error), "queue_full"
        answer = await push(body, request, username)
        accepted, name, _ = answer
        if accepted and isinstance(name, str):
            live[name] = event
        return answer

    def send_if_known(event: Event, event_message: Any) -> None:
        """Send nothing to a page that Gradio no longer knows, and go on.

        Gradio keeps the messages of the last 2000 pages. Without this, an event of a page that it has forgotten raises
        a KeyError, which stops Gradio's queue for all pages.
        """
        if event.session_hash in queue.pending_messages_per_session:
            send(event, event_message)

    queue.push, queue.send_message = push_if_there_is_room, send_if_known
