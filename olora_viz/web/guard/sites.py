"""Which sites may ask the server for something: its own page, and no page of another site.

A browser sends requests wherever a page tells it to, also into the network that it is in. What changes something has
to come from the server's own page: Fetch Metadata says so where the address is secure, and else the Origin does. A
program sends neither, and acts for itself. What a frame of another site holds is the server's own page.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers

HOSTS = "OLORA_VIZ_HOSTS"
"""The variable with the names at which a server is reached, with commas between them."""

READING = ("GET", "HEAD")
"""Methods that change nothing."""

ELSEWHERE = (
    "this request comes from a page of another site. If it does not, the proxy in between must pass on the header "
    "Host, or name it in X-Forwarded-Host"
)


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
        return 403, ELSEWHERE
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
