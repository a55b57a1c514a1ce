"""What happens to a request before the page sees it: its path behind a proxy, and what no page sends is rejected."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.queueing import Event
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olora_viz.figures.live.serving import installed, script
from olora_viz.figures.live.standing_alone import PLOTLY
from olora_viz.web.guard.visitor_files import route

MOST_BYTES = 8 * 2**20
"""The largest request that is read; the largest one of a page is a visitor's own file, as JSON."""


def application_options(*routes: Route) -> dict[str, Any]:
    """Return the arguments of the web application: its middleware, its errors, the downloads and further routes."""
    return {
        "middleware": [Middleware(UnderAPath), Middleware(SmallBodies, most=MOST_BYTES)],
        "exception_handlers": {RequestValidationError: _misshapen},
        "routes": [route(), *routes],
        "lifespan": _without_copies,
    }


class _NoCopy(SessionState):
    """What Gradio knows of a page during one event: the application, and nothing of the page."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values, self.state_data, self._state_ttl, self.is_closed = {}, {}, {}, False

    def __setitem__(self, key: int, value: Any) -> None:
        self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class _NoCopies(StateHolder):
    """Holds no page: Gradio would take 60 ms to copy the application for each, and keep it with all it was sent."""

    def __getitem__(self, session_id: str) -> SessionState:
        return _NoCopy(self.blocks)


@asynccontextmanager
async def _without_copies(app: App) -> AsyncGenerator[None]:
    app.state_holder = _NoCopies()
    app.state_holder.set_blocks(app.get_blocks())
    yield


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


PREFIX = re.compile(r"(/[\w~-][\w.~-]{0,63}){1,8}")
"""A path under which a proxy serves the page; other values of the header are ignored."""

_SCRIPT = script(Path(__file__).parent / "first.js", plotly=installed(PLOTLY))

FIRST = "\n".join(['<link rel="icon" href="./favicon.ico" />', f"<script>{{\n{_SCRIPT}}}</script>"])
"""Inserted into the head of the page, before Gradio's own scripts."""


class UnderAPath:
    """Middleware that serves the application under the path that X-Forwarded-Prefix names.

    The path ``GRADIO_ROOT_PATH`` takes precedence. Proxies may remove the path from the requests or leave it there. If
    a proxy names no path, it is taken from the address of the page that sends a request. The page goes out compressed,
    which Gradio does for files with an extension only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # At this level a page goes out at an eighth of its size, in some milliseconds.
        self.page = GZipMiddleware(self._with_first_script, compresslevel=5)

    async def _with_first_script(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, _inserting_first_script(send))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the path of a request; put the first script into a page, and compress it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not scope.get("root_path"):
            scope = {**scope, "root_path": _prefix(Headers(scope=scope))}
        inside = scope["path"].removeprefix(scope.get("root_path", ""))
        is_page = scope["type"] == "http" and inside in ("", "/")
        if not inside:  # the path without its slash: the script asks for it with the slash
            scope = {**scope, "path": f"{scope['path']}/"}
        await (self.page if is_page else self.app)(scope, receive, send)


def _prefix(headers: Headers) -> str:
    """Return the path under which a proxy serves the page, without a trailing slash."""
    prefix = headers.get("x-forwarded-prefix")
    if prefix is None:
        page = urlsplit(headers.get("referer", ""))
        hosts = headers.get("x-forwarded-host", headers.get("host", ""))
        prefix = page.path.rpartition("/")[0] if page.netloc in hosts.split(",") else ""
    prefix = prefix.split(",")[0].strip().rstrip("/")
    return prefix if PREFIX.fullmatch(prefix) else ""


def _inserting_first_script(send: Send) -> Send:
    """Buffer an HTML page until it is complete, and insert the first script into its head."""
    start: Message = {}
    parts: list[bytes] = []

    async def put(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
            if not Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                start = {}
                await send(message)
            return
        if not start:
            await send(message)
            return
        parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = b"".join(parts).replace(b"</head>", FIRST.encode() + b"</head>", 1)
        MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return put
