"""What stands before the whole application: which addresses it answers, and to whom.

A browser sends requests wherever a page tells it to, also into the network that it is in. What changes something has
to come from the server's own page: Fetch Metadata says so where the address is secure, and else the Origin does. A
program sends neither, and acts for itself. What a frame of another site holds is the server's own page.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_ROUTES: Mapping[str, Sequence[str]] = {
    "GET": (
        "/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/static/{path:path}", "/assets/{path:path}",
        "/gradio_api/info", "/gradio_api/startup-events", "/gradio_api/heartbeat/{session_hash}",
        "/gradio_api/queue/data", "/gradio_api/file={path_or_url:path}",
    ),
    "POST": (
        "/gradio_api/run/{api_name}", "/gradio_api/queue/join", "/gradio_api/component_server", "/gradio_api/cancel",
    ),
}  # fmt: skip
"""The routes of Gradio that the page, or a client of its API, asks for. Gradio declares many more: what stores files,
starts programs or fetches from elsewhere, and what a new version may add, is closed."""

CLOSED = "nothing is served at this address"

FORGED = (b"x-forwarded-host", b"x-gradio-server")
"""Headers from which Gradio would take the page's root: anybody can send them, and the page knows its own address."""

HOSTS = "OLORA_VIZ_HOSTS"
"""The variable with the names at which a server is reached, with commas between them."""

READING = ("GET", "HEAD")
"""Methods that change nothing."""

FROM_ANOTHER_SITE = (
    "this request comes from a page of another site. If it does not, the proxy in between must pass on the header "
    "Host, or name it in X-Forwarded-Host"
)

PROXY_PATH = re.compile(r"(/[\w~-][\w.~-]{0,63}){1,8}")
"""A path under which a proxy serves the page; other values of the header are ignored."""

_log = logging.getLogger("olora_viz")


class Gate:
    """Wraps the application: refuses what no page of its own sends, and notes what fails inside.

    The application is served under the path that X-Forwarded-Prefix names. The path ``GRADIO_ROOT_PATH`` takes
    precedence. Proxies may remove the path from the requests or leave it there. If a proxy names no path, it is taken
    from the address of the page that sends a request.

    Args:
        app: the application with its middleware.
        routes: those of the pages themselves, which are open beside `OPEN_ROUTES`.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self.app = app
        opened = [(method, path) for method, paths in OPEN_ROUTES.items() for path in paths]
        opened += [(method, route.path) for route in routes for method in route.methods or ()]
        self._open = [(method, compile_path(path)[0]) for method, path in opened]

    def is_open(self, method: str, path: str) -> bool:
        """Whether a request is answered at all; HEAD is as open as GET."""
        asked = "GET" if method == "HEAD" else method
        return any(asked == allowed and pattern.match(path) for allowed, pattern in self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            is_start = scope["type"] == "lifespan"  # or a web socket, of which there is none
            await (self.app(scope, receive, send) if is_start else send({"type": "websocket.close"}))
            return
        headers = Headers(scope=scope)
        root = scope.get("root_path") or _prefix(headers)
        inside = scope["path"].removeprefix(root).rstrip("/") or "/"
        refused = refusal(scope["method"], headers)
        if refused is None and not self.is_open(scope["method"], inside):
            refused = 404, CLOSED
        if refused is None and headers.get("content-type", "").startswith("multipart/"):
            refused = 415, "the server takes no files"
        if refused is not None:
            status, sentence = refused
            await PlainTextResponse(sentence, status, {"connection": "close"})(scope, receive, send)
            return
        own = [(name, value) for name, value in scope["headers"] if name not in FORGED]
        await self._answer({**scope, "root_path": root, "headers": own}, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; what fails in it leaves its traceback in the log once."""
        begun = ended = False

        async def watched(message: Message) -> None:
            nonlocal begun, ended
            await send(message)
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            note(error)
            if begun and not ended:
                with suppress(Exception):  # its length was announced: the connection ends without an end
                    await send({"type": "http.response.body", "body": b""})


def refusal(method: str, headers: Headers, environment: Mapping[str, str] = os.environ) -> tuple[int, str] | None:
    """Return the status and the sentence for a request that is not answered; None if it is.

    >>> refusal("POST", Headers({"host": "lab.example", "origin": "https://else.example"}))[0]
    403
    >>> refusal("GET", Headers({"host": "else.example"}), {"OLORA_VIZ_HOSTS": "lab.example"})[0]
    421
    """
    host = headers.get("host", "")
    named = [name.strip().lower() for name in environment.get(HOSTS, "").split(",") if name.strip()]
    if named and not _is_known(host, named):
        return 421, f"this server has no page of the name {host[:80]!r} ({HOSTS} has its names)"
    if method not in READING and not _is_own(headers, host):
        return 403, FROM_ANOTHER_SITE
    return None


def _is_known(host: str, named: Iterable[str]) -> bool:
    """Whether a host is a named one, or this machine, or a number, to which no other name can have led a browser."""
    name = _name_of(host)
    try:
        return name in named or name == "localhost" or bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return a host without its port.

    >>> _name_of("Lab.example:8000"), _name_of("[::1]:8000")
    ('lab.example', '[::1]')
    """
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdecimal() else host.lower()


def _is_own(headers: Headers, host: str) -> bool:
    """Whether a request comes from the server's own page, or from a program."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    hosts = [each.strip().lower() for each in (host, *headers.get("x-forwarded-host", "").split(","))]
    return origin is None or urlsplit(origin.lower()).netloc in filter(None, hosts)


_noted: set[tuple[str, str, int | None]] = set()


def note(error: Exception) -> None:
    """Log a failure with its traceback, the first one of its kind and place alone: a visitor may repeat it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    of = type(error).__name__, place.filename, place.lineno
    if of not in _noted:
        _noted.add(of)
        _log.error("a request failed; further ones that fail so are not noted", exc_info=error)


def _prefix(headers: Headers) -> str:
    """Return the path under which a proxy serves the page, without a trailing slash."""
    prefix = headers.get("x-forwarded-prefix")
    if prefix is None:
        page = urlsplit(headers.get("referer", ""))
        hosts = headers.get("x-forwarded-host", headers.get("host", ""))
        prefix = page.path.rpartition("/")[0] if page.netloc in hosts.split(",") else ""
    prefix = prefix.split(",")[0].strip().rstrip("/")
    return prefix if PROXY_PATH.fullmatch(prefix) else ""
