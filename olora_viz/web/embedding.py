"""The page under another path, or in a frame of another site: what its head says."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olora_viz.figures.live.serving import PLOTLY, installed, script

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
