"""Rejection of requests that no page sends: too large, or not matching the endpoint."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.queueing import Event
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olora_viz.web.guard.visitor_files import route

MOST_BYTES = 8 * 2**20
"""The largest request that is read; the largest one of a page is a visitor's own file, as JSON."""


def application_options(*outer: Middleware) -> dict[str, Any]:
    """Return the arguments that make the web application reject them, and serve the downloads.

    Args:
        outer: further middleware, outside this one.
    """
    return {
        "middleware": [*outer, Middleware(SmallBodies, most=MOST_BYTES)],
        "exception_handlers": {RequestValidationError: _misshapen},
        "routes": [route()],
    }


def forgive_forgotten_pages(demo: gr.Blocks) -> None:
    """Send nothing to a page that Gradio no longer knows, and go on.

    Gradio keeps the messages of the last 2000 pages. Without this, an event of a page that it has forgotten raises a
    KeyError, which stops Gradio's queue for all pages.
    """
    queue = demo._queue
    send = queue.send_message

    def send_if_known(event: Event, event_message: Any) -> None:
        if event.session_hash in queue.pending_messages_per_session:
            send(event, event_message)

    queue.send_message = send_if_known


async def _misshapen(request: Request, error: Exception) -> PlainTextResponse:
    """Answer without an echo of the request, which may not be serializable as JSON."""
    return PlainTextResponse("the request does not match this endpoint", 422)


class _TooLargeError(Exception):
    """Raised while a body is read."""


class SmallBodies:
    """Middleware that answers 413 to a request whose body has more than `most` bytes."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes received; an announced length that is too large is rejected at once."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > self.most:
            await self._refuse(send)
            return
        read, answered = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            # The application's answer to a truncated body is not sent.
            nonlocal answered
            if read <= self.most:
                answered = True
                await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, counted, watched)
        if read > self.most and not answered:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        sentence = f"a request must have at most {self.most} bytes".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": sentence})
