"""A small reverse proxy, and pages that embed others: what stands before the app on the web."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from support.served import free_port

OWN = {"host", "content-length", "transfer-encoding", "connection"}


@contextmanager
def proxy(target: str, path: str, *, strips: bool = True, tells: bool = True) -> Iterator[str]:
    """Serve an application under a path, and nothing else; return the address with the path.

    Args:
        strips: whether requests arrive without the path.
        tells: whether they say it in X-Forwarded-Prefix.
    """
    # The application may end an idle connection just when the next request is sent on it.
    fresh = httpx.Limits(max_keepalive_connections=0)
    client = httpx.AsyncClient(base_url=target, timeout=None, trust_env=False, limits=fresh)

    async def forward(request: Request) -> Response:
        asked = request.url.path
        if asked != path and not asked.startswith(f"{path}/"):
            return Response("nothing is served here", 404)
        inner = (asked.removeprefix(path) or "/") if strips else asked
        headers = {k: v for k, v in request.headers.items() if k not in OWN}
        headers |= {"x-forwarded-host": request.headers["host"], "x-forwarded-proto": "http"}
        headers |= {"x-forwarded-prefix": path} if tells else {}
        query = f"?{request.url.query}" if request.url.query else ""
        sent = client.build_request(request.method, inner + query, headers=headers, content=await request.body())
        got = await client.send(sent, stream=True)
        kept = {k: v for k, v in got.headers.items() if k not in OWN}
        return StreamingResponse(got.aiter_raw(), got.status_code, kept, background=BackgroundTask(got.aclose))

    methods = ["GET", "POST", "HEAD", "OPTIONS"]
    with served([Route("/{rest:path}", forward, methods=methods)]) as url:
        yield f"{url}{path}"


@contextmanager
def embedding(address: str, attributes: str = "") -> Iterator[str]:
    """Serve a page that shows another one in a frame; its origin is another site's."""

    async def page(_: Request) -> Response:
        return HTMLResponse(f'<iframe src="{address}" style="width: 1400px; height: 900px" {attributes}></iframe>')

    with served([Route("/", page)]) as url:
        yield url.replace("127.0.0.1", "localhost")


@contextmanager
def served(routes: list[Route], port: int | None = None) -> Iterator[str]:
    """Run an application on the loopback."""
    port = port or free_port()
    config = uvicorn.Config(Starlette(routes=routes), "127.0.0.1", port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
