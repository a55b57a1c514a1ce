"""Finished files on their way to a browser: by addresses that nobody can guess, and that expire.

The folders of the runs are not served.
"""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

SECONDS = 600
"""How long an address is valid, in seconds; a download that has begun is completed."""

MOST = 1000
"""Maximum number of valid addresses; the oldest ones expire first."""

EXPIRED = "this download does not exist, or has expired: ask for it again on the page"


class Downloads:
    """Files by their tickets, which are the last part of an address."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds, self._most = seconds, most
        self._offered: dict[str, tuple[Path, float]] = {}
        self._lock = threading.Lock()

    def offer(self, file: Path) -> str:
        """Return an address of a file, below the page's root."""
        ticket, now = secrets.token_urlsafe(16), time.monotonic()
        with self._lock:
            valid = [item for item in self._offered.items() if now < item[1][1]]
            self._offered = dict(valid[-self._most + 1 :])
            self._offered[ticket] = (file, now + self._seconds)
        return f"/download/{ticket}"

    def find(self, ticket: str) -> Path | None:
        """Return the file of a ticket; None if there is none, or it has expired or was removed."""
        file, until = self._offered.get(ticket, (None, 0.0))
        valid = file is not None and time.monotonic() < until and file.is_file()
        return file if valid else None

    async def answer(self, request: Request) -> Response:
        """Answer the request of a browser."""
        file = self.find(request.path_params["ticket"])
        if file is None:
            return PlainTextResponse(EXPIRED, 404)
        return FileResponse(file, filename=file.name, headers={"cache-control": "no-store"})


DOWNLOADS = Downloads()
"""Those of this process; the tickets of several servers in it do not collide."""


def route() -> Route:
    """Return the route of the addresses."""
    return Route("/download/{ticket}", DOWNLOADS.answer)
