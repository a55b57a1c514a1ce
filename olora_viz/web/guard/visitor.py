"""Who sends a request: the page and, where the server knows it, the network that it comes from.

A page can be opened again and again, so what one visitor may have is also limited by address; these limits are wider,
since an office or a class shares one address.

Both are kept as keyed hashes, in memory and on disk. The key is drawn when the server starts and is never stored, so
no address can be recovered from them. After a restart, the earlier races of one visitor still count as one visitor's,
but a returning visitor is not recognized.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

_KEY = secrets.token_bytes(32)


class Visitor(NamedTuple):
    """Who sent a request, as hashes; empty where the server does not know it."""

    page: str = ""
    """The page; Gradio gives it a new name whenever it is opened."""
    address: str = ""

    @property
    def share(self) -> str:
        """Return what identifies a visitor when places are shared out."""
        return self.address or self.page


NOBODY = Visitor()
"""The server itself, to which no limit of visitors applies."""


def visitor_of(request: Any) -> Visitor:
    """Return who sent a request of Gradio or of Starlette."""
    client = getattr(request, "client", None)
    hops = request.headers.getlist("x-forwarded-for")
    address = address_of(getattr(client, "host", None) or "", ",".join(hops))
    page = getattr(request, "session_hash", None)
    return Visitor(_hashed(page) if isinstance(page, str) else "", _hashed(address))


def address_of(peer: str, forwarded: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the address of a client, "" if it is unknown.

    A client can write anything into ``X-Forwarded-For``, and each proxy appends the address that it was called from.
    On a Space all requests come through the platform's proxies, whose own addresses are private: the last public
    address in the header is the one that they were called from. Elsewhere it is the peer: behind a proxy on the same
    machine, or one that ``FORWARDED_ALLOW_IPS`` names, uvicorn has put the address there by the same rule. Of an IPv6
    address only the first half counts, since a household has all addresses that begin with it.

    Args:
        peer: the address that the connection comes from.
        forwarded: the value of the header.

    >>> address_of("10.0.3.7", "8.8.4.4, 1.1.1.1, 10.0.0.2", {"SPACE_ID": "me/playground"})
    '1.1.1.1'
    >>> address_of("192.168.1.5", "1.1.1.1", {})
    '192.168.1.5'
    """
    if not environment.get("SPACE_ID"):
        return _network(peer, least_public=False)
    known = (_network(hop, least_public=True) for hop in reversed(forwarded.split(",")))
    return next(filter(None, known), "")


def _network(text: str, *, least_public: bool) -> str:
    """Return the part of an address that identifies a visitor; "" if it is not an address."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return ""
    address = getattr(address, "ipv4_mapped", None) or address
    if least_public and not address.is_global:
        return ""
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _hashed(text: str) -> str:
    """Return the keyed hash of a text; "" for an empty one."""
    data = text.encode("utf-8", "surrogatepass")
    return blake2b(data, key=_KEY, digest_size=9).hexdigest() if text else ""
