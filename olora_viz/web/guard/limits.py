"""Who sends a request, and what one visitor may ask for: sizes, and how often.

A visitor is a page and, where the server knows it, the network that it comes from. A page can be opened again and
again, so what one visitor may have is also limited by address; these limits are wider, since an office or a class
shares one address.

Both are kept as keyed hashes, in memory and on disk. The key is drawn when the server starts and is never stored, so
no address can be recovered from them. After a restart, the earlier races of one visitor still count as one visitor's,
but a returning visitor is not recognized.
"""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, NamedTuple

from olora_viz.lanes.lane import MAX_LANES
from olora_viz.machine.checks import unknown
from olora_viz.models import MODELS

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


def visitor_of(request: Any, page: str | None = None) -> Visitor:
    """Return who sent a request of Gradio or of Starlette, which does not know its page."""
    client = getattr(request, "client", None)
    hops = request.headers.getlist("x-forwarded-for")
    address = address_of(getattr(client, "host", None) or "", ",".join(hops))
    page = getattr(request, "session_hash", page)
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


REQUEST_SECONDS = 60.0
"""Seconds over which requests are counted."""


class Rate:
    """Counts the requests of the last minute, by page and by address.

    Args:
        per_page, per_address: the most requests.
        clock: the time in seconds.
    """

    def __init__(self, per_page: int, per_address: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = {"page": per_page, "address": per_address}
        self._clock, self._lock = clock, threading.Lock()
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def count(self, owner: Visitor, what: str) -> None:
        """Count a request.

        Args:
            what: is counted, in the plural.

        Raises:
            ValueError: the visitor has made too many; the message says when to try again.
        """
        if owner == NOBODY:
            return
        with self._lock:
            now = self._clock()
            for key, times in list(self._times.items()):
                while times and times[0] <= now - REQUEST_SECONDS:
                    times.popleft()
                if not times:
                    del self._times[key]
            keys = [("page", owner.page), ("address", owner.address)]
            for kind, name in keys:
                times = self._times.get((kind, name), deque[float]())
                if name and len(times) >= self._most[kind]:
                    wait = math.ceil(times[0] + REQUEST_SECONDS - now)
                    raise ValueError(
                        f"{self._most[kind]} {what} a minute are the most for one {kind}: try again in {wait} s"
                    )
            for key in keys:
                self._times[key].append(now)


def small_models(most: int) -> tuple[str, ...]:
    """Return the names of models with at most so many parameters that anybody may download."""
    return tuple(card.name for card in MODELS.values() if card.parameters <= most and not card.gated)


@dataclass(frozen=True)
class Limits:
    """Limits on what visitors may ask for."""

    max_steps: int = 2000
    """Steps of a race."""
    max_lanes: int = MAX_LANES
    """Lanes of a race."""
    max_batch: int = 64
    """Prompts per step."""
    max_rank: int = 256
    """Rank of a lane."""
    max_tokens: int = 500_000_000
    """Steps x lanes x prompts per step x the longest example of a race; see `tokens_at_most`."""
    max_parameters: int = 600_000_000
    """Weights of a model; larger ones are offered only if ``OLORA_VIZ_MODELS`` names them."""
    max_seconds: int = 1800
    """Computing time of a race or measurement, in seconds."""
    max_waiting: int = 48
    """Races and measurements in the queue; the last third is for visitors who have none in it."""
    page_waiting: int = 3
    """Of these, those of one page."""
    address_waiting: int = 24
    """Of these, those of one address, which an office or a class shares."""
    address_screens: int = 48
    """Pages of one address that follow a race at once; if there are more, the oldest stops."""
    keep_races: int = 60
    """Finished and paused races that are kept for their pages."""
    keep_mib: int = 4000
    """Disk space of those races, in MiB."""
    grace_seconds: int = 300
    """Seconds without a viewer after which a race pauses."""
    max_upload_kib: int = 512
    """Size of a visitor's file, in KiB."""
    max_examples: int = 5000
    """Examples in it."""
    max_characters: int = 4000
    """Characters of each text in it."""
    keep_files: int = 60
    """Visitors' files kept, the newest ones."""
    max_prompt: int = 400
    """Characters of a prompt of a visitor's own to the lanes of a race."""
    page_prompts: int = 10
    """Such prompts of one page, per minute."""
    address_prompts: int = 120
    """The same of one address."""
    models: tuple[str, ...] = small_models(max_parameters)


def from_environment(env: Mapping[str, str] = os.environ) -> Limits:
    """Read the limits of this server.

    >>> from_environment({"OLORA_VIZ_MAX_STEPS": "300"}).max_steps
    300
    """
    values: dict[str, Any] = {}
    for field in fields(Limits):
        name = f"OLORA_VIZ_{field.name.upper()}"
        text = env.get(name, "").strip()
        if not text:
            continue
        if field.name == "models":
            values["models"] = tuple(model.strip() for model in text.split(","))
            for model in values["models"]:
                if model not in MODELS:
                    raise ValueError(unknown("model", model, MODELS) + f" (in {name})")
        else:
            if not (text.isascii() and text.isdecimal() and int(text) > 0):
                raise ValueError(f"{name} must be a whole number of at least 1, not {text!r}")
            values[field.name] = int(text)
    if "models" not in values:
        values["models"] = small_models(values.get("max_parameters", Limits.max_parameters))
        if not values["models"]:
            raise ValueError(f"OLORA_VIZ_MAX_PARAMETERS is {values['max_parameters']}, but every model has more")
    limits = Limits(**values)
    if limits.max_lanes > MAX_LANES:
        raise ValueError(f"OLORA_VIZ_MAX_LANES must be at most {MAX_LANES}")
    return limits
