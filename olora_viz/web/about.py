"""About this server: what it is, and whether it was checked that races here are right."""

from __future__ import annotations

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from olora_viz.checks.run import latest
from olora_viz.machine.version import __version__
from olora_viz.views.checks import checked_html
from olora_viz.web.handout import alone

TITLE, PATH = "About this server", "/about-this-server"


def route() -> Route:
    """Return the route of the page, which reads the latest result of ``check`` whenever it is asked for."""

    def show(_: Request) -> Response:
        what = Markup("<p>The OLoRA playground, olora_viz {}.</p>").format(__version__)
        checked = Markup("<section><h2>Are races right here?</h2>{}</section>").format(checked_html(latest()))
        return alone(TITLE, Markup('<div class="handout about"><header>{}</header>{}</div>').format(what, checked))

    return Route(PATH, show)
