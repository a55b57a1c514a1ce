"""What happens to requests on their way to Gradio and back: the first script, sizes, and no copies of pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
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
from olora_viz.figures.live.standing_alone import PLOTLY_SCRIPT
from olora_viz.web.guard.gate import Gate
from olora_viz.web.guard.visitor_files import route

LARGEST_REQUEST = 8 * 2**20
"""The largest request that is read; the largest one of a page is a visitor's own file, as JSON."""


def application_options(*routes: Route) -> dict[str, Any]:
    """Return the arguments of the web application: its middleware, its errors, the downloads and further routes."""
    own = [route(), *routes]

    @asynccontextmanager
    async def begun(app: App) -> AsyncGenerator[None]:
        app.state_holder = _NoCopies()
        app.state_holder.set_blocks(app.get_blocks())
        assert app.middleware_stack is not None
        app.middleware_stack = Gate(app.middleware_stack, own)  # before Gradio's own middleware, which answers others
        yield

    return {
        "middleware": [Middleware(FirstScript), Middleware(SmallBodies, most=LARGEST_REQUEST)],
        "exception_handlers": {RequestValidationError: _misshapen},
        "routes": own,
        "lifespan": begun,
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


_SCRIPT = script(Path(__file__).parent / "first.js", plotly=installed(PLOTLY_SCRIPT))

HEAD_BEGINS = "\n".join(['<link rel="icon" href="./favicon.ico" />', f"<script>{{\n{_SCRIPT}}}</script>"])
"""Inserted into the head of the page, before Gradio's own scripts."""


class FirstScript:
    """Middleware that puts the first script into the page, and compresses it; no cache keeps it.

    Gradio compresses files with an extension only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # At this level a page goes out at an eighth of its size, in some milliseconds.
        self.page = GZipMiddleware(self._with_first_script, compresslevel=5)

    async def _with_first_script(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, _inserting_first_script(send))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request; a page's path may lack its slash, with which the script asks for it.

        Its query is for the scripts of the page alone: Gradio would look there for pages and links of its own, and
        fail at those that it does not know.
        """
        inside = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        is_page = scope["type"] == "http" and inside in ("", "/")
        if is_page:
            scope = {**scope, "path": scope["path"] if inside else f"{scope['path']}/", "query_string": b""}
        await (self.page if is_page else self.app)(scope, receive, send)


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
        body = b"".join(parts).replace(b"</head>", HEAD_BEGINS.encode() + b"</head>", 1)
        headers = MutableHeaders(raw=start["headers"])
        headers["content-length"] = str(len(body))
        headers["cache-control"] = "no-store"  # it names the address that it was asked at
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return put
