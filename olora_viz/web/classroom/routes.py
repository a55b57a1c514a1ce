"""What a class adds to the pages: a strip above them, and addresses of votes, of the page to join, and of its QR code.

The addresses are plain requests beside Gradio's. A page asks once a second or less often, and gets an empty answer
while there is nothing new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr
import segno
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from olora_viz.web.classroom.votes import HOURS, Classrooms, NotOpenError, Tally, ballot_of, checked_name, histogram
from olora_viz.web.guard.limits import Rate, visitor_of
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.parts.card import element

LONGEST_MESSAGE = 8192
"""The longest message of a page."""

PER_ADDRESS = 1200
"""Messages of one address a minute; a class shares one."""

LONGEST_ADDRESS = 300
"""Characters of the short address in a QR code."""

LINK_FIELDS = ("class", "projector", "run")
"""Parameters of the teacher's own page, which a class's link does not have."""

LOCAL = (
    "Only this computer can open this address. Start the playground with --host 0.0.0.0 and open it at this "
    "computer's name in the network, or with --share."
)

STRIP = f"""
<section class="card" id="class-strip" aria-label="Class" hidden>
  <p class="member" hidden>In the class <b class="class-name"></b> your bets and answers are counted, without a name
    and for {HOURS} hours at most. This page follows the race on your teacher's screen.</p>
  <div class="votes">
    <div class="tally"></div>
    <div class="join" hidden>
      <img alt="QR code of the address of the class">
      <div>
        <p class="hint">Join the class <b class="class-name"></b></p>
        <p class="short"></p>
        <p class="hint local" hidden>{LOCAL}</p>
        <p class="turns"><button type="button" class="quiet" data-fold aria-expanded="true">Smaller</button>
          <button type="button" class="quiet" data-clear>Clear the votes</button>
          <button type="button" class="quiet" data-end>End the class</button></p>
      </div>
    </div>
  </div>
  <p class="problem" role="alert" hidden></p>
</section>
"""

NOT_OPEN = Markup("""<!doctype html>
<html lang="en" style="color-scheme: light dark; font: 18px/1.5 system-ui, sans-serif">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>OLoRA playground</title></head>
<body style="max-width: 32em; margin: 2em"><p>{}</p><p><a href="../">Open the playground without a class</a></p></body>
</html>
""")
"""What a learner sees who types the address of a class that is not open."""


def strip() -> gr.HTML:
    """Make the strip; it is empty on a page without a class."""
    return element(STRIP, elem_id="classroom", script="classroom/strip.js")


def routes(check: Callable[[str], Any], pages: tuple[str, ...]) -> list[Route]:
    """Return the routes of the classes of a server.

    Args:
        check: raises ValueError for a query that a page cannot open.
        pages: the names of the pages.
    """
    rooms = Classrooms()
    rate = Rate(per_page=PER_ADDRESS, per_address=PER_ADDRESS)
    pool = Pool(few("QR codes"))

    async def send(request: Request) -> Response:
        """Open a class, vote in it, forget its votes, or end it."""
        name = request.path_params["name"]
        try:
            visitor = visitor_of(request)
            rate.count(visitor, "messages to classes")
            sent = await _read(request)
            member, what = sent.get("member"), sent.get("do")
            if what == "open":
                link = _link(sent.get("link"), sent.get("page"), check, pages)
                return JSONResponse({"teacher": rooms.open(name, member, link, visitor, sent.get("run", ""))})
            if what == "vote":
                of = sent.get("of")
                return JSONResponse(_votes(str(of), rooms.vote(name, member, of, sent.get("choice"), visitor)))
            if what in ("clear", "end"):
                (rooms.clear if what == "clear" else rooms.end)(name, member)
                return JSONResponse({})
            raise ValueError(f"a message to a class is open, vote, clear or end, not {str(what)[:40]!r}")
        except ValueError as error:
            return _problem(error)

    async def show(request: Request) -> Response:
        """Show how a class voted and which race it follows, if a page does not know it yet."""
        of, since, follows = (request.query_params.get(key, "") for key in ("of", "since", "run"))
        name = request.path_params["name"]
        try:
            tally, run = rooms.tally(name, of), rooms.run(name)
            news = {"run": run} if run != follows else {}
            if of and tally.version != since:
                news |= _votes(of, tally)
            return JSONResponse(news) if news else Response(status_code=204)
        except ValueError as error:
            return _problem(error)

    async def join(request: Request) -> Response:
        """Lead from the short address to what the class opens."""
        try:
            name = checked_name(request.path_params["name"])
            query, _, page = rooms.link(name).partition("#")
            more = f"&{query}" if query else ""
            return RedirectResponse(f"../?class={name}{more}{f'#{page}' if page else ''}", 307)
        except ValueError as error:
            return HTMLResponse(NOT_OPEN.format(f"{str(error)[0].upper()}{str(error)[1:]}."), 404)

    async def code(request: Request) -> Response:
        """Draw the QR code of the short address of an open class; where the page is reached, its browser knows."""
        at = request.query_params.get("at", "")
        if not (at.startswith(("http://", "https://")) and at.isascii() and at.isprintable() and " " not in at):
            return PlainTextResponse(f"a QR code is of an address of this page, not of {at[:60]!r}", 400)
        if len(at) > LONGEST_ADDRESS:
            return PlainTextResponse(f"an address in a QR code has at most {LONGEST_ADDRESS} characters", 400)
        try:
            rooms.link(at.rpartition("/c/")[2])
            return Response(await pool.run(visitor_of(request), qr_code, at), media_type="image/svg+xml")
        except ValueError as error:
            return PlainTextResponse(str(error), 404 if isinstance(error, NotOpenError) else 400)

    return [
        Route("/class/{name}", send, methods=["POST"]),
        Route("/class/{name}", show, methods=["GET"]),
        Route("/c/{name}", join),
        Route("/qr", code),
    ]


@lru_cache(maxsize=64)
def qr_code(address: str) -> bytes:
    """Return an SVG of the QR code of an address: black on white in both themes, with its quiet zone."""
    out = BytesIO()
    segno.make_qr(address, error="m").save(out, kind="svg", omitsize=True, border=4, dark="#000", light="#fff")
    return out.getvalue()


def _votes(of: str, tally: Tally) -> dict[str, str]:
    return {"version": tally.version, "html": histogram(ballot_of(of), tally.counts)}


def _problem(error: ValueError) -> Response:
    """Say what is wrong; that a class is not open is no error of a page, which asks until it is."""
    ended = isinstance(error, NotOpenError)
    return JSONResponse({"problem": str(error), "ended": ended}, 200 if ended else 400)


async def _read(request: Request) -> dict[str, Any]:
    """Return what a page sent; ValueError if it is too long or no object of JSON."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_MESSAGE:
            raise ValueError(f"a message to a class has at most {LONGEST_MESSAGE:,} bytes")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise ValueError("a message to a class is an object in JSON")
    return sent


def _link(query: Any, page: Any, check: Callable[[str], Any], pages: tuple[str, ...]) -> str:
    """Return what a class's address opens: the teacher's set-up or lesson, and the page.

    Raises:
        ValueError: a page could not open it.
    """
    text = query.removeprefix("?") if isinstance(query, str) else ""
    pairs = [(key, value) for key, value in parse_qsl(text, keep_blank_values=True) if key not in LINK_FIELDS]
    link = urlencode([pair for pair in pairs if not pair[0].startswith("__")], safe=",:=/")
    check(link)
    return f"{link}#{page}" if page in pages else link
